import Client
import Engine
import NIOCore

/// A connection as it begins: answers the hot requests from the raw bytes, all that came in one read
/// with one write. At the first request that is not one of them it hands its bytes to the standard
/// pipeline and leaves.
///
/// Answers keep the order of the requests. Writes are given to the committer as they come, many at a
/// time; what is no write waits until those before it are answered, so a read sees them.
final class FastLane: Lane, ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = ByteBuffer
  typealias OutboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  /// A write that the committer has, and how to answer it.
  private struct Waiting {
    var route: Route
    var keepsAlive: Bool
    var start: NIODeadline
  }

  private struct Unconfirmed {
    var answer: Answer
    var body: ByteBuffer
    var request: FastRequest
    var start: NIODeadline
  }

  /// What became of a look at the next request.
  enum Step {
    case done(bytes: Int)
    case incomplete
    case unusual
    /// Something has to happen first.
    case held
  }

  private var context: ChannelHandlerContext?
  private var input = ByteBuffer()
  var output = ByteBuffer()
  /// First in, first out; those before `waitingStart` are answered.
  private var waiting: [Waiting] = []
  private var waitingStart = 0
  /// Of all of them.
  private var waitingQuorum = WriteQuorum.alone
  private var large: LargeBody?
  /// Requests that other nodes answer.
  var relayed = RelayedAnswers()
  /// By which those go that are on their way; nil where they are reads, in whatever order they come.
  var relay: RelayLink?
  /// What was read, and is told once it is confirmed.
  private var unconfirmed: Unconfirmed?
  var now = NIODeadline.now()
  /// No further request is answered on this connection.
  var isClosing = false
  private var hasInputEnded = false
  private var isHeld = false
  private var isReadHeld = false
  /// Some of the next request is there.
  private var isInRequest = false
  /// Nothing but the start of a request is left of what came.
  private var isStarved = true
  /// The connection is being closed.
  private var isFinished = false
  /// What the start of a request counts for in the node's bound on bodies.
  private var chargedBytes = 0

  /// The client is there.
  var isOpen: Bool { context != nil }
  private var waitingCount: Int { waiting.count - waitingStart }
  /// Nothing that was asked for is still to be answered.
  var isSettled: Bool { isSettledHere && relayed.open == 0 }
  /// Nothing of it by this node.
  var isSettledHere: Bool { waitingCount == 0 && unconfirmed == nil }
  private var bodyBytesMax: Int { min(FastRequest.bodyBytesMax, loop.limits.valueBytesMax) }

  // MARK: - Events

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    deadline = .now() + .seconds(Int64(loop.limits.idleSeconds))
    loop.add(self)
  }

  func handlerRemoved(context: ChannelHandlerContext) {
    loop.remove(self)
    releaseInput()
    self.context = nil
  }

  func channelInactive(context: ChannelHandlerContext) {
    loop.remove(self)
    self.context = nil
    isClosing = true
    input = ByteBuffer()
    releaseInput()
    large = nil
    unconfirmed = nil
    dropRelayed()
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case ChannelEvent.inputClosed = event {
      hasInputEnded = true
      finishIfDone()
      // Whoever has taken over was told.
      guard self.context != nil else { return }
    }
    context.fireUserInboundEventTriggered(event)
  }

  func read(context: ChannelHandlerContext) {
    if isHeld { isReadHeld = true } else { context.read() }
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard !isClosing else { return }
    var buffer = unwrapInboundIn(data)
    if input.readableBytes == 0 {
      input = buffer
    } else {
      input.writeBuffer(&buffer)
    }
    advance()
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    flush()
    context.fireChannelReadComplete()
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    if context.channel.isWritable { goOn() }
    context.fireChannelWritabilityChanged()
  }

  // MARK: - Requests

  /// Answers what can be answered of the input.
  private func advance() {
    now = .now()
    isHeld = false
    isStarved = false
    releaseInput()
    while !isClosing, input.readableBytes > 0, let context {
      guard large == nil, output.readableBytes < loop.limits.outputBytesMax,
        context.channel.isWritable
      else {
        flush()
        isHeld = large != nil || !context.channel.isWritable
        if isHeld { break }
        continue
      }
      switch input.withUnsafeReadableBytes({ step($0) }) {
      case .done(let bytes):
        input.moveReaderIndex(forwardBy: bytes)
        isInRequest = false
        continue
      case .incomplete:
        keepRest()
        if chargeInput() {
          isStarved = true
          setDeadline()
          return
        }
        // Too much is being received by all connections: the standard pipeline says so.
        if isSettled {
          leave()
          return
        }
        isHeld = true
      case .unusual:
        if isSettled {
          leave()
          return
        }
        isHeld = true
      case .held:
        isHeld = true
      }
      break
    }
    if isClosing || input.readableBytes == 0 {
      input = ByteBuffer()
      isStarved = true
    }
    setDeadline()
  }

  private func chargeInput() -> Bool {
    guard loop.node.chargeBody(input.readableBytes, limit: loop.limits.bodyBytesMax) else {
      return false
    }
    chargedBytes = input.readableBytes
    return true
  }

  private func releaseInput() {
    guard chargedBytes > 0 else { return }
    loop.node.releaseBody(chargedBytes)
    chargedBytes = 0
  }

  /// Keeps the part of a request that is there without the rest of the buffer that it came in.
  private func keepRest() {
    guard input.capacity > 2 * input.readableBytes + 1_024 else { return }
    var rest = ByteBuffer()
    rest.writeImmutableBuffer(input)
    input = rest
  }

  /// Looks at the first request in `bytes`.
  private func step(_ bytes: UnsafeRawBufferPointer) -> Step {
    switch FastRequest.recognise(bytes, bodyBytesMax: bodyBytesMax) {
    case .incomplete: return .incomplete
    case .unusual: return .unusual
    case .request(let request):
      guard request.shards.isEmpty || isDividedAlike(bytes[request.shards]) else { return .unusual }
      if loop.shardCount > 1, request.route != .acknowledgement, request.route != .localRead {
        guard let key = key(of: request, bytes) else { return .unusual }
        if let shard = loop.foreignShard(key) { return passOn(request, bytes, shard) }
      }
      guard relayed.open == 0 else { return .held }
      switch request.route {
      case .classicSet, .restPut, .classicDelete, .restDelete:
        guard !loop.holdsWrites, !loop.redirectsWrites else { return .unusual }
        let quorum = loop.quorum(of: request)
        // Where they are too few the standard pipeline says so.
        guard let quorum else { return .unusual }
        // Writes come back in the order of their quorum.
        guard waitingCount == 0 || quorum == waitingQuorum, unconfirmed == nil
        else { return .held }
        // A node that stops takes nothing on top of what is in progress.
        let most = loop.isDraining ? 1 : loop.limits.pendingWritesMax
        guard waitingCount < most else { return .held }
        return write(request, bytes, quorum)
      case .acknowledgement:
        guard isSettled else { return .held }
        let query = UnsafeRawBufferPointer(rebasing: bytes[request.key])
        guard let acknowledged = loop.acknowledge(query) else { return .unusual }
        answer(acknowledged, keepsAlive: request.keepsAlive, isHead: false)
        loop.requestMetrics.answered(.acknowledgement, acknowledged.status, since: now)
        return .done(bytes: request.end)
      default:
        guard isSettled else { return .held }
        // The standard pipeline asks the others.
        guard request.route == .localRead || loop.readsAlone && isForHere(request) else {
          return .unusual
        }
        return read(request, bytes)
      }
    }
  }

  /// Whether this node may answer the read: the standard pipeline says who may.
  private func isForHere(_ request: FastRequest) -> Bool {
    !request.isForLeader || loop.node.isLeading
  }

  private func read(_ request: FastRequest, _ bytes: UnsafeRawBufferPointer) -> Step {
    guard let key = key(of: request, bytes) else { return .unusual }
    loop.basis = 0
    var read = loop.read(request.route, key)
    if loop.hidesUnconfirmed, request.route != .localRead,
      loop.basis > loop.node.followers.confirmed
    {
      return hold(read, request)
    }
    if let value = read.large, request.route == .restGet {
      if !request.isHead {
        // Where too much is being sent the standard pipeline says so.
        guard let body = LargeBody(value, of: loop.node) else { return .unusual }
        large = body
      }
      read.answer.closes = !request.keepsAlive || loop.isDraining
      loop.encoder.writeHead(read.answer, bodyBytes: value.bytes.count, into: &output)
      isClosing = read.answer.closes
    } else if loop.body.readableBytes > FastRequest.bodyBytesMax {
      // Large texts are counted there.
      loop.body = ByteBuffer()
      return .unusual
    } else {
      answer(read.answer, keepsAlive: request.keepsAlive, isHead: request.isHead)
    }
    loop.requestMetrics.answered(request.route, read.answer.status, since: now)
    return .done(bytes: request.end)
  }

  /// Tells what was read once that cannot be taken back any more.
  private func hold(_ read: LoopState.ReadAnswer, _ request: FastRequest) -> Step {
    guard !loop.isDraining, read.large == nil, loop.body.readableBytes <= FastRequest.bodyBytesMax
    else {
      loop.body.clear()
      return .unusual
    }
    var body = ByteBuffer()
    body.writeImmutableBuffer(loop.body)
    loop.body.clear()
    unconfirmed = Unconfirmed(answer: read.answer, body: body, request: request, start: now)
    // What stands behind a request that ends the connection is not answered.
    if !request.keepsAlive { isClosing = true }
    loop.awaitConfirmation(loop.basis, milliseconds: loop.limits.waitMilliseconds) { self.tell($0) }
    return .done(bytes: request.end)
  }

  private func tell(_ isConfirmed: Bool) {
    guard let held = unconfirmed else { return }
    unconfirmed = nil
    guard context != nil else { return }
    var answer = held.answer
    if isConfirmed {
      loop.body.writeImmutableBuffer(held.body)
    } else {
      answer = loop.notConfirmed()
    }
    loop.requestMetrics.answered(held.request.route, answer.status, since: held.start)
    self.answer(answer, keepsAlive: held.request.keepsAlive, isHead: held.request.isHead)
    goOn()
  }

  private func write(
    _ request: FastRequest, _ bytes: UnsafeRawBufferPointer, _ quorum: WriteQuorum
  ) -> Step {
    guard let key = key(of: request, bytes), let value = value(of: request, bytes) else {
      return .unusual
    }
    guard loop.hasRoom(forBytes: key.count + value.count) else {
      guard waitingCount == 0 else { return .held }
      let refusal = loop.overloaded(request.route)
      answer(refusal, keepsAlive: request.keepsAlive, isHead: false)
      loop.requestMetrics.answered(request.route, refusal.status, since: now)
      return .done(bytes: request.end)
    }
    let hash = loop.store.index.hasher(key)
    switch request.route {
    case .classicSet, .restPut:
      let seconds = request.ttlSeconds
      let expiry =
        seconds == 0 ? nil : TimeToLive.expiry(of: seconds, now: loop.store.nowMilliseconds)
      loop.gather(quorum).put(key, value, hash, expiry: expiry, token: token)
    default: loop.gather(quorum).delete(key, hash, token: token)
    }
    waitingQuorum = quorum
    waiting.append(Waiting(route: request.route, keepsAlive: request.keepsAlive, start: now))
    // What stands behind a request that ends the connection is not answered.
    if !request.keepsAlive { isClosing = true }
    return .done(bytes: request.end)
  }

  /// The request's key, decoded into the first part of the scratch room where it has to be.
  private func key(
    of request: FastRequest, _ bytes: UnsafeRawBufferPointer
  ) -> UnsafeRawBufferPointer? {
    guard
      let key = decoded(
        UnsafeRawBufferPointer(rebasing: bytes[request.key]), isQuery: request.isQuery,
        into: UnsafeMutableRawBufferPointer(rebasing: loop.scratch[..<FastRequest.headBytesMax])),
      key.count <= loop.limits.keyBytesMax, key.count > 0
    else { return nil }
    return key
  }

  func value(
    of request: FastRequest, _ bytes: UnsafeRawBufferPointer
  ) -> UnsafeRawBufferPointer? {
    var value: UnsafeRawBufferPointer? = UnsafeRawBufferPointer(rebasing: bytes[request.value])
    if request.isQuery {
      value = decoded(
        value!, isQuery: true,
        into: UnsafeMutableRawBufferPointer(rebasing: loop.scratch[FastRequest.headBytesMax...]))
    }
    return value.flatMap { $0.count <= loop.limits.valueBytesMax ? $0 : nil }
  }

  private func decoded(
    _ bytes: UnsafeRawBufferPointer, isQuery: Bool, into room: UnsafeMutableRawBufferPointer
  ) -> UnsafeRawBufferPointer? {
    if PercentEncoding.isPlain(bytes) { return bytes }
    let count =
      isQuery
      ? PercentEncoding.decode(query: bytes, into: room)
      : PercentEncoding.decode(path: bytes, into: room)
    return count.map { UnsafeRawBufferPointer(rebasing: room[..<$0]) }
  }

  // MARK: - Answers

  /// Adds an answer whose body is the loop's.
  func answer(_ answer: Answer, keepsAlive: Bool, isHead: Bool) {
    var answer = answer
    // The last of those that are in progress says so: nothing may follow it.
    let isLast = loop.isDraining && waitingCount == 0
    answer.closes = answer.closes || !keepsAlive || isLast
    loop.encoder.writeHead(answer, bodyBytes: loop.body.readableBytes, into: &output)
    if !isHead, !answer.status.hasNoBody { output.writeImmutableBuffer(loop.body) }
    loop.body.clear()
    if answer.closes { isClosing = true }
  }

  override func finish(_ request: WriteRequest, at index: Int, of submission: Submission) {
    let item = waiting[waitingStart]
    waitingStart += 1
    if waitingStart == waiting.count {
      waiting.removeAll(keepingCapacity: true)
      waitingStart = 0
    } else if waitingStart >= loop.limits.pendingWritesMax {
      waiting.removeFirst(waitingStart)
      waitingStart = 0
    }
    let answer = loop.answer(item.route, to: request, at: index, of: submission)
    loop.requestMetrics.answered(item.route, answer.status, since: item.start)
    guard context != nil else { return loop.body.clear() }
    self.answer(answer, keepsAlive: item.keepsAlive, isHead: false)
  }

  override func resume() {
    goOn()
  }

  /// Goes on where something was in the way.
  private func goOn() {
    guard context != nil else { return }
    flush()
    if isClosing {
      now = .now()
      setDeadline()
    } else {
      advance()
    }
    flush()
    if !isHeld, isReadHeld, let context {
      isReadHeld = false
      context.read()
    }
  }

  /// Writes what there is to write, and closes when that was the last.
  private func flush() {
    writeOutput()
    guard let context else { return }
    while context.channel.isWritable, let body = large {
      guard let piece = body.next(context.channel.allocator) else {
        large = nil
        break
      }
      context.writeAndFlush(wrapOutboundOut(piece), promise: nil)
    }
    finishIfDone()
  }

  private func writeOutput() {
    guard let context else { return }
    if output.readableBytes > 0 {
      var bytes = ByteBuffer()
      swap(&bytes, &output)
      context.writeAndFlush(wrapOutboundOut(bytes), promise: releaseOfCharge())
      // Writing can lead back here. If it has not, the storage is used again: when all of it is
      // written nobody else has it.
      if output.readableBytes == 0, bytes.capacity <= 16 << 10 {
        swap(&bytes, &output)
        output.clear()
      }
    }
  }

  private func finishIfDone() {
    guard let context, !isFinished, isSettled, large == nil else { return }
    if !isClosing, hasInputEnded, isStarved, input.readableBytes > 0 {
      // A request that was cut off: the standard pipeline says so.
      leave()
      return
    }
    guard isClosing || hasInputEnded && isStarved || loop.isDraining && input.readableBytes == 0
    else { return }
    isClosing = true
    isFinished = true
    deadline = .distantFuture
    LingeringClose.begin(context, limits: loop.limits, isInputEnded: hasInputEnded)
  }

  func setDeadline() {
    guard !isFinished else { return }
    let wasInRequest = isInRequest
    isInRequest = false
    if !isSettled {
      deadline = .distantFuture
    } else if large != nil || isHeld {
      deadline = now + .seconds(Int64(loop.limits.answerSeconds))
    } else if input.readableBytes > 0 {
      isInRequest = true
      // From the first byte on, however slowly the others come.
      if !wasInRequest { deadline = now + .seconds(Int64(loop.limits.headSeconds)) }
    } else {
      deadline = now + .seconds(Int64(loop.limits.idleSeconds))
    }
    if let least = relayed.deadline { deadline = max(deadline, least) }
  }

  // MARK: - The end

  override func timeOut() {
    guard isInRequest, !isHeld, large == nil else {
      context?.close(promise: nil)
      return
    }
    // A body has more time than a head.
    leave()?.headTimeOut()
  }

  override func drain() {
    finishIfDone()
  }

  override func abort() {
    context?.close(promise: nil)
  }

  /// Gives the connection, and the bytes that are not answered, to the standard pipeline.
  ///
  /// - Parameter first: a request that comes before those bytes.
  /// - Returns: nil when the connection is being closed.
  @discardableResult
  func leave(before first: ByteBuffer? = nil) -> StandardLane? {
    guard let context, !isFinished else { return nil }
    // First, because writing can lead back here.
    isFinished = true
    isClosing = true
    var bytes = first ?? input
    if first != nil { bytes.writeImmutableBuffer(input) }
    input = ByteBuffer()
    releaseInput()
    writeOutput()
    guard self.context != nil else { return nil }
    let pipeline = context.pipeline.syncOperations
    do {
      let lane = try StandardLane.add(to: pipeline, loop: loop, after: context.handler)
      context.fireChannelRead(wrapInboundOut(bytes))
      context.fireChannelReadComplete()
      if hasInputEnded { context.fireUserInboundEventTriggered(ChannelEvent.inputClosed) }
      lane.takeOver(isReadHeld: isReadHeld)
      pipeline.removeHandler(context: context, promise: nil)
      return lane
    } catch {
      context.close(promise: nil)
      return nil
    }
  }
}

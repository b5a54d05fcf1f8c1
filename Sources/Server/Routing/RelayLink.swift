import Client
import NIOCore
import NIOHTTP1
import NIOPosix

/// A request of the fast lane that another node answers.
struct RelayedRequest {
  let lane: FastLane
  /// Which one of the lane's it is.
  let number: UInt64
  let route: Route
  let kind: Relays.Kind
  let isHead: Bool
  /// The shard's leader is to answer, and nobody else.
  let isForLeader: Bool
  let shard: Int
  let start: NIODeadline
  /// Nodes that were tried before.
  var attempts = 0

  var isRead: Bool { kind.purpose == .read }
}

/// A connection to another node, on which requests of many clients follow each other without waiting for
/// the answers, which come in the same order.
///
/// What is to be sent is gathered for a turn of the event loop and goes out with one write. Reads and
/// writes have links of their own: a node answers no read before the writes in front of it.
final class RelayLink: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private enum State {
    case connecting
    case open(ChannelHandlerContext)
    case closed
  }

  /// Requests that went out with one write; kept until all of them are answered.
  private struct Batch {
    var bytes: ByteBuffer
    var open: Int
  }

  /// A request, and where its bytes are.
  private struct Pending {
    var request: RelayedRequest
    var offset: Int
    var count: Int
    var since: NIODeadline
    /// It was sent again elsewhere: the answer is for nobody.
    var isMoved = false
  }

  private static let connectSeconds: Int64 = 2
  private static let largeAnswerBytesMax = KVLimits().answerBytesMax
  /// Answers above this have the node's connection leave its fast lane.
  private static let answerBytesMax = FastRequest.bodyBytesMax

  let address: NodeAddress
  let kind: Relays.Kind
  private unowned let relays: Relays
  private let eventLoop: any EventLoop
  private var state = State.connecting
  private var pending = CircularBuffer<Pending>()
  /// Of `pending`, those that are in `batches`: they may have been sent.
  private var sentCount = 0
  private var batches = CircularBuffer<Batch>()
  private var gathered = ByteBuffer()
  private var isFlushScheduled = false
  private var input = ByteBuffer()
  /// Of the answer that is coming.
  private var chargedBytes = 0
  private var touched: [FastLane] = []
  private var lastUse = NIODeadline.now()
  /// It takes no more requests, and ends with those that it has.
  private(set) var isRetired = false

  init(
    to address: NodeAddress, _ kind: Relays.Kind, relays: Relays, eventLoop: any EventLoop
  ) {
    self.address = address
    self.kind = kind
    self.relays = relays
    self.eventLoop = eventLoop
  }

  var count: Int { pending.count }

  /// Whether requests of that kind for that shard go by this link.
  func takes(_ kind: Relays.Kind, _ shard: Int, of loop: LoopState) -> Bool {
    kind == self.kind && loop.node.cluster?.leader(of: shard) == address
  }

  /// How long the first of the requests has waited.
  func age(_ now: NIODeadline) -> TimeAmount {
    pending.first.map { now - $0.since } ?? .zero
  }

  func isStalled(_ now: NIODeadline) -> Bool {
    age(now) > .milliseconds(relays.loop.limits.relayStallMilliseconds)
  }

  func isIdle(_ now: NIODeadline, for time: TimeAmount) -> Bool {
    pending.isEmpty && now - lastUse > time
  }

  /// The shard of the request that waits longest.
  var waitingShard: Int? { pending.first?.request.shard }

  // MARK: - Sending

  func connect() {
    let handler = NIOLoopBound(self, eventLoop: eventLoop)
    let linkDelay = relays.loop.node.configuration.linkDelay
    let bootstrap = ClientBootstrap(group: eventLoop)
      .connectTimeout(.seconds(Self.connectSeconds))
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
      .channelOption(.maxMessagesPerRead, value: 1)
      .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 64 << 10))
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addLinkDelay(linkDelay)
          try channel.pipeline.syncOperations.addHandler(handler.value)
        }
      }
    let connected: EventLoopFuture<any Channel>
    if let socket = try? SocketAddress(ipAddress: address.host, port: Int(address.port)) {
      connected = bootstrap.connect(to: socket)
    } else {
      connected = bootstrap.connect(host: address.host, port: Int(address.port))
    }
    connected.assumeIsolated().whenComplete { result in
      switch result {
      case .success(let channel):
        if case .closed = self.state { return channel.close(promise: nil) }
        // A port of this machine that nobody listens on may be the one it came from.
        if let local = channel.localAddress, local == channel.remoteAddress {
          self.end(.connectionRefused)
          channel.close(promise: nil)
        }
      case .failure(let error): self.end(FailureCause(connecting: error))
      }
    }
  }

  /// Adds a request.
  ///
  /// - Parameter write: writes it, whole.
  func send(_ request: RelayedRequest, _ write: (inout ByteBuffer) -> Void) {
    let offset = gathered.readableBytes
    write(&gathered)
    lastUse = .now()
    pending.append(
      Pending(
        request: request, offset: offset, count: gathered.readableBytes - offset, since: lastUse))
    guard !isFlushScheduled, case .open = state else { return }
    isFlushScheduled = true
    eventLoop.assumeIsolated().execute { self.flush() }
  }

  private func flush() {
    isFlushScheduled = false
    guard case .open(let context) = state, gathered.readableBytes > 0 else { return }
    var bytes = ByteBuffer()
    swap(&bytes, &gathered)
    batches.append(Batch(bytes: bytes, open: pending.count - sentCount))
    sentCount = pending.count
    context.writeAndFlush(wrapOutboundOut(bytes), promise: nil)
  }

  func channelActive(context: ChannelHandlerContext) {
    guard case .connecting = state else { return }
    state = .open(context)
    flush()
    if isRetired, pending.isEmpty { context.close(promise: nil) }
    context.fireChannelActive()
  }

  // MARK: - Answers

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var buffer = unwrapInboundIn(data)
    if input.readableBytes == 0 { input = buffer } else { input.writeBuffer(&buffer) }
    while input.readableBytes > 0, case .open = state, takeAnswer() {}
    if input.readableBytes == 0 {
      input = ByteBuffer()
    } else if input.readerIndex > Self.answerBytesMax {
      // What is left begins in the middle of what has been read.
      input.discardReadBytes()
    }
    for lane in touched { lane.resume() }
    touched.removeAll(keepingCapacity: true)
    if isRetired, pending.isEmpty, case .open = state { context.close(promise: nil) }
  }

  /// - Returns: false where bytes are missing, or the connection is given up.
  private func takeAnswer() -> Bool {
    guard let first = pending.first, sentCount > 0 else {
      end(.malformedAnswer("an answer to nothing"))
      return false
    }
    let outcome = input.withUnsafeReadableBytes {
      RelayedHead.recognise($0, isHead: first.request.isHead)
    }
    switch outcome {
    case .incomplete: return false
    case .malformed(let problem):
      end(.malformedAnswer("\(problem)"))
      return false
    case .head(let head):
      let bytes = head.headBytes + head.bodyBytes
      if isAside(head, first) { return false }
      guard input.readableBytes >= bytes else { return expect(head, first.request) }
      answer(head, first)
      input.moveReaderIndex(forwardBy: bytes)
      guard head.closes else { return true }
      // Behind this one the node does nothing of what was sent (RFC 9112, 9.6).
      end(.connectionClosed, isRestUndone: true)
      return false
    }
  }

  /// Leaves a large answer of which only the beginning is there to a connection of its own, which has it go on piece
  /// by piece, and gives this link up with it.
  ///
  /// - Returns: false where the client has asked for other things behind it: then it is kept until it is whole.
  private func isAside(_ head: RelayedHead, _ first: Pending) -> Bool {
    let request = first.request
    guard head.bodyBytes > StreamedRelay.keptBytesMax, request.isRead, !first.isMoved,
      chargedBytes == 0, input.readableBytes < head.headBytes + head.bodyBytes,
      request.lane.isAlone(request), !relays.loop.isDraining
    else { return false }
    shed()
    let bytes = bytes(of: first)
    removeFirst()
    end(.connectionClosed)
    request.lane.standAside(request, relays.asAsked(request, bytes))
    return true
  }

  /// Sees to it that there is room for the rest of an answer.
  private func expect(_ head: RelayedHead, _ request: RelayedRequest) -> Bool {
    guard head.bodyBytes > Self.answerBytesMax, chargedBytes == 0 else { return false }
    guard head.bodyBytes <= Self.largeAnswerBytesMax else {
      end(.answerTooLarge(bytesMax: Self.largeAnswerBytesMax), isFirstToBlame: true)
      return false
    }
    guard relays.loop.node.chargeAnswer(head.bodyBytes, limit: relays.loop.limits.answersBytesMax)
    else {
      // A read has done nothing: its client may ask again.
      end(
        .system("too many answers are being sent"), isFirstToBlame: true,
        isFirstRefused: request.isRead)
      return false
    }
    chargedBytes = head.bodyBytes
    input.reserveCapacity(
      minimumWritableBytes: head.headBytes + head.bodyBytes - input.readableBytes)
    return false
  }

  private func release() {
    guard chargedBytes > 0 else { return }
    relays.loop.node.releaseAnswer(chargedBytes)
    chargedBytes = 0
  }

  /// Passes the answer at the start of the input on.
  private func answer(_ head: RelayedHead, _ first: Pending) {
    let request = first.request
    if head.bodyBytes > Self.answerBytesMax || Self.isUnusual(head.status)
      || head.status == 503 && relays.mayReplace()
    {
      retire()
    }
    guard !first.isMoved else {
      removeFirst()
      return release()
    }
    if isMisdirection(Int(head.status), isRead: request.isRead) {
      let hint = head.leader.flatMap { range in
        input.getString(at: input.readerIndex + range.lowerBound, length: range.count)
      }
      let bytes = bytes(of: first)
      removeFirst()
      release()
      relays.again(request, bytes, instead: address, hint: hint, .notLeading(address))
      return
    }
    removeFirst()
    let charge = chargedBytes
    chargedBytes = 0
    input.withUnsafeReadableBytes { bytes in
      let whole = UnsafeRawBufferPointer(rebasing: bytes[..<(head.headBytes + head.bodyBytes)])
      request.lane.answered(request, head, whole, charge: charge)
    }
    if touched.last !== request.lane { touched.append(request.lane) }
  }

  /// Whether a node gives such an answer by its standard pipeline, which the connection is of from then
  /// on: the next one is faster.
  private static func isUnusual(_ status: UInt16) -> Bool {
    switch status {
    case 400, 414, 421, 431, 508: true
    default: false
    }
  }

  /// A copy of a request's bytes.
  private func bytes(of request: Pending) -> ByteBuffer {
    part(of: sentCount > 0 ? batches.first?.bytes ?? gathered : gathered, request)
  }

  private func part(of bytes: ByteBuffer, _ request: Pending) -> ByteBuffer {
    bytes.getSlice(at: bytes.readerIndex + request.offset, length: request.count) ?? ByteBuffer()
  }

  private func removeFirst() {
    relays.loop.node.releaseBody(pending.removeFirst().count)
    guard sentCount > 0 else { return }
    sentCount -= 1
    batches[batches.startIndex].open -= 1
    if batches[batches.startIndex].open == 0 { batches.removeFirst() }
    lastUse = .now()
  }

  // MARK: - The end

  func channelInactive(context: ChannelHandlerContext) {
    end(.connectionClosed)
    context.fireChannelInactive()
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    end(.connectionClosed)
  }

  /// Takes no more requests.
  func retire() {
    guard !isRetired else { return }
    isRetired = true
    relays.forget(self)
    if pending.isEmpty, case .open(let context) = state { context.close(promise: nil) }
  }

  /// Has the reads that stand behind one that takes long answered by another link to the same node.
  func shed() {
    retire()
    var batch = batches.startIndex
    var left = batches.first?.open ?? 0
    for number in 0..<pending.count {
      let index = pending.index(pending.startIndex, offsetBy: number)
      let item = pending[index]
      let bytes = number < sentCount ? batches[batch].bytes : gathered
      if number < sentCount {
        left -= 1
        if left == 0, number + 1 < sentCount {
          batch = batches.index(after: batch)
          left = batches[batch].open
        }
      }
      guard number > 0, item.request.isRead, !item.isMoved else { continue }
      pending[index].isMoved = relays.move(item.request, part(of: bytes, item), to: address)
    }
  }

  /// Gives the connection up. What was not sent, and reads, are tried elsewhere.
  ///
  /// - Parameters:
  ///   - isFirstToBlame: the first request is the reason, and is answered so.
  ///   - isFirstRefused: because there is no room for its answer here.
  ///   - isRestUndone: nothing of what was sent is done.
  func end(
    _ cause: FailureCause, isFirstToBlame: Bool = false, isFirstRefused: Bool = false,
    isRestUndone: Bool = false
  ) {
    if case .closed = state { return }
    let former = state
    state = .closed
    retire()
    relays.ended(self)
    release()
    var verdict = (isToBlame: isFirstToBlame || cause.isTimeout, isRefused: isFirstRefused)
    while let first = pending.first {
      let wasSent = sentCount > 0 && !isRestUndone
      let bytes = bytes(of: first)
      removeFirst()
      defer { verdict = (false, false) }
      guard !first.isMoved else { continue }
      let request = first.request
      let error: KVClientError =
        wasSent
        ? .outcomeUnknown(address, cause, request.isRead ? .GET : .PUT)
        : .neverSent(address, cause)
      if verdict.isRefused {
        request.lane.refuse(request, relays.loop.noRoomForAnswer())
        request.lane.resume()
      } else if wasSent && !request.isRead || verdict.isToBlame {
        request.lane.relayFailed(request, address, error)
        request.lane.resume()
      } else {
        relays.again(
          request, bytes, instead: address, hint: nil, error, counts: !isFirstToBlame)
      }
    }
    input = ByteBuffer()
    if case .open(let context) = former { context.close(promise: nil) }
  }
}

extension FailureCause {
  var isTimeout: Bool { if case .timedOut = self { true } else { false } }
}

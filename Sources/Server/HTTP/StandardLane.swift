import Client
import Engine
import NIOCore
import NIOHTTP1
import NIOPosix

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A connection that reads its requests with NIO's HTTP parser: everything that is not hot.
///
/// One request at a time: what comes behind it waits, and nothing more is read meanwhile.
final class StandardLane: Lane, ChannelDuplexHandler {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundIn = HTTPServerResponsePart
  typealias OutboundOut = HTTPServerResponsePart

  private enum Event {
    case part(HTTPServerRequestPart)
    case malformed(any Error)
  }

  private enum Phase {
    /// Between two requests.
    case idle
    case receiving(StandardRequest, bodyBytesMax: Int)
    /// The body goes on to another node as it comes.
    case passingOn(bodyBytes: Int, bodyBytesMax: Int)
    /// The answer is being made.
    case answering
    /// The answer is made, and the client has yet to take it.
    case sending
    case closing
  }

  private var context: ChannelHandlerContext?
  private var phase = Phase.idle
  private var queue: [Event] = []
  private var large: LargeBody?
  /// The answer that is being sent, where it has no end of its own. What the client sends meanwhile is
  /// dropped: the answer has said that nothing follows it.
  private var stream: (any AnswerStream)?
  /// What hands a large request on, or brings a large answer.
  private var relay: StreamedRelay?
  /// The version that the request waits for.
  var awaited: VersionWaiters.ID?
  /// What its answer waits for, which is made already.
  var confirmation: VersionWaiters.ID?
  /// The request that is being answered.
  private(set) var request: StandardRequest?
  /// What the request's write is to wait for.
  var quorum = WriteQuorum.alone
  /// As much as there is of the body of the request that is being received; nobody else has it, so that it is not copied
  /// when it grows.
  private var body = ByteBuffer()
  /// What this connection's body counts for in the node's bound.
  private var chargedBytes = 0
  /// What its answer counts for in the node's bound.
  private var chargedAnswerBytes = 0
  private var bodyDeadline = NIODeadline.distantFuture
  private var expectsContinue = false
  private var hasInputEnded = false
  private var isReadHeld = false
  private var hasHeadBegun = false
  private var isGoingOn = false
  private var start = NIODeadline.now()
  // Of the request that is being answered.
  private var route = Route.other
  private var keepsAlive = true
  private var isHead = false
  private var isVersion10 = false

  private var isReceiving: Bool {
    switch phase {
    case .receiving, .passingOn: true
    default: false
    }
  }

  private var isBusy: Bool {
    switch phase {
    case .answering, .sending: true
    default: false
    }
  }

  /// Adds NIO's encoder and decoder and a lane to a pipeline.
  static func add(
    to pipeline: ChannelPipeline.SynchronousOperations, loop: LoopState,
    after handler: (any ChannelHandler)?
  ) throws -> StandardLane {
    var limits = NIOHTTPDecoderLimitConfiguration()
    // Above our own, which are told apart once a head is there.
    limits.maxHeaderFieldSize = 2 * loop.limits.headBytesMax
    limits.maxHeaderListSize = 3 * loop.limits.headBytesMax
    limits.maxHeaderFieldCount = loop.limits.headerFieldsMax
    let lane = StandardLane(loop: loop)
    // Answers say themselves how long they are.
    var framing = HTTPResponseEncoder.Configuration()
    framing.automaticallySetFramingHeaders = false
    let handlers: [any ChannelHandler] = [
      ArrivalWatch(lane),
      HTTPResponseEncoder(configuration: framing),
      ByteToMessageHandler(
        HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes, limitConfiguration: limits)),
      lane,
    ]
    if let handler {
      try pipeline.addHandlers(handlers, position: .after(handler))
    } else {
      try pipeline.addHandlers(handlers)
    }
    loop.metrics.connectionsStandard.increment()
    return lane
  }

  /// False when the client is gone.
  var isOpen: Bool { context != nil }

  /// Goes on reading where the lane before was holding back.
  func takeOver(isReadHeld: Bool) {
    guard isReadHeld, let context else { return }
    if isBusy || holdsBody { self.isReadHeld = true } else { context.read() }
  }

  // MARK: - Events

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
    deadline = .now() + .seconds(Int64(loop.limits.idleSeconds))
    loop.add(self)
  }

  func handlerRemoved(context: ChannelHandlerContext) {
    leave()
  }

  func channelInactive(context: ChannelHandlerContext) {
    leave()
    context.fireChannelInactive()
  }

  private func leave() {
    loop.remove(self)
    context = nil
    queue = []
    large = nil
    stream?.close()
    stream = nil
    endRelay()
    if let awaited { loop.waiters.expire(awaited) }
    if let confirmation { loop.confirmations.expire(confirmation) }
    releaseBody()
    releaseAnswer()
    if !isBusy { phase = .closing }
  }

  func read(context: ChannelHandlerContext) {
    if stream == nil, isBusy || !queue.isEmpty || holdsBody {
      isReadHeld = true
    } else {
      context.read()
    }
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    take(.part(unwrapInboundIn(data)))
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    switch error {
    case is HTTPParserError: take(.malformed(error))
    // More of what was malformed: that has been taken.
    case ByteToMessageDecoderError.dataReceivedInErrorState: break
    default: context.close(promise: nil)
    }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case ChannelEvent.inputClosed = event {
      hasInputEnded = true
      if !isBusy { finish() }
      // The client is gone, or as good as that.
      stream?.clientEnded()
    }
    context.fireUserInboundEventTriggered(event)
  }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    if context.channel.isWritable, large != nil { sendLarge() }
    if context.channel.isWritable { stream?.goOn() }
    if context.channel.isWritable, let relay, case .sending = phase {
      deadline = .now() + .seconds(Int64(loop.limits.answerSeconds))
      relay.goOn()
    }
    context.fireChannelWritabilityChanged()
  }

  /// Bytes came, which may be the start of a request.
  fileprivate func bytesArrived() {
    guard case .idle = phase, !hasHeadBegun else { return }
    hasHeadBegun = true
    deadline = .now() + .seconds(Int64(loop.limits.headSeconds))
  }

  // MARK: - Receiving

  private func take(_ event: Event) {
    guard stream == nil else { return }
    if isBusy || !queue.isEmpty {
      queue.append(event)
    } else {
      process(event)
    }
  }

  private func process(_ event: Event) {
    switch (event, phase) {
    case (_, .closing):
      break
    case (.malformed(let error), _):
      refuse(Self.refusal(error))
    case (.part(.head(let head)), _):
      begin(head)
    case (.part(.body(let bytes)), .receiving(let request, let most)):
      receive(bytes, of: request, most: most)
    case (.part(.end), .receiving(var request, _)):
      swap(&request.body, &body)
      handle(request)
    case (.part(.body(let bytes)), .passingOn(let count, let most)):
      passOn(bytes, count + bytes.readableBytes, most: most)
    case (.part(.end), .passingOn):
      phase = .answering
      deadline = .distantFuture
      relay?.endBody()
    case (.part, _):
      break
    }
  }

  private static func refusal(_ error: any Error) -> StandardRequest.Refusal {
    if let error = error as? HTTPParserError, error == .headerOverflow {
      return StandardRequest.Refusal(
        status: .headersTooLarge, reason: "the headers are too large, or too many")
    }
    return StandardRequest.Refusal(status: .badRequest, reason: "malformed HTTP: \(error)")
  }

  private func begin(_ head: HTTPRequestHead) {
    start = .now()
    hasHeadBegun = false
    isVersion10 = head.version == .http1_0
    isHead = head.method == .HEAD
    keepsAlive = false
    do throws(StandardRequest.Refusal) {
      let request = try StandardRequest(head, limits: loop.limits)
      keepsAlive = request.keepsAlive
      let most = loop.bodyBytesMax(of: request)
      if let length = request.contentLength, length > most {
        throw StandardRequest.Refusal(
          status: .contentTooLarge, reason: "the body is larger than \(most) bytes")
      }
      bodyDeadline = start + .seconds(Int64(loop.limits.bodySeconds))
      deadline = bodyDeadline
      expectsContinue = request.expectsContinue
      if let relay = loop.streamedWrite(request, bytes: request.contentLength ?? 0, of: self) {
        return passOn(request, by: relay, most: most)
      }
      if expectsContinue, let refusal = loop.refusalBeforeBody(of: request) {
        keepsAlive = false
        if loop.keyPut(by: request) != nil { isFor(.restPut) }
        return deliver(refusal)
      }
      phase = .receiving(request, bodyBytesMax: most)
      askForBody()
    } catch {
      refuse(error)
    }
  }

  private func askForBody() {
    guard expectsContinue else { return }
    expectsContinue = false
    context?.writeAndFlush(
      wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: .continue))),
      promise: nil)
  }

  private func extendBodyDeadline(by bytes: Int) {
    bodyDeadline = bodyDeadline + .nanoseconds(Int64(bytes) * 1_000_000_000 / (64 << 10))
    deadline = bodyDeadline
  }

  private func receive(_ bytes: ByteBuffer, of request: StandardRequest, most: Int) {
    let count = bytes.readableBytes
    guard body.readableBytes + count <= most else {
      return refuse(
        StandardRequest.Refusal(
          status: .contentTooLarge, reason: "the body is larger than \(most) bytes"))
    }
    guard loop.node.chargeBody(count, limit: loop.limits.bodyBytesMax) else {
      loop.writeError("overloaded: nothing was written")
      var answer = Answer(.unavailable, .json)
      answer.retryAfterSeconds = 1
      answer.closes = true
      return respond(answer)
    }
    chargedBytes += count
    body.writeImmutableBuffer(bytes)
    extendBodyDeadline(by: count)
    // Nobody has said before that it is large.
    if request.contentLength == nil, body.readableBytes > StreamedRelay.keptBytesMax,
      let relay = loop.streamedWrite(request, bytes: body.readableBytes, of: self)
    {
      let begun = body
      releaseBody()
      relay.send(begun)
      passOn(request, by: relay, bodyBytes: begun.readableBytes, most: most)
    }
  }

  private func releaseBody() {
    body = ByteBuffer()
    loop.node.releaseBody(chargedBytes)
    chargedBytes = 0
  }

  private func releaseAnswer() {
    loop.node.releaseAnswer(chargedAnswerBytes)
    chargedAnswerBytes = 0
  }

  private func refuse(_ refusal: StandardRequest.Refusal) {
    loop.writeError(refusal.reason)
    var answer = Answer(refusal.status, .json)
    answer.closes = true
    respond(answer)
  }

  // MARK: - Answering

  private func handle(_ request: StandardRequest) {
    phase = .answering
    deadline = .distantFuture
    self.request = request
    deliver(loop.handle(request, from: self))
  }

  /// Sends what a request has come to.
  func deliver(_ handling: Handling) {
    // What is left of the body is not for the next request.
    if case .passingOn = phase { keepsAlive = false }
    switch handling {
    case .now(let answer): respond(answer)
    case .value(let answer, let value): respond(answer, value)
    case .page(let answer, let next): respond(answer, next: next)
    case .fields(let answer, let fields): respond(answer, fields: fields)
    case .stream(let answer, let stream): respond(answer, stream)
    case .forwarded(let answer): respond(answer)
    case .later: break
    }
  }

  /// What the request is, for its metrics and for the answer to its write.
  func isFor(_ route: Route) { self.route = route }

  override func finish(_ request: WriteRequest, at index: Int, of submission: Submission) {
    respond(
      loop.answer(route, to: request, at: index, of: submission),
      written: request.isWritten ? .written(at: request.version) : .nothing)
  }

  /// What a request has done, where its answer cannot be told.
  private enum Done {
    case nothing
    case written(at: UInt64?)
  }

  /// Sends an answer whose body is the loop's. On the loop.
  private func respond(
    _ answer: Answer, _ value: LargeValue? = nil, next: String? = nil,
    fields: [(name: String, value: String)] = [], written: Done = .nothing
  ) {
    var answer = answer
    if loop.body.readableBytes > loop.limits.outputBytesMax {
      guard loop.node.chargeAnswer(loop.body.readableBytes, limit: loop.limits.answersBytesMax)
      else { return respondOverloaded(written) }
      chargedAnswerBytes = loop.body.readableBytes
    }
    if let value, !isHead {
      guard let body = LargeBody(value, of: loop.node) else { return respondOverloaded() }
      large = body
    }
    settle(answer.status)
    let body = loop.body
    loop.body = ByteBuffer()
    guard let context else {
      large = nil
      return releaseAnswer()
    }
    answer.closes = answer.closes || !keepsAlive || loop.isDraining
    answer.namesKeepAlive = isVersion10 && !answer.closes
    phase = .sending
    let bodyBytes = value?.bytes.count ?? body.readableBytes
    var head = loop.encoder.head(answer, bodyBytes: bodyBytes, next: next)
    for field in fields { head.headers.add(name: field.name, value: field.value) }
    keepsAlive = !answer.closes
    deadline =
      .now() + .seconds(Int64(loop.limits.answerSeconds + body.readableBytes / (64 << 10)))
    context.write(wrapOutboundOut(.head(head)), promise: nil)
    if !isHead, !answer.status.hasNoBody {
      if large != nil { return sendLarge() }
      context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
    }
    end()
  }

  /// The request is answered: nothing of it is needed any more.
  private func settle(_ status: Status) {
    loop.requestMetrics.answered(route, status, since: start)
    route = .other
    request = nil
    endRelay()
    releaseBody()
  }

  /// Sends what another node has answered.
  private func respond(_ forwarded: KVResponse) {
    let bytes = forwarded.body.readableBytes
    if bytes > loop.limits.outputBytesMax {
      guard loop.node.chargeAnswer(bytes, limit: loop.limits.answersBytesMax)
      else { return respondOverloaded(done(by: forwarded)) }
      chargedAnswerBytes = bytes
    }
    settle(Status(code: UInt16(clamping: forwarded.status), reason: ""))
    guard let context else { return releaseAnswer() }
    keepsAlive = keepsAlive && !loop.isDraining
    phase = .sending
    deadline = .now() + .seconds(Int64(loop.limits.answerSeconds + bytes / (64 << 10)))
    context.write(wrapOutboundOut(.head(head(of: forwarded, bodyBytes: bytes))), promise: nil)
    if !isHead, bytes > 0 {
      context.write(wrapOutboundOut(.body(.byteBuffer(forwarded.body))), promise: nil)
    }
    end()
  }

  private func head(of forwarded: KVResponse, bodyBytes: Int) -> HTTPResponseHead {
    var headers = loop.node.forwarder.headers(of: forwarded, bodyBytes: bodyBytes, isHead: isHead)
    if !keepsAlive { headers.add(name: "Connection", value: "close") }
    if isVersion10, keepsAlive { headers.add(name: "Connection", value: "keep-alive") }
    return HTTPResponseHead(
      version: .http1_1, status: HTTPResponseStatus(statusCode: forwarded.status), headers: headers)
  }

  /// Sends an answer's head; the stream sends the rest, and ends it.
  private func respond(_ answer: Answer, _ stream: any AnswerStream) {
    settle(answer.status)
    guard let context else { return stream.close() }
    var answer = answer
    answer.closes = true
    keepsAlive = false
    phase = .sending
    // For a client that knows no chunks the answer ends with the connection; a head has none anyhow.
    var head = loop.encoder.head(answer, bodyBytes: stream.bodyBytes)
    for field in stream.fields { head.headers.add(name: field.name, value: field.value) }
    if isVersion10 || isHead { head.headers.remove(name: "transfer-encoding") }
    context.writeAndFlush(wrapOutboundOut(.head(head)), promise: nil)
    guard self.context != nil, !isHead else {
      stream.close()
      return end()
    }
    queue = []
    self.stream = stream
    if isReadHeld {
      isReadHeld = false
      context.read()
    }
    if hasInputEnded { stream.clientEnded() }
    if loop.isDraining { stream.end() } else { stream.goOn() }
  }

  /// Whether the client takes what it is sent.
  var isWritable: Bool { context?.channel.isWritable ?? false }

  /// Has the system end the connection once the client's has confirmed nothing of what it was sent, or
  /// taken nothing, for so long: a host that vanished says no goodbye.
  func endSilence(after seconds: Int) {
    #if os(Linux)
      guard let channel = context?.channel as? any SocketOptionProvider else { return }
      let option = NIOBSDSocket.Option(rawValue: CInt(TCP_USER_TIMEOUT))
      // Where it cannot be set, the system's own time holds.
      _ = channel.unsafeSetSocketOption(
        level: .tcp, name: option, value: CInt(seconds) * 1_000)
    #endif
  }

  /// Sends a part of a stream.
  func send(_ bytes: ByteBuffer) {
    context?.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(bytes))), promise: nil)
  }

  /// The stream has sent everything.
  func endStream() {
    stream?.close()
    stream = nil
    deadline = .now() + .seconds(Int64(loop.limits.answerSeconds))
    end()
  }

  // MARK: - Passing on

  /// Hands the request on that is being received.
  ///
  /// - Parameter bodyBytes: as much of the body the relay has.
  private func passOn(
    _ request: StandardRequest, by relay: StreamedRelay, bodyBytes: Int = 0, most: Int
  ) {
    self.request = request
    isFor(.restPut)
    phase = .passingOn(bodyBytes: bodyBytes, bodyBytesMax: most)
    // The relay knows how long the node may take.
    deadline = .distantFuture
    begin(relay)
  }

  /// Hands the request on that is being received, or answered.
  func begin(_ relay: StreamedRelay) {
    self.relay = relay
    relay.start()
  }

  private func endRelay() {
    let relay = self.relay
    self.relay = nil
    relay?.cancel()
  }

  private var holdsBody: Bool {
    if case .passingOn = phase, let relay { !relay.takesBody } else { false }
  }

  private func passOn(_ bytes: ByteBuffer, _ bodyBytes: Int, most: Int) {
    guard bodyBytes <= most else {
      return refuse(
        StandardRequest.Refusal(
          status: .contentTooLarge, reason: "the body is larger than \(most) bytes"))
    }
    phase = .passingOn(bodyBytes: bodyBytes, bodyBytesMax: most)
    extendBodyDeadline(by: bytes.readableBytes)
    relay?.send(bytes)
    if holdsBody { deadline = .distantFuture }
  }

  /// The node that answers wants the body, or more of it.
  func bodyIsWanted() {
    askForBody()
    if case .passingOn = phase {
      // The time that the node has taken is not the client's.
      bodyDeadline = max(bodyDeadline, .now() + .seconds(Int64(loop.limits.bodySeconds)))
      deadline = bodyDeadline
    }
    guard isReadHeld, !holdsBody, !isBusy, queue.isEmpty else { return }
    isReadHeld = false
    context?.read()
  }

  /// Sends the head of an answer that the relay brings, piece by piece.
  func beginRelayed(_ answer: KVResponse, bytes: Int, _ relay: StreamedRelay) {
    // Not the end of the relay.
    self.relay = nil
    settle(Status(code: UInt16(clamping: answer.status), reason: ""))
    guard let context else { return relay.cancel() }
    self.relay = relay
    keepsAlive = keepsAlive && !loop.isDraining
    phase = .sending
    deadline = .now() + .seconds(Int64(loop.limits.answerSeconds))
    context.write(wrapOutboundOut(.head(head(of: answer, bodyBytes: bytes))), promise: nil)
  }

  func sendRelayed(_ bytes: ByteBuffer) {
    deadline = .now() + .seconds(Int64(loop.limits.answerSeconds))
    send(bytes)
  }

  func endRelayed() {
    relay = nil
    end()
  }

  /// What another node's answer says that the request has done.
  private func done(by forwarded: KVResponse) -> Done {
    guard let request, loop.isWrite(request), (200..<300).contains(forwarded.status) else {
      return .nothing
    }
    return .written(at: forwarded.headers["X-KV-Version"].first.flatMap { UInt64($0) })
  }

  private func respondOverloaded(_ done: Done = .nothing) {
    loop.body = ByteBuffer()
    guard case .written(let version) = done else { return respond(loop.noRoomForAnswer()) }
    let place = version.map { " at version \($0)" } ?? ""
    loop.body.writeString(
      "{\"error\":\"written\(place), and the answer is not told: \(LoopState.noRoomReason)\""
        + (version.map { ",\"version\":\($0)}" } ?? "}"))
    respond(Answer(.gatewayTimeout, .json, version: version))
  }

  private func sendLarge() {
    guard let context else { return }
    deadline = .now() + .seconds(Int64(loop.limits.answerSeconds))
    while context.channel.isWritable, let body = large {
      guard let piece = body.next(context.channel.allocator) else {
        large = nil
        return end()
      }
      context.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(piece))), promise: nil)
    }
  }

  private func end() {
    guard let context else { return }
    let promise = context.eventLoop.makePromise(of: Void.self)
    promise.futureResult.assumeIsolated().whenComplete { _ in self.sent() }
    context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: promise)
  }

  /// The client, or the system on its behalf, has the whole answer.
  private func sent() {
    guard context != nil, case .sending = phase else { return }
    releaseAnswer()
    guard keepsAlive, !loop.isDraining else { return finish() }
    phase = .idle
    // What comes may be malformed, and is no answer to a HEAD then.
    isHead = false
    isVersion10 = false
    deadline = .now() + .seconds(Int64(loop.limits.idleSeconds))
    // Called by the loop below, when the whole answer went at once: that goes on by itself.
    if !isGoingOn { goOn() }
  }

  private func goOn() {
    isGoingOn = true
    while !isBusy, !queue.isEmpty { process(queue.removeFirst()) }
    isGoingOn = false
    guard !isBusy, let context else { return }
    if hasInputEnded { return finish() }
    if isReadHeld, !holdsBody {
      isReadHeld = false
      context.read()
    }
  }

  // MARK: - The end

  private func finish() {
    guard let context else { return }
    if case .closing = phase { return }
    phase = .closing
    queue = []
    deadline = .distantFuture
    endRelay()
    releaseBody()
    LingeringClose.begin(context, limits: loop.limits, isInputEnded: hasInputEnded)
  }

  override func resume() {}

  override func timeOut() {
    guard let context else { return }
    if case .closing = phase { return context.close(promise: nil) }
    if let stream { return stream.timeOut() }
    if isBusy { return context.close(promise: nil) }
    if hasHeadBegun || isReceiving {
      keepsAlive = false
      refuse(
        StandardRequest.Refusal(status: .requestTimeout, reason: "the request took too long"))
    } else {
      context.close(promise: nil)
    }
  }

  /// The head that has begun took too long, in the lane before already.
  func headTimeOut() {
    if case .idle = phase, hasHeadBegun { timeOut() }
  }

  override func drain() {
    stream?.end()
    if case .idle = phase, queue.isEmpty, !hasHeadBegun { finish() }
  }

  override func abort() {
    context?.close(promise: nil)
  }
}

/// Sees the bytes before they are parsed: the parser says nothing before a head is whole.
private final class ArrivalWatch: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = ByteBuffer

  private unowned let lane: StandardLane

  init(_ lane: StandardLane) { self.lane = lane }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    lane.bytesArrived()
    context.fireChannelRead(data)
  }
}

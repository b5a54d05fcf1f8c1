import Client
import NIOCore
import NIOHTTP1
import NIOPosix

/// A request whose body or whose answer is large, and that another node answers: over a connection of its own, a
/// piece at a time, so that what is under way is no more than both connections hold.
///
///     connecting --> asking --100--> sending --> awaiting --> answering --> ended
///
/// The node is asked whether it wants the body (`Expect: 100-continue`) before the client's is read any further: as
/// long as it is not, another node may be tried. A read is asking until its answer comes.
///
/// Belongs to its event loop.
final class StreamedRelay: ChannelInboundHandler {
  typealias InboundIn = HTTPClientResponsePart
  typealias OutboundOut = HTTPClientRequestPart

  private enum Phase {
    case connecting, asking
    /// The body is on its way.
    case sending
    /// All of the body has been sent.
    case awaiting
    /// The head of the answer is there; a small answer is told when it is whole.
    case collecting(KVResponse)
    case answering
    case ended
  }

  /// What is larger goes on piece by piece. Each such request makes a connection.
  static let keptBytesMax = 512 << 10
  /// More than the largest value has in whatever form: what says that it is larger is no answer.
  static let answerBytesMax = 256 << 20
  private static let connectSeconds: Int64 = 2
  private static let pieceBytes = 64 << 10

  private let loop: LoopState
  /// Gets the answer; nil once it has no use for one.
  private var lane: StandardLane?
  private let request: StandardRequest
  private let waitMilliseconds: UInt64
  private var errand: Errand
  private var target: NodeAddress
  private var phase = Phase.connecting
  private var context: ChannelHandlerContext?
  private var timer: Scheduled<Void>?
  private var silence: Scheduled<Void>?
  /// Of the body: what came before the node wanted it, and whether that is all.
  private var early: [ByteBuffer] = []
  private var hasEnded = false
  /// The node has been sent all of it.
  private var isBodySent = false
  private var isReadHeld = false
  /// Which of the attempts events belong to.
  private var attempt = 0

  /// - Returns: nil when too many are under way.
  init?(
    _ request: StandardRequest, of lane: StandardLane, _ errand: Errand, to target: NodeAddress
  ) {
    guard lane.loop.node.chargeRelay(limit: lane.loop.limits.streamedRelaysMax) else { return nil }
    loop = lane.loop
    self.lane = lane
    self.request = request
    self.errand = errand
    self.target = target
    waitMilliseconds =
      Parameters(request.query).map(loop.timeoutMilliseconds) ?? loop.limits.waitMilliseconds
  }

  deinit { loop.node.releaseRelay() }

  private var eventLoop: NIOIsolatedEventLoop { loop.eventLoop.assumeIsolated() }
  private var isAsking: Bool {
    switch phase {
    case .connecting, .asking: true
    default: false
    }
  }

  // MARK: - The client's side

  /// Whether the client's body is to be read on.
  var takesBody: Bool {
    guard case .sending = phase else { return false }
    return context?.channel.isWritable ?? false
  }

  /// A piece of the body.
  func send(_ bytes: ByteBuffer) {
    switch phase {
    case .connecting, .asking: early.append(bytes)
    case .sending:
      context?.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(bytes))), promise: nil)
      // Until the node takes it.
      if !takesBody { setTimer() }
    default: break
    }
  }

  /// That was all of it.
  func endBody() {
    hasEnded = true
    guard case .sending = phase else { return }
    phase = .awaiting
    isBodySent = true
    context?.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    setTimer()
  }

  /// The client takes more of the answer.
  func goOn() {
    guard isReadHeld, lane?.isWritable ?? false else { return }
    isReadHeld = false
    setTimer()
    context?.read()
  }

  /// The client is gone, or has its answer.
  func cancel() {
    lane = nil
    end()
  }

  private func end() {
    phase = .ended
    attempt += 1
    timer?.cancel()
    silence?.cancel()
    early = []
    let context = self.context
    self.context = nil
    context?.close(promise: nil)
  }

  // MARK: - Connecting

  func start() {
    phase = .connecting
    attempt += 1
    // A read has been counted that turned out to have a large answer.
    if !errand.isRead || errand.attempts > 0 { loop.metrics.forwarded.increment() }
    setTimer()
    watchSilence()
    let (attempt, linkDelay) = (attempt, loop.node.configuration.linkDelay)
    let handler = NIOLoopBound(self, eventLoop: loop.eventLoop)
    let bootstrap = ClientBootstrap(group: loop.eventLoop)
      .connectTimeout(.seconds(Self.connectSeconds))
      .channelOption(.autoRead, value: false)
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
      .channelOption(.maxMessagesPerRead, value: 1)
      .channelOption(
        .recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: Self.pieceBytes)
      )
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let pipeline = channel.pipeline.syncOperations
          try pipeline.addLinkDelay(linkDelay, awaitsReads: true)
          try pipeline.addHandlers([
            HTTPRequestEncoder(),
            ByteToMessageHandler(
              HTTPResponseDecoder(
                leftOverBytesStrategy: .dropBytes, informationalResponseStrategy: .forward)),
            Attempt(handler.value, attempt),
          ])
        }
      }
    let connected: EventLoopFuture<any Channel>
    if let socket = try? SocketAddress(ipAddress: target.host, port: Int(target.port)) {
      connected = bootstrap.connect(to: socket)
    } else {
      connected = bootstrap.connect(host: target.host, port: Int(target.port))
    }
    connected.assumeIsolated().whenFailure { self.failed($0, attempt) }
  }

  private var head: HTTPRequestHead {
    var uri = String(decoding: request.path, as: UTF8.self)
    if !request.query.isEmpty { uri += "?" + String(decoding: request.query, as: UTF8.self) }
    var fields = [(name: Errand.shardsField, value: loop.node.shardsText)]
    if errand.isRead, errand.isForLeader || errand.attempts > 0 || loop.readsFromLeader {
      fields.append((Errand.sourceField, "leader"))
    }
    var headers = loop.node.forwarder.headers(for: request, adding: fields)
    headers.add(name: "Host", value: "\(target)")
    if !errand.isRead {
      if let length = request.contentLength {
        headers.add(name: "Content-Length", value: String(length))
      } else {
        headers.add(name: "Transfer-Encoding", value: "chunked")
      }
      headers.add(name: "Expect", value: "100-continue")
    }
    return HTTPRequestHead(version: .http1_1, method: request.method, uri: uri, headers: headers)
  }

  fileprivate func connected(_ context: ChannelHandlerContext, _ attempt: Int) {
    guard attempt == self.attempt, lane != nil else { return context.close(promise: nil) }
    self.context = context
    phase = .asking
    context.writeAndFlush(wrapOutboundOut(.head(head)), promise: nil)
    if errand.isRead { context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil) }
    context.read()
  }

  // MARK: - The node's side

  fileprivate func received(_ part: HTTPClientResponsePart, _ attempt: Int) {
    guard attempt == self.attempt else { return }
    switch (part, phase) {
    case (.head(let head), .asking) where head.status == .continue: sendBody()
    case (.head(let head), .asking), (.head(let head), .sending), (.head(let head), .awaiting):
      if head.status.code >= 200 { begin(head) }
    case (.body(let bytes), .collecting(var answer)):
      answer.body.writeImmutableBuffer(bytes)
      guard answer.body.readableBytes <= Self.keptBytesMax else {
        return failed(.malformedAnswer("an answer that does not say how long it is"))
      }
      phase = .collecting(answer)
    case (.end, .collecting(let answer)): tell(answer)
    case (.body(let bytes), .answering):
      setTimer()
      lane?.sendRelayed(bytes)
    case (.end, .answering):
      let lane = lane
      self.lane = nil
      end()
      lane?.endRelayed()
    default: break
    }
  }

  private func sendBody() {
    guard !errand.isRead else { return }
    phase = .sending
    silence?.cancel()
    timer?.cancel()
    let pieces = early
    early = []
    for piece in pieces { send(piece) }
    if hasEnded { endBody() }
    lane?.bodyIsWanted()
  }

  private func begin(_ head: HTTPResponseHead) {
    silence?.cancel()
    let answer = KVResponse(status: Int(head.status.code), headers: head.headers)
    let length = head.headers.first(name: "Content-Length").flatMap { Int($0) } ?? 0
    if isMisdirection(answer.status, isRead: errand.isRead) {
      let hint = head.headers.first(name: Errand.leaderField)
      if isAsking { return goElsewhere(hint: hint, .notLeading(target)) }
      // The next one is to know better.
      loop.findLeader(errand.shard, hint: hint, instead: target) { _ in }
      refuse(.notLeading(target))
    } else if length > Self.answerBytesMax {
      refuse(lost(.answerTooLarge(bytesMax: Self.answerBytesMax)))
    } else if length > Self.keptBytesMax, request.method != .HEAD, errand.isRead || isBodySent {
      phase = .answering
      setTimer()
      lane?.beginRelayed(answer, bytes: length, self)
    } else {
      // Where it comes before the end of the body, no more of that is wanted.
      phase = .collecting(answer)
      setTimer()
    }
  }

  private func tell(_ answer: KVResponse) {
    let lane = lane
    self.lane = nil
    end()
    lane?.deliver(.forwarded(answer))
  }

  fileprivate func readComplete(_ attempt: Int) {
    guard attempt == self.attempt else { return }
    if case .answering = phase, !(lane?.isWritable ?? false) {
      // The lane knows how long its client may take.
      isReadHeld = true
      timer?.cancel()
    } else {
      context?.read()
    }
  }

  fileprivate func writabilityChanged(_ attempt: Int) {
    guard attempt == self.attempt, takesBody else { return }
    timer?.cancel()
    lane?.bodyIsWanted()
  }

  // MARK: - Failure

  fileprivate func failed(_ error: any Error, _ attempt: Int) {
    guard attempt == self.attempt else { return }
    failed(isConnecting ? FailureCause(connecting: error) : .connectionClosed)
  }

  fileprivate func closed(_ attempt: Int) {
    guard attempt == self.attempt else { return }
    failed(.connectionClosed)
  }

  private var isConnecting: Bool { if case .connecting = phase { true } else { false } }

  private func failed(_ cause: FailureCause) {
    switch phase {
    case .ended: return
    case .answering:
      let lane = lane
      self.lane = nil
      end()
      // As much of the answer as there is has been told: the client sees that some is missing.
      lane?.abort()
      return
    case .connecting, .asking, .sending, .awaiting, .collecting:
      loop.metrics.forwardFailures.increment()
      loop.node.cluster?.noteFailure(of: target, in: errand.shard)
      let mayRepeat = errand.isRead || isAsking
      if mayRepeat, !cause.isTimeout {
        goElsewhere(hint: nil, lost(cause))
      } else {
        refuse(lost(cause))
      }
    }
  }

  /// A body without an end: the node does nothing with it.
  private func lost(_ cause: FailureCause) -> KVClientError {
    isBodySent || errand.isRead && !isAsking
      ? .outcomeUnknown(target, cause, request.method) : .neverSent(target, cause)
  }

  private func refuse(_ error: KVClientError) {
    let lane = lane
    self.lane = nil
    end()
    lane?.deliver(.now(loop.unreachable(target, error, isRead: errand.isRead)))
  }

  /// Tries whoever leads the shard now: nothing of the body has been taken.
  private func goElsewhere(hint: String?, _ error: KVClientError) {
    let kept = early
    let failed = target
    end()
    // What comes meanwhile is kept for the next one.
    early = kept
    phase = .connecting
    errand = errand.again
    let attempt = attempt
    loop.findLeader(errand.shard, hint: hint, instead: failed) { leader in
      guard attempt == self.attempt, self.lane != nil else { return }
      guard let leader, self.errand.attempts < Errand.attemptsMax, !self.loop.isDraining else {
        return self.refuse(error)
      }
      self.target = leader
      self.start()
    }
  }

  // MARK: - Time

  /// What the node may take for the next step.
  private func setTimer() {
    timer?.cancel()
    let milliseconds: Int64
    if case .answering = phase {
      milliseconds = Int64(loop.limits.answerSeconds) * 1_000
    } else {
      milliseconds = Int64(clamping: waitMilliseconds) + Forwarder.answerMilliseconds
    }
    timer = eventLoop.scheduleTask(in: .milliseconds(milliseconds)) {
      self.failed(.timedOut(.answer))
    }
  }

  /// Looks, as long as a node says nothing, whether another one leads in its place by now.
  private func watchSilence() {
    silence?.cancel()
    silence = eventLoop.scheduleTask(in: .milliseconds(loop.limits.silenceMilliseconds)) {
      let (attempt, silent) = (self.attempt, self.target)
      self.loop.findLeader(self.errand.shard, hint: nil, instead: silent) { leader in
        guard attempt == self.attempt, self.isAsking else { return }
        guard let leader, leader != silent else { return self.watchSilence() }
        self.goElsewhere(hint: "\(leader)", KVClientError.neverSent(silent, .timedOut(.answer)))
      }
    }
  }
}

/// One connection of a relay: its events say which one they are of.
private final class Attempt: ChannelInboundHandler {
  typealias InboundIn = HTTPClientResponsePart

  private let relay: StreamedRelay
  private let number: Int

  init(_ relay: StreamedRelay, _ number: Int) {
    self.relay = relay
    self.number = number
  }

  func channelActive(context: ChannelHandlerContext) {
    // A port of this machine that nobody listens on may be the one it came from.
    if let local = context.localAddress, local == context.remoteAddress {
      relay.closed(number)
      return context.close(promise: nil)
    }
    relay.connected(context, number)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    relay.received(unwrapInboundIn(data), number)
  }

  func channelReadComplete(context: ChannelHandlerContext) { relay.readComplete(number) }

  func channelWritabilityChanged(context: ChannelHandlerContext) {
    relay.writabilityChanged(number)
  }

  func channelInactive(context: ChannelHandlerContext) { relay.closed(number) }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    relay.failed(error, number)
    context.close(promise: nil)
  }
}

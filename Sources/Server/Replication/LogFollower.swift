import Client
import Engine
import Logging
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization
import WAL

/// Follows a leader's log: the shell around `FollowerState`.
///
/// Frames are checked on the event loop and gathered while the committer writes those before them; then it takes
/// all that there is. What is gathered, and what the committer has, are bounded: above that nothing is read from
/// the connection, and the leader, which serves a slow follower from its disk, is not held up.
///
/// `@unchecked Sendable`: touched on the event loop only, but for what hands frames over, and `report`.
final class LogFollower: FrameBatchOwner, @unchecked Sendable {
  /// Why following ended by itself.
  enum Ending: Sendable {
    /// A snapshot of the leader's is needed.
    case copy
    /// What is here is not the leader's history.
    case diverged(Divergence)
  }

  /// Frames that are gathered while others are written; one frame may come on top. Half of what a batch keeps of its
  /// memory: what it gives back has to be had again, page by page.
  private static let gatheredBytesMax = 2 << 20
  /// What is written beside what is applied.
  private static let furtherBytesMin = 1 << 20
  private static let connectSeconds: Int64 = 2
  /// Between the beginnings of two batches where no write waits for them: each costs a sync.
  private static let batchPause: UInt64 = 2_000_000
  private static let refusalBytesMax = 64 << 10

  /// Frames on their way to the committer.
  private struct Gathering: Sendable {
    var batch = FrameBatch()
    /// The committer has the others: one that it writes, one that it applies.
    var spares = [FrameBatch(), FrameBatch()]
    var takenBytes = 0
    /// The committer comes, for what there is then.
    var isOffered = false
    /// Frames were not written: what comes behind them is of no use. Until the next connection.
    var hasFailed = false
  }

  let leader: NodeAddress
  private let id: String
  private let store: Store
  private let loop: any EventLoop
  private let logger: Logger
  private let metrics: ServerMetrics
  private let followers: Followers?
  private let acknowledger: Acknowledger
  private let ended: @Sendable (Ending) -> Void
  private let caughtUp: @Sendable () -> Void
  private let promised: Epoch?
  private let linkDelay: TimeAmount
  private let latest: Mutex<FollowerReport>

  private var state: FollowerState
  private var stream = FrameStream()
  private var channel: (any Channel)?
  private var refusal: (status: Int, body: ByteBuffer)?
  private let gathering = Mutex(Gathering())
  /// What the leader said that it has when the stream began.
  private let keysTold = Atomic(0)
  /// How often the committer was told that there are frames, and has not said what became of them, as far as this
  /// loop knows.
  private var offers = 0
  /// Who stops it waits for that.
  private var drained: EventLoopPromise<Void>?
  private var offeredAt: UInt64 = 0
  private var isOfferDue = false
  private var isReadHeld = false
  private var timer: Scheduled<Void>?
  private var isStopped = false
  private var saidAlarm: String?
  private var hasCaughtUp = false
  /// Where the state was found to be another than the leader's.
  private var differsAt: UInt64?

  /// - Parameters:
  ///   - store: whose log is followed; nil for that of the node.
  ///   - promised: the highest epoch that this node has promised: a new promise ends the following.
  ///   - ended: called once, on the event loop, when following cannot go on as it is.
  init(
    _ leader: NodeAddress, id: String, node: NodeState, loop: any EventLoop,
    promised: Epoch?, of store: Store? = nil, ended: @escaping @Sendable (Ending) -> Void
  ) {
    let store = store ?? node.store
    self.leader = leader
    self.id = id
    self.store = store
    metrics = node.metrics
    // What the members of a leaderless shard have of another node's log is for that to count.
    followers = store === node.store ? node.followers : nil
    logger = node.logger
    self.loop = loop
    self.ended = ended
    caughtUp = { [weak node] in node?.noteRecovered() }
    self.promised = promised
    linkDelay = node.configuration.linkDelay
    let applied = store.feed.end
    state = FollowerState(
      applied: applied, origin: store.origin, now: Self.now, jitter: .random(in: 0 ... .max))
    acknowledger = Acknowledger(
      leader, id: id, origin: store.origin, loop: loop, linkDelay: linkDelay)
    latest = Mutex(FollowerReport(leader: "\(leader)", state, pendingBytes: 0))
  }

  private var isShipping: Bool { offers > 0 }
  /// The committer comes for frames.
  var isOffering: Bool { gathering.withLock { $0.isOffered } }
  /// Of the frames that the committer has not taken.
  private var gatheredBytes: Int { gathering.withLock { $0.batch.bytes } }

  private static var now: UInt64 { NIODeadline.now().uptimeNanoseconds }

  /// What `/status` says of it.
  var report: FollowerReport { latest.withLock { $0 } }

  func start() {
    loop.execute { self.arm() }
  }

  /// Ends the connection.
  ///
  /// - Returns: when what the committer has is applied: another one may go on from there.
  func stop() -> EventLoopFuture<Void> {
    loop.flatSubmit {
      self.isStopped = true
      self.gathering.withLock { $0.batch.removeAll() }
      self.timer?.cancel()
      self.acknowledger.stop()
      self.channel?.close(promise: nil)
      self.channel = nil
      guard self.isShipping else { return self.loop.makeSucceededVoidFuture() }
      let drained = self.drained ?? self.loop.makePromise()
      self.drained = drained
      return drained.futureResult
    }
  }

  // MARK: - The state machine

  private func arm() {
    timer?.cancel()
    publish()
    guard !isStopped, let deadline = state.deadline else { return }
    timer = loop.assumeIsolated().scheduleTask(deadline: .uptimeNanoseconds(deadline)) {
      self.tick()
    }
  }

  private func tick() {
    guard !isStopped else { return }
    // A connection asks for what comes behind what is applied: first the committer is done.
    if isShipping, channel == nil { return }
    perform(state.tick(Self.now))
    arm()
  }

  private func perform(_ action: FollowerState.Action?) {
    switch action {
    case nil: break
    case .connect(let request): connect(request)
    case .disconnect(let reason): disconnect(reason)
    case .copy: end(.copy)
    case .diverged(let reason, let leader):
      end(.diverged(Divergence(reason, store, leader: leader)))
    }
  }

  private func end(_ ending: Ending) {
    channel?.close(promise: nil)
    channel = nil
    isStopped = true
    acknowledger.stop()
    ended(ending)
  }

  private func disconnect(_ reason: String) {
    guard let channel else { return }
    self.channel = nil
    channel.close(promise: nil)
    connectionEnded(reason)
  }

  private func connectionEnded(_ reason: String) {
    gathering.withLock { $0.batch.removeAll() }
    isReadHeld = false
    guard !isStopped else { return }
    if case .streaming = state.phase {
      logger.warning("the stream from \(leader) has ended: \(reason)")
    }
    state.closed(reason, Self.now)
    arm()
  }

  private func publish() {
    let report = FollowerReport(
      leader: "\(leader)", state,
      pendingBytes: gathering.withLock { $0.batch.bytes + $0.takenBytes })
    latest.withLock { $0 = report }
    if report.hasCaughtUp, !hasCaughtUp {
      hasCaughtUp = true
      // Not here: it may take a sync.
      Task { [caughtUp] in caughtUp() }
    }
    if let alarm = state.alarm, alarm != saidAlarm { logger.critical("\(alarm)") }
    saidAlarm = state.alarm
  }

  // MARK: - The connection

  private func connect(_ request: StreamRequest) {
    stream = FrameStream()
    refusal = nil
    gathering.withLock { $0.hasFailed = false }
    let linkDelay = linkDelay
    let bootstrap = ClientBootstrap(group: loop)
      .connectTimeout(.seconds(Self.connectSeconds))
      .channelOption(.autoRead, value: false)
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addLinkDelay(linkDelay, awaitsReads: true)
          try channel.pipeline.syncOperations.addHTTPClientHandlers()
          try channel.pipeline.syncOperations.addHandler(FollowerHandler(self))
        }
      }
    bootstrap.connect(host: leader.host, port: Int(leader.port)).assumeIsolated().whenComplete {
      switch $0 {
      case .success(let channel):
        guard !self.isStopped else { return channel.close(promise: nil) }
        self.channel = channel
        self.send(request, on: channel)
      case .failure(let error):
        guard !self.isStopped else { return }
        let cause = FailureCause(connecting: error)
        self.state.closed("\(self.leader) cannot be reached: \(cause)", Self.now)
        self.arm()
      }
    }
  }

  private func send(_ request: StreamRequest, on channel: any Channel) {
    var head = HTTPRequestHead(
      version: .http1_1, method: .GET,
      uri: "/wal/stream?from=\(request.from)&replica=\(PercentEncoding.encode(id))"
        + (request.after.sequence > 0
          ? "&crc=\(hexadecimal(request.after.crc))&epoch=\(request.after.epoch.text)" : "")
        + (request.origin.map { "&origin=\(hexadecimal($0))" } ?? ""))
    head.headers.add(name: "Host", value: "\(leader)")
    channel.write(HTTPClientRequestPart.head(head), promise: nil)
    channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
    channel.read()
  }

  fileprivate func received(_ part: HTTPClientResponsePart) {
    guard channel != nil else { return }
    // A refusal has an end: what goes on for ever under its status is a damaged stream.
    if refusal == nil { state.heard(Self.now) }
    switch part {
    case .head(let head):
      guard head.status != .ok else {
        let keys = head.headers.first(name: LoopState.keysField).flatMap { Int($0) }
        return keysTold.store(keys ?? 0, ordering: .relaxed)
      }
      guard head.status.code >= 400 else {
        return disconnect("the leader answers \(head.status.code)")
      }
      refusal = (Int(head.status.code), ByteBuffer())
    case .body(var bytes):
      guard refusal != nil else { return take(bytes) }
      guard refusal!.body.readableBytes + bytes.readableBytes <= Self.refusalBytesMax else {
        return disconnect("the leader's refusal does not end")
      }
      refusal!.body.writeBuffer(&bytes)
    case .end:
      guard let refusal else { return disconnect("the leader has ended it") }
      channel?.close(promise: nil)
      channel = nil
      perform(state.refused(StreamRefusal(refusal.status, refusal.body), Self.now))
      arm()
    }
  }

  fileprivate func readComplete() {
    offer()
    if gatheredBytes < Self.gatheredBytesMax { channel?.read() } else { isReadHeld = true }
  }

  fileprivate func inactive(_ channel: any Channel) {
    guard let mine = self.channel, mine === channel else { return }
    self.channel = nil
    connectionEnded("the connection was closed")
  }

  fileprivate func failed(_ channel: any Channel, _ error: any Error) {
    guard let mine = self.channel, mine === channel else { return channel.close(promise: nil) }
    disconnect("\(error)")
  }

  // MARK: - Frames

  private func take(_ bytes: ByteBuffer) {
    bytes.withUnsafeReadableBytes { stream.feed($0) }
    while channel != nil {
      do throws(FrameStream.Failure) {
        switch try stream.next() {
        case .segment(let header):
          perform(state.opened(header, Self.now))
          // What a leader has heard does not outlive its process.
          if channel != nil, state.applied.sequence > 0 {
            acknowledger.begin()
            acknowledge(state.applied)
          }
        case .frame(let header):
          state.frame(header)
          stream.withFrame { frame in
            gathering.withLock { if !$0.hasFailed { $0.batch.append(header, frame) } }
          }
        case .heartbeat(let header): heartbeat(header)
        case nil: return
        }
      } catch {
        return disconnect(
          "what came behind sequence number \(state.received.sequence) is not a frame of this log: "
            + "\(error.finding)")
      }
    }
  }

  private func heartbeat(_ header: FrameHeader) {
    let told = stream.withRecords { DigestTold(parsing: $0) }
    // A sender that has been at work ever since the stream began does not say where its log ends.
    if let told, told.sequence > 0 {
      state.heartbeat(end: max(header.firstSequence - 1, told.sequence), Self.now)
    }
    state.confirmed(header)
    followers?.told(confirmed: state.confirmed)
    // Nothing is being applied: the digest is that of what is applied.
    if let told, !store.isMerged, !isShipping, gatheredBytes == 0,
      told.sequence == state.applied.sequence,
      told.digest != store.index.digest(), differsAt != told.sequence
    {
      differsAt = told.sequence
      metrics.stateDiffers(at: told.sequence)
    }
    publish()
  }

  private func acknowledge(_ position: LogPosition) {
    guard Voter(promised: promised, logEpoch: position.epoch).acknowledges(position.epoch)
    else { return }
    acknowledger.applied(position)
  }

  /// Tells the committer that there are frames, unless it knows.
  private func offer() {
    let (bytes, isOffered) = gathering.withLock { ($0.batch.bytes, $0.isOffered) }
    guard !isStopped, bytes > 0, !isOffered, !isOfferDue else { return }
    let now = Self.now
    if !acknowledger.isAwaited, now < offeredAt + Self.batchPause, bytes < Self.gatheredBytesMax {
      isOfferDue = true
      _ = loop.assumeIsolated().scheduleTask(
        deadline: .uptimeNanoseconds(offeredAt + Self.batchPause)
      ) {
        self.isOfferDue = false
        self.offer()
      }
      return
    }
    offeredAt = now
    offers += 1
    gathering.withLock { $0.isOffered = true }
    store.committer.ship(for: self)
  }

  private func readOn() {
    guard isReadHeld, gatheredBytes < Self.gatheredBytesMax else { return }
    isReadHeld = false
    channel?.read()
  }

  var keysExpected: Int { keysTold.load(ordering: .relaxed) }

  func nextBatch() -> FrameBatch {
    gathering.withLock { gathering in
      gathering.isOffered = false
      return take(&gathering)
    }
  }

  func furtherBatch() -> FrameBatch? {
    gathering.withLock { gathering in
      // The committer still comes for the offer: until then nothing is over.
      guard gathering.isOffered, gathering.batch.bytes >= Self.furtherBytesMin else { return nil }
      return take(&gathering)
    }
  }

  private func take(_ gathering: inout Gathering) -> FrameBatch {
    let batch = gathering.batch
    gathering.batch = gathering.spares.removeLast()
    gathering.takenBytes += batch.bytes
    // There is room again.
    if batch.bytes >= Self.gatheredBytesMax { loop.execute { self.readOn() } }
    return batch
  }

  func shipped(_ batch: FrameBatch, _ outcome: ShippingOutcome, isFurther: Bool) {
    let bytes = batch.bytes
    batch.removeAll()
    gathering.withLock { gathering in
      gathering.spares.append(batch)
      gathering.takenBytes -= bytes
      if case .applied = outcome { return }
      gathering.hasFailed = true
      gathering.batch.removeAll()
    }
    loop.execute { self.shipped(outcome, isFurther: isFurther) }
  }

  private func shipped(_ outcome: ShippingOutcome, isFurther: Bool) {
    if !isFurther { offers -= 1 }
    if offers == 0 { drained?.succeed() }
    switch outcome {
    case .applied(let position):
      state.applied(position)
      acknowledge(position)
    case .diskFull(let position):
      state.applied(position)
      acknowledge(position)
      disconnect("there is no room on this node's disk")
    case .stopped:
      disconnect("this node's log takes nothing more")
    }
    followers?.told(confirmed: state.confirmed)
    guard !isStopped else { return }
    offer()
    readOn()
    if channel == nil { arm() } else { publish() }
  }
}

/// What a leader's heartbeat says of its state.
private struct DigestTold {
  let digest: Digest
  /// What was applied then.
  let sequence: UInt64

  init?(parsing content: RawSpan) {
    guard content.byteCount >= 16, let digest = Digest(encoded: content.extracting(0..<8)) else {
      return nil
    }
    self.digest = digest
    sequence = content.number(at: 8, as: UInt64.self)
  }
}

/// Hands what comes over to the follower.
private final class FollowerHandler: ChannelInboundHandler {
  typealias InboundIn = HTTPClientResponsePart

  private let follower: LogFollower

  init(_ follower: LogFollower) { self.follower = follower }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    follower.received(unwrapInboundIn(data))
  }

  func channelReadComplete(context: ChannelHandlerContext) { follower.readComplete() }

  func channelInactive(context: ChannelHandlerContext) { follower.inactive(context.channel) }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    follower.failed(context.channel, error)
  }
}

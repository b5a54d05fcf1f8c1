import Engine
import NIOCore
import Synchronization

/// What the connections of one event loop share: the way to the committer and back, the texts, and
/// the time.
///
/// `@unchecked Sendable`: everything but `completed` is touched on the event loop only.
final class LoopState: SubmissionOwner, @unchecked Sendable {
  private static let earlyRequestsMin = 64
  /// Submissions that are kept for the next turn.
  private static let sparesMax = 16

  let eventLoop: any EventLoop
  let node: NodeState
  let store: Store
  let shardCount: UInt64
  let limits: Limits
  let metrics: ServerMetrics
  var requestMetrics: RequestMetrics
  /// Nil once the node has begun to stop.
  private(set) var isDraining = false

  // The way to the committer.
  /// One for each quorum that is wanted in this turn.
  private var open: [Submission] = []
  private var spares: [Submission] = []
  private var isFlushScheduled = false
  // The way back.
  private let returned = Mutex<[Submission]>([])
  private var arrived: [Submission] = []
  private var touched: [Lane] = []
  private var isFinishing = false

  private var lanes: [Lane] = []
  var pages = PageQueue()
  /// Requests for a snapshot that is being made; each connection has one at most.
  var snapshotWaiters: [StandardLane] = []
  /// Reads that wait until a version is readable, and the feeds.
  let waiters: VersionWaiters
  /// What a hand-over makes of writes, and those that wait for it.
  var hold = WriteHold.none
  var heldLanes: [StandardLane] = []
  /// Submissions that the committer has.
  private var submitted = 0
  /// Answers that wait until what they tell cannot be taken back any more.
  let confirmations: VersionWaiters
  /// Whether answers do.
  let hidesUnconfirmed: Bool
  /// Whether reads ask nobody else, where they do not say it.
  let readsAlone: Bool
  /// What several members have of the keys of the read that is being answered, in a leaderless shard.
  var gathered: [[UInt8]: KeyVersions]?
  /// Reads of a leaderless shard that wait for other members.
  var askingReads = 0
  /// What the answer that is being made rests on: the highest number that it tells.
  var basis: UInt64 = 0
  /// Reads that ask other members.
  let readQuorums: ReadQuorums
  /// Requests that other shards' nodes answer.
  private(set) var relays: Relays!
  /// What an answer says that another node has given.
  let forwardedBy: [UInt8]
  /// How keys are divided.
  let shardsText: [UInt8]
  /// What is added to a request that is handed on has no more bytes.
  let relayedFieldsMax: Int
  /// Whether only leaders answer reads that are handed on.
  let readsFromLeader: Bool
  /// Writes that wait until other members have them.
  private(set) var held: HeldWrites!
  /// What a write waits for that does not say it.
  let defaultQuorum: WriteQuorum
  /// Set while writes are finished that too few members have in time.
  private(set) var isLate = false
  /// Of `waiters`, the reads.
  var waitingReads: [VersionWaiters.ID] = []
  /// Of `confirmations`, the answers.
  var unconfirmedReads: Set<VersionWaiters.ID> = []
  private var sweep: RepeatedTask?
  private(set) var encoder: AnswerEncoder
  /// The body of the answer that is being made; empty between requests.
  var body = ByteBuffer()
  /// Decoded keys and values, and values copied out of the index.
  let scratch = UnsafeMutableRawBufferPointer.allocate(
    byteCount: FastRequest.headBytesMax + FastRequest.bodyBytesMax, alignment: 16)

  init(eventLoop: any EventLoop, node: NodeState) {
    self.eventLoop = eventLoop
    self.node = node
    store = node.store
    shardCount = UInt64(node.shardCount)
    limits = node.configuration.limits
    metrics = node.metrics
    let feed = node.store.feed
    waiters = VersionWaiters(eventLoop: eventLoop, signal: feed.signal) { feed.appliedSequence }
    let followers = node.followers
    confirmations = VersionWaiters(eventLoop: eventLoop, signal: followers.confirmations) {
      followers.confirmed
    }
    // Where nobody leads no failover takes anything back.
    hidesUnconfirmed =
      node.merged == nil && node.configuration.writeQuorum > 1
      && !node.configuration.showsUnconfirmed
    readsAlone = node.configuration.readQuorum == 1
    readQuorums = ReadQuorums(eventLoop: eventLoop, node: node)
    let members = node.configuration.writeQuorum
    defaultQuorum =
      members == 1
      ? .alone
      : WriteQuorum(members: members, timeoutMilliseconds: limits.waitMilliseconds)
    requestMetrics = RequestMetrics(node.metrics.registry)
    shardsText = Array(node.shardsText.utf8)
    relayedFieldsMax = 256 + node.address.utf8.count
    readsFromLeader = node.configuration.readFrom == .leader
    forwardedBy = Array("\(Forwarder.hopsField): \(node.address)\r\n".utf8)
    encoder = AnswerEncoder(node: node.address, shard: node.shard)
    relays = Relays(self)
    held = HeldWrites(eventLoop: eventLoop, followers: node.followers) { [unowned self] in
      finish($0, isLate: $1)
      if !isFinishing { resumeTouched() }
    }
  }

  deinit {
    scratch.deallocate()
  }

  /// Starts the clock of this loop. On the loop.
  func start() {
    tell()
    sweep = eventLoop.scheduleRepeatedTask(initialDelay: .seconds(1), delay: .seconds(1)) { _ in
      self.tell()
      self.closeLate()
      self.relays.sweep()
    }
  }

  func stop() {
    sweep?.cancel()
    sweep = nil
    waiters.stop()
    confirmations.stop()
    held.stop()
    relays.stop()
  }

  private func tell() {
    encoder.set(date: HTTPDate.text(secondsSince1970: HTTPDate.now()))
  }

  // MARK: - Writes

  /// The submission that gathers this turn's writes. It is handed over at the end of the turn, with
  /// those of all connections that were ready in it.
  func gather(_ quorum: WriteQuorum) -> Submission {
    if !isFlushScheduled {
      isFlushScheduled = true
      eventLoop.execute { self.handOver() }
    }
    for submission in open where submission.quorum == quorum { return submission }
    let submission = spares.popLast() ?? Submission(owner: self)
    submission.quorum = quorum
    open.append(submission)
    return submission
  }

  private func handOver() {
    isFlushScheduled = false
    for submission in open where !submission.isEmpty {
      submitted += 1
      store.committer.submit(submission)
    }
    open.removeAll { !$0.isEmpty }
  }

  /// False when a write of that size has to be refused.
  func hasRoom(forBytes bytes: Int) -> Bool {
    store.committer.hasRoom(forBytes: open.reduce(bytes + held.bytes) { $0 + $1.bytes })
  }

  func completed(_ submission: Submission) {
    let isFirst = returned.withLock { returned in
      returned.append(submission)
      return returned.count == 1
    }
    if isFirst { eventLoop.execute { self.takeBack() } }
  }

  private func takeBack() {
    // What this turn has read is committed while the answers are written, where that is much.
    if open.contains(where: { $0.requests.count >= Self.earlyRequestsMin }) { handOver() }
    returned.withLock { swap(&$0, &arrived) }
    isFinishing = true
    submitted -= arrived.count
    for submission in arrived {
      if submission.quorum.members > 1 {
        held.add(submission, version: versionToConfirm(of: submission))
      } else {
        finish(submission, isLate: false)
      }
    }
    isFinishing = false
    arrived.removeAll(keepingCapacity: true)
    resumeTouched()
  }

  /// Whether every write that came is answered.
  var hasNothingInProgress: Bool {
    submitted == 0 && held.isEmpty && open.allSatisfy(\.isEmpty)
  }

  /// What other members have to have before the submission's outcomes may be told.
  private func versionToConfirm(of submission: Submission) -> UInt64 {
    var version: UInt64 = 0
    for request in submission.requests {
      if request.isWritten {
        version = max(version, request.version)
      } else if defaultQuorum.members > 1,
        request.outcome == .absent || request.outcome == .conditionFailed
      {
        // Judged by what was there, which may be taken back as long as it is not confirmed.
        version = max(version, store.feed.end.sequence)
      }
    }
    return version
  }

  /// - Parameter isLate: too few members have all that was written.
  private func finish(_ submission: Submission, isLate: Bool) {
    self.isLate = isLate
    for index in submission.requests.indices {
      let request = submission.requests[index]
      let lane = Lane.take(request.token)
      lane.finish(request, at: index, of: submission)
      if touched.last !== lane { touched.append(lane) }
    }
    self.isLate = false
    submission.removeAll()
    if spares.count < Self.sparesMax { spares.append(submission) }
  }

  private func resumeTouched() {
    // `resume` may lead back here, by way of another turn only.
    for lane in touched { lane.resume() }
    touched.removeAll(keepingCapacity: true)
  }

  // MARK: - Connections

  func add(_ lane: Lane) {
    lane.registryIndex = lanes.count
    lanes.append(lane)
    if isDraining { lane.drain() }
  }

  func remove(_ lane: Lane) {
    guard let index = lane.registryIndex else { return }
    lane.registryIndex = nil
    let last = lanes.removeLast()
    if last !== lane {
      lanes[index] = last
      last.registryIndex = index
    }
  }

  private func closeLate() {
    let now = NIODeadline.now()
    for lane in lanes.filter({ $0.deadline <= now }) { lane.timeOut() }
  }

  /// Lets every connection end as soon as nothing is in progress on it.
  func drain() {
    isDraining = true
    release(to: nil)
    drainPages()
    drainSnapshots()
    for lane in Array(lanes) { lane.drain() }
    giveUpWaitingReads()
    readQuorums.giveUp()
    held.giveUp()
  }

  func abortAll() {
    for lane in Array(lanes) { lane.abort() }
  }

  var connectionCount: Int { lanes.count }
}

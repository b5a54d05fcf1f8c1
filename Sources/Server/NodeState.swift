import Client
import Engine
import Logging
import NIOCore
import Synchronization
import WAL

/// What all event loops of a node share.
final class NodeState: Sendable {
  let configuration: Configuration
  /// The shard's log; in a leaderless one this node's own.
  let store: Store
  /// The logs of a leaderless shard; nil where there is a leader.
  let merged: MergedStore?
  private let origins = Mutex<OriginFollowing?>(nil)
  let metrics: ServerMetrics
  let logger: Logger
  let dialect: Dialect
  /// Where this node listens, as it is configured.
  let address: String
  let shardName: String
  let shard: UInt32
  let shardCount: UInt32
  let startedAt = NIODeadline.now()
  private let bodies = Atomic(0)
  private let answers = Atomic(0)
  private let watchers = Atomic(0)
  private let logStreams = Atomic(0)
  private let streamedRelays = Atomic(0)
  private let snapshotReaders = Atomic(0)
  let feedReaders: FeedReaders
  private let follower = Mutex<LogFollower?>(nil)
  let followers: Followers
  /// The other members of the shard.
  let peers: [NodeAddress]
  let forwarder: Forwarder
  /// Nil for a node alone.
  let cluster: Cluster?
  let leaderSearch: LeaderSearch?
  /// It may have acknowledged what it does not have any more, and has not been up to date with a leader
  /// since: its log was cut, or its directory was empty.
  let lacks: Atomic<Bool>
  /// There is a note of that, which stays until this node leads or has all that its leader has: it owes an
  /// epoch until then, even where others have said that it has everything.
  private let isNoted: Atomic<Bool>
  /// It is on its way to leading, and others had better not be.
  let isTakingOver = Atomic(false)
  private let promise = Mutex<Epoch?>(nil)

  /// The highest epoch that it has promised, as the others are told.
  var promised: Epoch? {
    get { promise.withLock { $0 } }
    set { promise.withLock { $0 = newValue } }
  }

  /// Whether the configuration names it: another replica counts for no quorum.
  var isMember: Bool {
    configuration.members.isEmpty || configuration.members.contains { $0.id == id }
  }

  /// What it had lost it has again once it has all that its leader has, or leads.
  func noteRecovered() {
    // There it is `OriginFollowing` that says so.
    guard merged == nil else { return }
    guard lacks.load(ordering: .relaxed) || isNoted.load(ordering: .relaxed),
      isLeading || following?.hasCaughtUp == true
    else { return }
    do {
      try LackNote(configuration.dataDirectory).remove()
      isNoted.store(false, ordering: .relaxed)
      lacks.store(false, ordering: .relaxed)
    } catch {
      logger.error("\(error)")
    }
  }

  /// Whether that is still so.
  var mayLack: Bool {
    noteRecovered()
    return lacks.load(ordering: .relaxed)
  }
  /// What the node calls itself.
  let id: String

  init(
    configuration: Configuration, address: String, store: Store, metrics: ServerMetrics,
    logger: Logger, peers: [NodeAddress] = [], forwarder: Forwarder? = nil,
    lacksSomething: Bool = false, feedReaders: FeedReaders = FeedReaders(),
    merged: MergedStore? = nil
  ) {
    self.merged = merged
    self.peers = peers
    let forwarder = forwarder ?? Forwarder(address: address, linkDelay: configuration.linkDelay)
    self.forwarder = forwarder
    let cluster = configuration.map.map { Cluster($0, shard: Int(configuration.shardIndex)) }
    self.cluster = cluster
    leaderSearch = cluster.map {
      LeaderSearch(
        $0, forwarder.ownPool,
        askTime: .milliseconds(configuration.limits.leaderSearchMilliseconds))
    }
    self.configuration = configuration
    self.store = store
    self.metrics = metrics
    self.logger = logger
    self.address = address
    self.feedReaders = feedReaders
    id = configuration.id
    lacks = Atomic(store.owesEpoch || lacksSomething)
    isNoted = Atomic(lacksSomething)
    followers = Followers(
      members: configuration.members, own: id,
      quorum: configuration.writeQuorum,
      copySeconds: configuration.limits.snapshotLeaseSeconds, store: store)
    shardName = configuration.shardName
    shard = configuration.shardIndex
    shardCount = configuration.shardCount
    dialect = Dialect(
      name: configuration.dialect, shard: configuration.shardIndex,
      leader: configuration.leaderAddress ?? address)
  }

  /// The event loops that serve it.
  private let served = Mutex<[WeakLoop]>([])

  var loops: [LoopState] {
    get { served.withLock { $0 }.compactMap(\.loop) }
    set { served.withLock { $0 = newValue.map { WeakLoop(loop: $0) } } }
  }

  private let isHandingOver = Atomic(false)

  /// False where that has begun already.
  func beginHandOver() -> Bool {
    isHandingOver.compareExchange(expected: false, desired: true, ordering: .sequentiallyConsistent)
      .exchanged
  }

  func endHandOver() { isHandingOver.store(false, ordering: .sequentiallyConsistent) }

  private let isCheckingPurge = Atomic(false)

  /// False where one is being checked already.
  func beginPurgeCheck() -> Bool {
    isCheckingPurge.compareExchange(
      expected: false, desired: true, ordering: .sequentiallyConsistent
    ).exchanged
  }

  func endPurgeCheck() { isCheckingPurge.store(false, ordering: .sequentiallyConsistent) }

  /// This node is a copy, and that is what keeps it up.
  func follow(_ follower: LogFollower?) { self.follower.withLock { $0 = follower } }

  /// What gets the orders for this node's part in its shard: nil where it is alone.
  private let life = Mutex<(@Sendable (LifeOrder) -> Bool)?>(nil)

  func obey(_ body: @escaping @Sendable (LifeOrder) -> Bool) { life.withLock { $0 = body } }

  /// Hands an order on; refused where nobody takes it.
  func give(_ order: LifeOrder) {
    guard let life = life.withLock({ $0 }) else {
      return order.refuse("this node is alone: there is nobody to lead or to follow")
    }
    if !life(order) { order.refuse("the node is stopping, or too much is asked of it") }
  }

  /// What keeps the copies of a leaderless shard's logs up; nil where there are none.
  var originFollowing: OriginFollowing? {
    get { origins.withLock { $0 } }
    set { origins.withLock { $0 = newValue } }
  }

  /// In a leaderless shard: it has all that the others had since it may have lost something.
  func noteComplete() {
    guard lacks.load(ordering: .relaxed) || isNoted.load(ordering: .relaxed) else { return }
    do {
      try LackNote(configuration.dataDirectory).remove()
      isNoted.store(false, ordering: .relaxed)
      lacks.store(false, ordering: .relaxed)
    } catch {
      logger.error("\(error)")
    }
  }

  /// How a replica stands to its leader; nil on a leader.
  var following: FollowerReport? {
    isLeading ? nil : follower.withLock { $0 }?.report
  }

  /// Whether this node takes its shard's writes.
  var isLeading: Bool { !store.isCopy }

  /// Bytes of the bodies that are being received.
  var bodyBytes: Int { bodies.load(ordering: .relaxed) }
  /// Bytes of the large answers that are being sent.
  var answerBytes: Int { answers.load(ordering: .relaxed) }

  /// Counts bytes of a body; false, and nothing is counted, when that would be too many.
  func chargeBody(_ bytes: Int, limit: Int) -> Bool { Self.charge(bodies, bytes, limit) }

  func releaseBody(_ bytes: Int) {
    if bytes > 0 { bodies.subtract(bytes, ordering: .relaxed) }
  }

  /// Counts a large answer; false, and nothing is counted, when that would be too much.
  func chargeAnswer(_ bytes: Int, limit: Int) -> Bool { Self.charge(answers, bytes, limit) }

  func releaseAnswer(_ bytes: Int) {
    if bytes > 0 { answers.subtract(bytes, ordering: .relaxed) }
  }

  var watcherCount: Int { watchers.load(ordering: .relaxed) }

  /// Counts a watcher; false when there would be too many.
  func chargeWatcher(limit: Int) -> Bool { Self.charge(watchers, 1, limit) }

  func releaseWatcher() { watchers.subtract(1, ordering: .relaxed) }

  var logStreamCount: Int { logStreams.load(ordering: .relaxed) }

  /// Counts a follower of the log as it is; false when there would be too many.
  func chargeLogStream(limit: Int) -> Bool { Self.charge(logStreams, 1, limit) }

  func releaseLogStream() { logStreams.subtract(1, ordering: .relaxed) }

  /// Counts a snapshot that is being sent; false when there would be too many.
  func chargeSnapshotReader(limit: Int) -> Bool { Self.charge(snapshotReaders, 1, limit) }

  func releaseSnapshotReader() { snapshotReaders.subtract(1, ordering: .relaxed) }

  /// Counts a large request that another node answers; false when there would be too many.
  func chargeRelay(limit: Int) -> Bool { Self.charge(streamedRelays, 1, limit) }

  func releaseRelay() { streamedRelays.subtract(1, ordering: .relaxed) }

  private static func charge(_ sum: borrowing Atomic<Int>, _ bytes: Int, _ limit: Int) -> Bool {
    guard sum.add(bytes, ordering: .relaxed).newValue > limit else { return true }
    sum.subtract(bytes, ordering: .relaxed)
    return false
  }
}

/// The loops have the node.
private struct WeakLoop: Sendable {
  weak let loop: LoopState?
}

import Client
import Engine
import Logging
import NIOCore
import Synchronization
import NIOPosix
import WAL

/// Keeps the copies of all other nodes' logs up: asks every member how far it has each log, and follows each of
/// them where it is written or, where that cannot be reached, where more of it is.
///
/// The positions are the anti-entropy: whatever a member has that this node has not is fetched, as the frames
/// that they are, whoever wrote them first.
actor OriginFollowing {
  /// Between two questions to a member.
  private static let pause = Duration.milliseconds(250)
  private static let pauseBehindFailure = Duration.milliseconds(100)
  private static let askSeconds: Int64 = 2

  /// Which of several followers of a log it is.
  private final class Token: Sendable {}

  private struct Following {
    let token: Token
    let follower: LogFollower
    let source: NodeAddress
  }

  private struct Told {
    var positions: OriginPositions
    /// It was asked again since, and said nothing.
    var isSilent = false
  }

  private let node: NodeState
  private let merged: MergedStore
  /// How far any of the others has said that it is.
  private let furthest = Mutex(VersionVector())
  private let pool: KVPool
  private let logger: Logger
  private let onFailure: @Sendable (any Error) -> Void
  private var told: [NodeAddress: Told] = [:]
  /// What each member had when it was first asked.
  private var owed: [NodeAddress: OriginPositions] = [:]
  private var followed: [UInt64: Following] = [:]
  /// Logs whose following cannot go on, and which is said once.
  private var given: Set<UInt64> = []
  private var opening: Set<UInt64> = []
  private var tasks: [Task<Void, Never>] = []
  private var naps: [NodeAddress: Task<Void, Never>] = [:]
  private var isStopped = false
  /// A snapshot of another node's is being taken in.
  private var isCopying = false
  /// Members that have been asked once, whatever came of it.
  private var asked: Set<NodeAddress> = []

  /// - Parameter onFailure: called when the node had better end.
  init(
    _ node: NodeState, pool: KVPool, logger: Logger,
    onFailure: @escaping @Sendable (any Error) -> Void
  ) {
    self.onFailure = onFailure
    self.node = node
    merged = node.merged!
    self.pool = pool
    self.logger = logger
  }

  /// Records that another member was heard to have, of all logs, and this one has not applied.
  nonisolated var lackedRecords: UInt64 {
    let applied = merged.state.applied
    return furthest.withLock { $0 }.entries.reduce(0) { sum, entry in
      let here = applied[entry.origin]
      return here < entry.sequence ? sum &+ (entry.sequence - here) : sum
    }
  }

  func start() {
    checkComplete()
    tasks = node.peers.map { peer in Task { await self.ask(peer) } }
  }

  func stop() async {
    isStopped = true
    for task in tasks { task.cancel() }
    for nap in naps.values { nap.cancel() }
    for task in tasks { await task.value }
    tasks = []
    for following in followed.values { try? await following.follower.stop().get() }
    followed = [:]
  }

  /// Whether it may still get something at once that it lacks.
  var isCatchingUp: Bool {
    guard node.lacks.load(ordering: .relaxed) else { return false }
    if asked.count < node.peers.count { return true }
    return owed.contains { peer, had in
      told[peer]?.isSilent == false && !merged.state.applied.covers(had.applied)
    }
  }

  /// Has the members asked at once.
  nonisolated func hurry() { Task { await wake() } }

  private func wake() { for nap in naps.values { nap.cancel() } }

  // MARK: - Asking

  private func ask(_ peer: NodeAddress) async {
    while !Task.isCancelled, !isStopped {
      let answer = try? await pool.execute(
        KVRequest(.GET, "/wal/positions"), on: peer, deadline: .now() + .seconds(Self.askSeconds)
      ).get()
      guard !isStopped else { return }
      let positions = answer.flatMap { answer in
        answer.status == 200 ? OriginPositions(String(buffer: answer.body)) : nil
      }
      await heard(peer, positions)
      asked.insert(peer)
      let pause = positions == nil ? Self.pauseBehindFailure : Self.pause
      let nap = Task { _ = try? await Task.sleep(for: pause) }
      naps[peer] = nap
      await nap.value
    }
  }

  private func heard(_ peer: NodeAddress, _ positions: OriginPositions?) async {
    if let positions {
      guard positions.origin != merged.own.origin else {
        if given.insert(positions.origin).inserted {
          logger.critical(
            "\(peer) writes to the same log as this node, \(hexadecimal(positions.origin)): one of the two directories is a copy of the other. Stop one of them, and start it with an empty --data-dir"
          )
        }
        return
      }
      let own = merged.own
      if positions.applied[own.origin] > own.feed.end.sequence {
        // What is written here from now on would pass for what they have.
        do {
          try MergedStore.disown(node.configuration.dataDirectory)
        } catch {
          logger.critical("\(error)")
        }
        return onFailure(
          NodeError.logReused(
            address: node.configuration.address, peer: "\(peer)", origin: hexadecimal(own.origin)))
      }
      furthest.withLock { $0.merge(positions.applied) }
      told[peer] = Told(positions: positions)
      if owed[peer] == nil { owed[peer] = positions }
    } else {
      told[peer]?.isSilent = true
    }
    await settle()
    checkComplete()
  }

  /// It has what it may have lost once it has all that enough of the others had.
  private func checkComplete() {
    guard node.lacks.load(ordering: .relaxed) else { return }
    let applied = merged.state.applied
    let had = owed.values.filter { applied.covers($0.applied) }
    let quorum = node.configuration.writeQuorum
    // A write that one node has acknowledged is on no other for sure.
    let needed = quorum > 1 ? min(node.peers.count, node.peers.count + 2 - quorum) : 0
    guard had.count == node.peers.count || had.count(where: { !$0.mayLack }) >= needed else {
      return
    }
    node.noteComplete()
  }

  // MARK: - Following

  /// Follows each log from whom it should be.
  private func settle() async {
    guard !isCopying else { return }
    let applied = merged.state.applied
    var origins = Set(followed.keys)
    for one in told.values where !one.isSilent {
      origins.insert(one.positions.origin)
      for entry in one.positions.applied.entries { origins.insert(entry.origin) }
    }
    for origin in origins where origin != merged.own.origin && !given.contains(origin) {
      guard let source = source(of: origin, applied: applied[origin]) else { continue }
      if let following = followed[origin], following.source == source { continue }
      await follow(origin, from: source)
    }
  }

  /// Whom to follow for a log; nil where the one that is followed, or nobody, will do.
  private func source(of origin: UInt64, applied: UInt64) -> NodeAddress? {
    let reachable = told.filter { !$0.value.isSilent }
    if let owner = reachable.first(where: { $0.value.positions.origin == origin }) {
      return owner.key
    }
    let best = reachable.max {
      ($0.value.positions.applied[origin], "\($1.key)")
        < ($1.value.positions.applied[origin], "\($0.key)")
    }
    guard let best, best.value.positions.applied[origin] > applied else { return nil }
    if let current = followed[origin]?.source, let said = reachable[current],
      said.positions.applied[origin] > applied
    {
      // It has more as well: no need to begin anew.
      return nil
    }
    return best.key
  }

  private func follow(_ origin: UInt64, from source: NodeAddress) async {
    guard opening.insert(origin).inserted else { return }
    defer { opening.remove(origin) }
    if let before = followed.removeValue(forKey: origin) {
      try? await before.follower.stop().get()
    }
    let merged = merged
    do {
      let store = try await NIOSingletons.posixBlockingThreadPool.runIfActive {
        try merged.copy(of: origin)
      }
      guard !isStopped, !isCopying else { return }
      let token = Token()
      let follower = LogFollower(
        source, id: node.id, node: node, loop: MultiThreadedEventLoopGroup.singleton.next(),
        promised: nil, of: store
      ) { [weak self] ending in
        Task { await self?.ended(origin, token, ending, source) }
      }
      followed[origin] = Following(token: token, follower: follower, source: source)
      follower.start()
    } catch {
      logger.error("log \(hexadecimal(origin)) of \(source): \(error)")
    }
  }

  private func ended(
    _ origin: UInt64, _ token: Token, _ ending: LogFollower.Ending, _ source: NodeAddress
  ) async {
    guard let following = followed[origin], following.token === token else { return }
    followed[origin] = nil
    try? await following.follower.stop().get()
    switch ending {
    case .copy:
      logger.notice(
        "what is missing here of log \(hexadecimal(origin)) is not in the log of \(source) any more: its snapshot is fetched"
      )
      await copy(from: source)
    case .diverged:
      guard given.insert(origin).inserted else { return }
      logger.critical(
        "the copy of log \(hexadecimal(origin)) here is not what \(source) has: one of them was changed or put back from a copy. Nothing is taken from it"
      )
    }
  }

  /// Fetches the snapshot of a member, merges it, and goes on from there.
  private func copy(from source: NodeAddress) async {
    guard !isCopying, !isStopped else { return }
    isCopying = true
    let task = Task { await self.takeSnapshot(of: source) }
    tasks.append(task)
    await task.value
  }

  private func takeSnapshot(of source: NodeAddress) async {
    defer { isCopying = false }
    let configuration = node.configuration
    let (merged, logger) = (merged, logger)
    do {
      let transfer = SnapshotTransfer(
        peer: Peer(address: source, pool: pool), id: node.id,
        directory: SnapshotDirectory(configuration.dataDirectory + "/incoming"),
        progress: StartProgress())
      let start = NIODeadline.now()
      // Of one that came to nothing.
      for left in try transfer.directory.list() { try SystemFileSystem().remove(left.path) }
      try SystemFileSystem().makeDirectory(configuration.dataDirectory + "/incoming")
      let path = try await transfer.run()
      // Nobody ships frames while copies begin anew.
      while !opening.isEmpty, !isStopped { try await Task.sleep(for: .milliseconds(2)) }
      for following in followed.values {
        try await following.follower.stop().get()
      }
      followed = [:]
      let jumped = try await NIOSingletons.posixBlockingThreadPool.runIfActive {
        let jumped = try merged.absorb(path)
        try SystemFileSystem().remove(path)
        return jumped
      }
      let milliseconds = (NIODeadline.now() - start).nanoseconds / 1_000_000
      logger.notice(
        "took the snapshot of \(source) in, in \(milliseconds) ms; \(jumped.count) logs go on behind it"
      )
    } catch {
      guard !isStopped else { return }
      logger.error("the snapshot of \(source) is not to be had: \(error); it is tried again")
      try? await Task.sleep(for: NodeLife.retryBehindFailure)
    }
  }

  // MARK: - What /status says

  struct Row: Encodable, Sendable {
    let origin: String
    let applied: UInt64
    /// Whom it is followed from; null for this node's own log, and for one that nobody has more of.
    let from: String?
    let state: String
  }

  var rows: [Row] {
    merged.state.applied.entries.map { entry in
      let following = followed[entry.origin]
      let isOwn = entry.origin == merged.own.origin
      return Row(
        origin: hexadecimal(entry.origin), applied: entry.sequence,
        from: following.map { "\($0.source)" },
        state: isOwn ? "own" : following?.follower.report.state ?? "idle")
    }
  }
}

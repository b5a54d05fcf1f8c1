import Client
import Engine
import Logging
import NIOCore
import NIOPosix
import Synchronization
import WAL

/// The life of a node of a leaderless shard: it opens what is there, serves, and follows the logs of all others.
///
/// Nobody leads, so there is nothing to ask before it serves. A node that may lack what it has acknowledged
/// waits for a moment, so that its first answers are not older than they need to be; after that it counts
/// for no quorum of reads until it has all that the others had.
final class LeaderlessLife: NodeLifetime {
  /// How long a start waits for the others.
  private static let startMax = Duration.seconds(1)

  private let configuration: Configuration
  private let listener: Listener
  private let progress: StartProgress
  private let logger: Logger
  private let open: @Sendable () async throws -> NodeState
  private let pool: KVPool
  private let acknowledgementPool: KVPool
  private let current = Mutex<NodeState?>(nil)

  init(
    _ configuration: Configuration, _ listener: Listener, _ progress: StartProgress,
    logger: Logger, open: @escaping @Sendable () async throws -> NodeState
  ) throws {
    self.configuration = configuration
    self.listener = listener
    self.progress = progress
    self.logger = logger
    self.open = open
    pool = .ofNode(connectionsPerNodeMax: 4, configuration.linkDelay)
    acknowledgementPool = .ofNode(connectionsPerNodeMax: 2, configuration.linkDelay)
  }

  var state: NodeState? { current.withLock { $0 } }

  func start() async throws {
    var state = try await open()
    if try await isBehindOthers(state) {
      try state.merged?.close()
      try MergedStore.disown(configuration.dataDirectory)
      state = try await open()
    }
    let following = OriginFollowing(
      state, pool: pool, acknowledgementPool: acknowledgementPool, logger: logger)
    state.originFollowing = following
    do {
      await following.start()
      let deadline = ContinuousClock.now + Self.startMax
      while await following.isCatchingUp, ContinuousClock.now < deadline {
        try progress.check()
        try await Task.sleep(for: .milliseconds(5))
      }
      try await listener.open(state)
    } catch {
      await following.stop()
      try state.merged?.close()
      throw error
    }
    current.withLock { $0 = state }
  }

  /// Whether a member has more of this node's log than it has itself: then its numbers are used already, and it
  /// had better not use them again. Those who do not answer at once are not waited for.
  private func isBehindOthers(_ state: NodeState) async throws -> Bool {
    let own = state.store
    let pool = pool
    let most = await withTaskGroup(of: UInt64.self) { group in
      for peer in state.peers {
        group.addTask {
          let answer = try? await pool.execute(
            KVRequest(.GET, "/wal/positions"), on: peer,
            deadline: .now() + TimeAmount.milliseconds(1_000)
          ).get()
          let told = answer.flatMap { OriginPositions(String(buffer: $0.body)) }
          return told?.applied[own.origin] ?? 0
        }
      }
      return await group.reduce(0, max)
    }
    guard most > own.feed.end.sequence else { return false }
    logger.warning(
      """
      the others have the log of this node, \(hexadecimal(own.origin)), up to \(most), and it ends here at \
      \(own.feed.end.sequence): the directory was put back to what it once was. This node begins a new log, and \
      fetches the rest of that one
      """)
    return true
  }

  func stop() async throws {
    await state?.originFollowing?.stop()
    try await pool.close().get()
    try await acknowledgementPool.close().get()
  }
}

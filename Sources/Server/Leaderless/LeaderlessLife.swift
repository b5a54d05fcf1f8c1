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
  private let pool = KVPool(limits: KVLimits(connectionsPerNodeMax: 4))
  private let acknowledgementPool = KVPool(limits: KVLimits(connectionsPerNodeMax: 2))
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
  }

  var state: NodeState? { current.withLock { $0 } }

  func start() async throws {
    let state = try await open()
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

  func stop() async throws {
    await state?.originFollowing?.stop()
    try await pool.close().get()
    try await acknowledgementPool.close().get()
  }
}

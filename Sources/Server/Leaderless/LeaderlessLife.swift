import Client
import Engine
import Logging
import NIOCore
import NIOPosix
import Synchronization
import WAL

/// The life of a node of a leaderless shard: it opens what is there, serves, and follows the logs of all others.
///
/// Nobody leads, so there is little to ask before it serves: whether others have more of its own log than it
/// has. A node that may lack what it has acknowledged waits for a moment, so that its first answers are not
/// older than they need to be; after that it counts for no quorum of reads until it has all that the others had.
final class LeaderlessLife: NodeLifetime {
  /// How long a start waits for the others.
  private static let startMax = Duration.seconds(1)

  private let configuration: Configuration
  private let listener: Listener
  private let progress: StartProgress
  private let logger: Logger
  private let open: @Sendable (VersionVector) async throws -> NodeState
  private let onFailure: @Sendable (any Error) -> Void
  private let pool: KVPool
  private let current = Mutex<NodeState?>(nil)

  init(
    _ configuration: Configuration, _ listener: Listener, _ progress: StartProgress,
    logger: Logger, onFailure: @escaping @Sendable (any Error) -> Void,
    open: @escaping @Sendable (VersionVector) async throws -> NodeState
  ) throws {
    self.onFailure = onFailure
    self.configuration = configuration
    self.listener = listener
    self.progress = progress
    self.logger = logger
    self.open = open
    pool = .ofNode(connectionsPerNodeMax: 4, configuration.linkDelay)
  }

  var state: NodeState? { current.withLock { $0 } }

  func start() async throws {
    let state = try await open(try await othersHave())
    let following = OriginFollowing(
      state, pool: pool, logger: logger,
      onFailure: onFailure)
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

  /// How far the others have each log. Those who do not answer at once are not waited for.
  private func othersHave() async throws -> VersionVector {
    let pool = pool
    let peers = try configuration.otherMembers.map { try NodeAddress(parsing: $0.address) }
    return await withTaskGroup(of: VersionVector?.self) { group in
      for peer in peers {
        group.addTask {
          let answer = try? await pool.execute(
            KVRequest(.GET, "/wal/positions"), on: peer,
            deadline: .now() + TimeAmount.milliseconds(1_000)
          ).get()
          return answer.flatMap { OriginPositions(String(buffer: $0.body)) }?.applied
        }
      }
      return await group.reduce(into: VersionVector()) { sum, one in
        if let one { sum.merge(one) }
      }
    }
  }

  func stop() async throws {
    await state?.originFollowing?.stop()
    try await pool.close().get()
  }
}

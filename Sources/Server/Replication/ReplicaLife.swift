import Client
import Engine
import Logging
import NIOCore
import NIOPosix
import Synchronization
import WAL

/// The life of a replica: copying what its leader has, then serving reads while it follows the log;
/// and from the beginning when the log that it needs is gone, or its history is another.
///
///     empty --the leader answers--> copying | following
///     following --too old--> copying --> following
///     following --another history--> put away --> empty
///
/// While it is not following, whoever connects is told how far it is.
final class ReplicaLife: Sendable {
  /// Between tries to reach a leader.
  private static let retry = Duration.milliseconds(200)
  /// Behind a copy that failed, which may have been all of it.
  private static let retryBehindFailure = Duration.seconds(2)
  /// How long a start waits for the leader.
  private static let startMax = Duration.seconds(1)

  private let configuration: Configuration
  private let leader: NodeAddress
  private let listener: Listener
  private let progress: StartProgress
  private let logger: Logger
  private let pool: KVPool
  private let open: @Sendable (_ origin: UInt64?) async throws -> NodeState
  private let onFailure: @Sendable (any Error) -> Void
  private let current = Mutex<NodeState?>(nil)
  private let task = Mutex<Task<Void, Never>?>(nil)

  private var id: String { configuration.nodeID ?? configuration.address }
  private var directory: CopyDirectory { CopyDirectory(configuration.dataDirectory) }

  /// - Parameters:
  ///   - open: opens the store, as a copy of the log with that id where there is none yet.
  ///   - onFailure: called when the data cannot be read any more: the process had better end.
  init(
    _ configuration: Configuration, following leader: NodeAddress, _ listener: Listener,
    _ progress: StartProgress, logger: Logger, onFailure: @escaping @Sendable (any Error) -> Void,
    open: @escaping @Sendable (_ origin: UInt64?) async throws -> NodeState
  ) {
    self.configuration = configuration
    self.leader = leader
    self.listener = listener
    self.progress = progress
    self.logger = logger
    self.onFailure = onFailure
    self.open = open
    pool = KVPool(limits: KVLimits(connectionsPerNodeMax: 4))
  }

  /// Opens what is there, and follows. Where nothing is there yet, that goes on behind the return.
  ///
  /// - Throws: what is wrong with the data.
  func start() async throws {
    var first: Following?
    if try !directory.isEmpty() { first = try await follow(origin: nil) }
    let begun = first
    task.withLock { task in
      task = Task { await self.live(begun) }
    }
    // A leader that answers has what a small copy takes here within that time.
    let deadline = ContinuousClock.now + Self.startMax
    while state == nil, ContinuousClock.now < deadline {
      try await Task.sleep(for: .milliseconds(5))
    }
  }

  /// What is being served; nil while it copies.
  var state: NodeState? { current.withLock { $0 } }

  /// Ends following and copying. What is served goes on.
  func stop() async throws {
    let task = task.withLock { $0 }
    task?.cancel()
    await task?.value
    try await pool.close().get()
  }

  // MARK: - Turns of life

  private struct Following {
    let state: NodeState
    let follower: LogFollower
    let ending: AsyncStream<LogFollower.Ending>
  }

  private func live(_ begun: Following?) async {
    var following = begun
    while !Task.isCancelled {
      do {
        if following == nil {
          following = try await follow(origin: try await bootstrap())
        }
        guard let now = following, let ending = await now.ending.first(where: { _ in true }) else {
          break
        }
        following = nil
        try await end(now)
        try await prepare(for: ending)
      } catch is CancellationError {
        break
      } catch let error as WALError where error != .cancelled && !error.isFullDisk {
        return onFailure(error)
      } catch {
        logger.warning("\(error); it is tried again")
        try? await Task.sleep(for: Self.retryBehindFailure)
      }
    }
    if let following {
      do { try await following.follower.stop().get() } catch { logger.error("\(error)") }
    }
  }

  /// Serves, and follows the leader.
  private func follow(origin: UInt64?) async throws -> Following {
    let state = try await open(origin)
    let (ending, continuation) = AsyncStream.makeStream(of: LogFollower.Ending.self)
    let follower = LogFollower(
      leader, id: id, node: state, loop: MultiThreadedEventLoopGroup.singleton.next(), pool: pool
    ) { continuation.yield($0) }
    state.follow(follower)
    do {
      try await listener.open(state)
    } catch {
      try state.store.close()
      throw error
    }
    current.withLock { $0 = state }
    follower.start()
    return Following(state: state, follower: follower, ending: ending)
  }

  /// Serves no more, and closes the store.
  private func end(_ following: Following) async throws {
    current.withLock { $0 = nil }
    progress.begin(.copying)
    try await listener.suspend(configuration.limits)
    try await following.follower.stop().get()
    following.state.feedReaders.stop()
    try following.state.store.close()
  }

  private func prepare(for ending: LogFollower.Ending) async throws {
    switch ending {
    case .copy:
      logger.notice(
        "what is missing here is not in the log of \(leader) any more: its snapshot is fetched")
      try await transfer()
    case .startOver(let reason):
      let place = try directory.putAway()
      logger.error("\(reason). What was here is in \(place); the copy begins anew")
    }
  }

  // MARK: - Beginning

  /// Gets what a copy begins with.
  ///
  /// - Returns: the log's id, where nothing on the disk says it.
  private func bootstrap() async throws -> UInt64? {
    guard try directory.isEmpty() else { return nil }
    progress.begin(.copying)
    let peer = Peer(address: leader, pool: pool)
    let status = try await waitForLeader(peer)
    guard let origin = status.originNumber else {
      throw Peer.Unusable(description: "\(leader) does not say its log's id")
    }
    if status.snapshot.sequence > 0 || status.wal.oldest_sequence > 1 {
      try await transfer()
      return nil
    }
    return origin
  }

  private func waitForLeader(_ peer: Peer) async throws -> Peer.Status {
    var said = false
    while true {
      do {
        return try await peer.status()
      } catch let error where !(error is CancellationError) {
        if !said { logger.notice("waiting for the leader: \(error)") }
        said = true
      }
      try await Task.sleep(for: Self.retry)
    }
  }

  private func transfer() async throws {
    let start = NIODeadline.now()
    let transfer = SnapshotTransfer(
      peer: Peer(address: leader, pool: pool), id: id,
      directory: SnapshotDirectory(configuration.dataDirectory), progress: progress)
    let path = try await transfer.run()
    let bytes = try SystemFileSystem().open(path, .readOnly).size()
    let seconds = Double((NIODeadline.now() - start).nanoseconds) / 1e9
    logger.notice(
      "fetched the snapshot of \(leader): \(bytes) bytes in \((seconds * 1_000).rounded() / 1_000) s"
    )
  }
}

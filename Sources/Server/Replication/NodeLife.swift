import Client
import Engine
import Logging
import NIOCore
import NIOPosix
import Synchronization
import WAL

/// The life of a node of a shard: who leads is asked, and asked again, and this node leads or follows.
///
///     start --empty, and nobody has anything--> leading
///     start --this node led last--> fetching what others have more of --> leading
///     start --another leads, or led last--> following | copying
///     copying --> following
///     following --too old--> copying
///     following --another history--> rewound, or put away --> copying
///     following --another leads--> following
///     leading --a higher epoch--> following
///
/// `Succession` says which. As long as nothing is served, whoever connects is told how far it is.
final class NodeLife: Sendable {
  /// Between tries to reach a leader.
  private static let retry = Duration.milliseconds(200)
  /// Behind a copy that failed, which may have been all of it.
  private static let retryBehindFailure = Duration.seconds(2)
  /// How long a start waits for those who do not answer.
  private static let startMax = Duration.seconds(1)
  /// Between two looks at whether another node leads.
  private static let watch = Duration.seconds(1)

  private let configuration: Configuration
  private let succession: Succession
  private let members: [NodeAddress]
  private let listener: Listener
  private let progress: StartProgress
  private let logger: Logger
  private let pool: KVPool
  /// For acknowledgements alone: a connection that asks for nothing else costs the leader less.
  private let acknowledgementPool: KVPool
  private let open: @Sendable (Opening) async throws -> NodeState
  private let onFailure: @Sendable (any Error) -> Void
  private let current = Mutex<NodeState?>(nil)
  private let task = Mutex<Task<Void, Never>?>(nil)

  private var id: String { configuration.id }
  private var directory: CopyDirectory { CopyDirectory(configuration.dataDirectory) }

  /// What a store is opened as.
  enum Opening: Sendable {
    /// A log that is this node's, and may not be there yet.
    case own
    /// A copy; of the log with that id, where there is none yet.
    case copy(origin: UInt64?)
  }

  /// - Parameter onFailure: called when the data cannot be read any more: the process had better end.
  init(
    _ configuration: Configuration, _ listener: Listener, _ progress: StartProgress,
    logger: Logger, onFailure: @escaping @Sendable (any Error) -> Void,
    open: @escaping @Sendable (Opening) async throws -> NodeState
  ) throws {
    self.configuration = configuration
    self.listener = listener
    self.progress = progress
    self.logger = logger
    self.onFailure = onFailure
    self.open = open
    pool = KVPool(limits: KVLimits(connectionsPerNodeMax: 4))
    acknowledgementPool = KVPool(limits: KVLimits(connectionsPerNodeMax: 1))
    guard configuration.role == .leader || configuration.leaderAddress != nil else {
      throw NodeError.leaderUnknown(address: configuration.address)
    }
    let own = configuration.id
    // Who is told whom to follow asks nobody else.
    let others =
      configuration.followedAddress == nil ? configuration.members.filter { $0.id != own } : []
    members = try others.map { try NodeAddress(parsing: $0.address) }
    succession = Succession(
      node: NodeNumber.of(own),
      configuredLeader: configuration.role == .leader
        ? nil : configuration.followedAddress ?? configuration.leaderAddress,
      others: others.map { ($0.address, NodeNumber.of($0.id)) })
  }

  /// What the node does.
  private enum Turn {
    case leading(NodeState)
    case following(Following)
    /// There is nothing here.
    case copying(NodeAddress)
  }

  private struct Following {
    let state: NodeState
    let leader: NodeAddress
    let follower: LogFollower
    let ending: AsyncStream<LogFollower.Ending>
  }

  /// Opens what is there, asks the others, and leads or follows. A replica that has nothing yet goes on
  /// copying behind the return.
  ///
  /// - Throws: what is wrong with the data.
  func start() async throws {
    let first = try await begin()
    if case .leading = first, members.isEmpty { return }
    task.withLock { task in
      task = Task { await self.live(first) }
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
    // A node alone has none.
    guard let task = task.withLock({ $0 }) else { return }
    task.cancel()
    await task.value
    try await pool.close().get()
    try await acknowledgementPool.close().get()
  }

  // MARK: - Beginning

  private func begin() async throws -> Turn {
    // A node alone has nobody to ask.
    if configuration.role == .leader, members.isEmpty {
      return try await serve(try await open(.own))
    }
    let held = try directory.isEmpty() ? nil : try await open(.copy(origin: nil))
    do {
      return try await begin(held)
    } catch {
      if let held { try close(held) }
      throw error
    }
  }

  private func begin(_ held: NodeState?) async throws -> Turn {
    let own = held?.standing
    listener.entrance.standing = own.map { DoorStanding($0, number: succession.node) }
    // Who does not lead, whatever the others say, need not ask.
    let alone = succession.verdict(own: own, owesEpoch: false, reports: [])
    // Nor does who was told whom to follow, even if the log's last epoch is its own.
    if case .follow(let address) = configuration.followedAddress.map({ .follow($0) }) ?? alone {
      let leader = try NodeAddress(parsing: address)
      guard let held else { return .copying(leader) }
      return .following(try await follow(leader, held))
    }
    let reports = try await MemberSurvey(members, pool).settle(
      within: Self.startMax, insistent: own == nil || held!.store.owesEpoch, progress)
    tell(reports, own)
    switch succession.verdict(
      own: own, owesEpoch: held?.store.owesEpoch ?? false, reports: reports)
    {
    case .create:
      if let held { return try await lead(held, inNewEpoch: true) }
      return try await serve(try await open(.own))
    case .lead(let inNewEpoch):
      return try await lead(held!, inNewEpoch: inNewEpoch)
    case .fetch(let address, let sequence):
      let state = try await fetch(from: try NodeAddress(parsing: address), through: sequence, held)
      return try await lead(state, inNewEpoch: true)
    case .follow(let address):
      let leader = try NodeAddress(parsing: address)
      guard let held else { return .copying(leader) }
      return .following(try await follow(leader, held))
    }
  }

  private func tell(_ reports: [Succession.Report], _ own: Succession.Standing?) {
    guard let own else { return }
    for report in reports {
      guard let standing = report.standing, standing.origin != own.origin else { continue }
      logger.critical(
        """
        \(report.address) has another log, \(hexadecimal(standing.origin)) up to \(standing.sequence), than \
        this node, \(hexadecimal(own.origin)) up to \(own.sequence): neither takes anything from the other
        """)
    }
  }

  /// Gets what another member has more of than this node, which leads: it may have acknowledged it.
  private func fetch(
    from peer: NodeAddress, through sequence: UInt64, _ held: NodeState?
  ) async throws -> NodeState {
    logger.notice(
      "\(peer) has the log up to \(sequence), this node up to \(held?.store.feed.end.sequence ?? 0): what is missing is fetched before writes are taken"
    )
    var held = held
    if let empty = held, empty.standing == nil {
      // Begun, and never written to: another log's frames do not go into it.
      try close(empty)
      _ = try directory.putAway()
      held = nil
    }
    while true {
      let state: NodeState
      if let held {
        state = held
      } else {
        state = try await open(.copy(origin: try await bootstrap(from: peer)))
      }
      held = nil
      do {
        guard let ending = try await chase(peer, state, through: sequence) else { return state }
        try close(state)
        try await prepare(for: ending, from: peer)
      } catch {
        try close(state)
        throw error
      }
    }
  }

  /// Follows until that number is applied.
  ///
  /// - Returns: why it ended before.
  private func chase(
    _ peer: NodeAddress, _ state: NodeState, through sequence: UInt64
  ) async throws -> LogFollower.Ending? {
    let ended = Mutex<LogFollower.Ending?>(nil)
    let follower = follower(of: peer, state) { ending in ended.withLock { $0 = ending } }
    follower.start()
    var refused: String?
    while refused == nil, ended.withLock({ $0 }) == nil,
      state.store.feed.end.sequence < sequence
    {
      do { try progress.check() } catch { refused = "\(error)" }
      refused = refused ?? follower.report.alarm
      try await Task.sleep(for: .milliseconds(5))
    }
    try await follower.stop().get()
    try progress.check()
    if let refused {
      throw NodeError.historyLost(address: configuration.address, peer: "\(peer)", reason: refused)
    }
    return ended.withLock { $0 }
  }

  // MARK: - Turns of life

  private func live(_ first: Turn) async {
    var turn = first
    while !Task.isCancelled {
      do {
        try await next(after: &turn)
      } catch is CancellationError {
        break
      } catch let error as WALError where error != .cancelled && !error.isFullDisk {
        return onFailure(error)
      } catch {
        logger.warning("\(error); it is tried again")
        try? await Task.sleep(for: Self.retryBehindFailure)
      }
    }
    if case .following(let following) = turn {
      do { try await following.follower.stop().get() } catch { logger.error("\(error)") }
    }
  }

  private func next(after turn: inout Turn) async throws {
    switch turn {
    case .leading(let state):
      let leader = try await successor(of: nil, state)
      try state.store.follow()
      logger.notice(
        "\(leader) leads in a higher epoch than this node, which follows it from now on")
      turn = .following(try await follow(leader, state))
    case .copying(let leader):
      let origin = try await bootstrap(from: leader)
      turn = .following(try await follow(leader, try await open(.copy(origin: origin))))
    case .following(let following):
      switch try await news(of: following) {
      case .leader(let leader):
        try await following.follower.stop().get()
        logger.notice("\(leader) leads now; it was \(following.leader)")
        turn = .following(try await follow(leader, following.state))
      case .ended(let ending):
        // Whatever comes in between: the store is closed, and opened again.
        turn = .copying(following.leader)
        try await suspend(following)
        try await prepare(for: ending, from: following.leader)
      }
    }
  }

  private enum News {
    case ended(LogFollower.Ending)
    case leader(NodeAddress)
  }

  private func news(of following: Following) async throws -> News {
    let news = try await withThrowingTaskGroup(of: News?.self) { group in
      group.addTask {
        await following.ending.first { _ in true }.map { .ended($0) }
      }
      group.addTask { .leader(try await self.successor(of: following, following.state)) }
      defer { group.cancelAll() }
      return try await group.next() ?? nil
    }
    guard let news else { throw CancellationError() }
    return news
  }

  /// Looks at the other members until one leads whom this node does not follow.
  private func successor(
    of following: Following?, _ state: NodeState
  ) async throws -> NodeAddress {
    let survey = MemberSurvey(members, pool)
    var rounds = 0
    while true {
      try await Task.sleep(for: Self.watch)
      rounds += 1
      // As long as a stream is well, its sender is rarely another than the leader.
      if let following, following.follower.report.trouble == nil, rounds % 3 != 0 { continue }
      let reports = await survey.ask().filter { $0.standing?.origin == state.store.origin }
      let leading = reports.filter(\.isLeading)
      guard let best = leading.max(by: { $0.standing!.epoch < $1.standing!.epoch }) else {
        continue
      }
      let isNewer =
        following == nil
        ? best.standing!.epoch > state.store.epoch : best.standing!.epoch >= state.store.epoch
      let address = try NodeAddress(parsing: best.address)
      if isNewer, address != following?.leader { return address }
    }
  }

  private func lead(_ state: NodeState, inNewEpoch: Bool) async throws -> Turn {
    let store = state.store
    let reason: EpochChange.Reason =
      store.feed.end.sequence == 0
      ? .created : store.epoch.node == succession.node ? .recovered : .promoted
    try store.lead(epoch: inNewEpoch ? store.epoch.number + 1 : nil, reason: reason)
    if inNewEpoch {
      logger.notice(
        "leads in epoch \(store.epoch.number), which begins at \(store.feed.end.sequence)")
    }
    return try await serve(state)
  }

  private func serve(_ state: NodeState) async throws -> Turn {
    try await show(state)
    return .leading(state)
  }

  /// Lets requests through.
  private func show(_ state: NodeState) async throws {
    guard self.state !== state else { return }
    do {
      try await listener.open(state)
    } catch {
      try state.store.close()
      throw error
    }
    current.withLock { $0 = state }
  }

  /// Serves, and follows the leader.
  private func follow(_ leader: NodeAddress, _ state: NodeState) async throws -> Following {
    let (ending, continuation) = AsyncStream.makeStream(of: LogFollower.Ending.self)
    let follower = follower(of: leader, state) { continuation.yield($0) }
    try await show(state)
    follower.start()
    return Following(state: state, leader: leader, follower: follower, ending: ending)
  }

  private func follower(
    of leader: NodeAddress, _ state: NodeState,
    ended: @escaping @Sendable (LogFollower.Ending) -> Void
  ) -> LogFollower {
    let follower = LogFollower(
      leader, id: id, node: state, loop: MultiThreadedEventLoopGroup.singleton.next(),
      pool: acknowledgementPool,
      ended: ended)
    state.follow(follower)
    return follower
  }

  /// Serves no more, and closes the store.
  private func suspend(_ following: Following) async throws {
    current.withLock { $0 = nil }
    listener.entrance.standing = nil
    progress.begin(.copying)
    try await listener.suspend(configuration.limits)
    try await following.follower.stop().get()
    try close(following.state)
  }

  private func close(_ state: NodeState) throws {
    state.feedReaders.stop()
    try state.store.close()
  }

  private func prepare(for ending: LogFollower.Ending, from leader: NodeAddress) async throws {
    switch ending {
    case .copy:
      logger.notice(
        "what is missing here is not in the log of \(leader) any more: its snapshot is fetched")
      try await transfer(from: leader)
    case .diverged(let divergence):
      try divergence.settle(in: configuration.dataDirectory, logger)
    }
  }

  // MARK: - Copying

  /// Gets what a copy begins with.
  ///
  /// - Returns: the log's id, where nothing on the disk says it.
  private func bootstrap(from leader: NodeAddress) async throws -> UInt64? {
    guard try directory.isEmpty() else { return nil }
    progress.begin(.copying)
    let status = try await wait(for: Peer(address: leader, pool: pool))
    guard let origin = status.originNumber else {
      throw Peer.Unusable(description: "\(leader) does not say its log's id")
    }
    if status.snapshot.sequence > 0 || status.wal.oldest_sequence > 1 {
      try await transfer(from: leader)
      return nil
    }
    return origin
  }

  private func wait(for peer: Peer) async throws -> Peer.Status {
    var said = false
    while true {
      do {
        return try await peer.status()
      } catch let error where !(error is CancellationError) {
        if !said { logger.notice("waiting for the leader: \(error)") }
        said = true
      }
      try progress.check()
      try await Task.sleep(for: Self.retry)
    }
  }

  private func transfer(from leader: NodeAddress) async throws {
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

extension NodeState {
  /// How far its log is; nil where there is no record.
  fileprivate var standing: Succession.Standing? {
    let end = store.feed.end
    guard end.sequence > 0 else { return nil }
    return Succession.Standing(
      origin: store.origin, epoch: store.epoch, sequence: end.sequence)
  }
}

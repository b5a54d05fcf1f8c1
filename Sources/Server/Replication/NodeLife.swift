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
///     start --this node led last, and may lack something--> waiting --has enough promises--> leading
///     leading | following --promises an epoch--> waiting --that epoch leads--> following
///     following | waiting --is promoted--> leading
///
/// `Succession` says which. As long as nothing is served, whoever connects is told how far it is.
final class NodeLife: Sendable {
  /// Between tries to reach a leader.
  static let retry = Duration.milliseconds(200)
  /// Behind a copy that failed, which may have been all of it.
  static let retryBehindFailure = Duration.seconds(2)
  /// How long a start waits for those who do not answer.
  static let startMax = Duration.seconds(1)
  /// Between two looks at whether another node leads.
  static let watchPause = Duration.seconds(1)
  /// The same, so often, for who has promised an epoch.
  static let hurry = Duration.milliseconds(20)
  static let hurriedMax = 250
  /// Between two looks at whether this node is to ask for promises.
  static let standPause = Duration.milliseconds(100)
  /// For so long a promotion waits for more of the log that it takes first.
  static let promotionPatience = Duration.seconds(10)

  let configuration: Configuration
  let succession: Succession
  let members: [NodeAddress]
  let listener: Listener
  let progress: StartProgress
  let logger: Logger
  let pool: KVPool
  let open: @Sendable (Opening) async throws -> NodeState
  let onFailure: @Sendable (any Error) -> Void
  let current = Mutex<NodeState?>(nil)
  let tasks = Mutex<[Task<Void, Never>]>([])
  let inbox = Inbox<Event>()
  /// Whom the watch need not tell of; nil while there is nothing to compare with.
  let watched = Mutex<Watched?>(nil)
  /// What the watch sleeps in.
  let pause = Mutex<Task<Void, Never>?>(nil)
  /// As the note says.
  let promise = Mutex<Epoch?>(nil)
  /// It asks for promises by itself.
  let stands = Atomic(false)

  var id: String { configuration.id }
  var directory: CopyDirectory { CopyDirectory(configuration.dataDirectory) }

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
    pool = .ofNode(connectionsPerNodeMax: 4, configuration.linkDelay)
    guard configuration.role == .leader || configuration.leaderAddress != nil else {
      throw NodeError.leaderUnknown(address: configuration.address)
    }
    let own = configuration.id
    // Who is told whom to follow asks nobody else.
    let others = configuration.followedAddress == nil ? configuration.otherMembers : []
    members = try others.map { try NodeAddress(parsing: $0.address) }
    succession = Succession(
      node: NodeNumber.of(own),
      configuredLeader: configuration.role == .leader
        ? nil : configuration.followedAddress ?? configuration.leaderAddress,
      others: others.map { ($0.address, NodeNumber.of($0.id)) })
  }

  /// What the node does.
  enum Turn {
    case leading(NodeState)
    case following(Following)
    /// For whom a promise was given.
    case waiting(NodeState)
    /// There is nothing here.
    case copying(NodeAddress)
  }

  struct Following {
    let state: NodeState
    let leader: NodeAddress
    let follower: LogFollower
  }

  /// What happens to a node.
  enum Event: Sendable {
    case ended(LogFollower.Ending, of: ObjectIdentifier)
    /// A node leads in that epoch.
    case leader(NodeAddress, Epoch)
    /// Somebody asks for something.
    case order(LifeOrder)
  }

  struct Watched: Sendable {
    let store: Store
    let follower: LogFollower?
    /// It waits for a leader, whom it was promised.
    let isWaiting: Bool
    let isLeading: Bool
  }

  /// Opens what is there, asks the others, and leads or follows. A replica that has nothing yet goes on
  /// copying behind the return.
  ///
  /// - Throws: what is wrong with the data.
  func start() async throws {
    if let membership = configuration.announcement {
      tasks.withLock { $0 = [Task { await self.announce(membership) }] }
    }
    let first: Turn
    do {
      first = try await begin()
    } catch {
      try await stop()
      throw error
    }
    if case .leading = first, members.isEmpty { return }
    tasks.withLock { tasks in
      tasks += [
        Task { await self.live(first) }, Task { await self.watch() },
        Task { await self.askForPromises() },
      ]
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
    let tasks = tasks.withLock { $0 }
    guard !tasks.isEmpty else { return }
    inbox.close()
    for task in tasks { task.cancel() }
    for task in tasks { await task.value }
    // Whoever began to ask meanwhile.
    stands.store(false, ordering: .relaxed)
    try await pool.close().get()
  }

  // MARK: - Turns of life

  func live(_ first: Turn) async {
    var turn = first
    while !Task.isCancelled {
      look(turn)
      do {
        if case .copying(let named) = turn {
          if try directory.isEmpty() { try LackNote(configuration.dataDirectory).write() }
          let leader = try await leaderToCopy(named)
          let origin = try await bootstrap(from: leader)
          let state = try await open(.copy(origin: origin))
          turn = .following(try await follow(leader, state))
          continue
        }
        guard let event = await inbox.next() else { break }
        try await handle(event, &turn)
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
    // Nobody takes them any more, and somebody waits for each.
    inbox.close()
    while let event = await inbox.next() {
      if case .order(let order) = event { order.refuse("the node is stopping") }
    }
  }

  func handle(_ event: Event, _ turn: inout Turn) async throws {
    // Before the follower may be another one.
    turn.state?.noteRecovered()
    switch (event, turn) {
    case (.ended(let ending, let follower), .following(let following)):
      guard follower == ObjectIdentifier(following.follower) else { return }
      // Whatever comes in between: the store is closed, and opened again.
      turn = .copying(following.leader)
      try await suspend(following)
      try await prepare(for: ending, from: following.leader)
    case (.leader(let leader, let epoch), .leading(let state)):
      guard voter(state).yields(to: epoch) else { return }
      try state.store.follow()
      logger.notice(
        "\(leader) leads in epoch \(epoch.text), above this node's, which follows it from now on")
      turn = .following(try await follow(leader, state))
    case (.leader(let leader, let epoch), .following(let following)):
      guard leader != following.leader, voter(following.state).follows(epoch) else { return }
      try await following.follower.stop().get()
      logger.notice("\(leader) leads now; it was \(following.leader)")
      turn = .following(try await follow(leader, following.state))
    case (.leader(let leader, let epoch), .waiting(let state)):
      guard voter(state).follows(epoch) else { return }
      logger.notice("\(leader) leads, in epoch \(epoch.text)")
      turn = .following(try await follow(leader, state))
    case (.order(let order), _):
      try await obey(order, &turn)
    case (.ended, _), (.leader, .copying): break
    }
  }

  func voter(_ state: NodeState) -> Voter {
    Voter(promised: promise.withLock { $0 }, logEpoch: state.store.epoch)
  }

  func lead(_ state: NodeState, inNewEpoch: Bool) async throws -> Turn {
    let store = state.store
    let reason: EpochChange.Reason =
      store.feed.end.sequence == 0
      ? .created
      : store.owesShardEpoch
        ? .handoff : store.epoch.node == succession.node ? .recovered : .promoted
    try store.lead(epoch: inNewEpoch ? store.epoch.number + 1 : nil, reason: reason)
    if inNewEpoch {
      logger.notice(
        "leads in epoch \(store.epoch.number), which begins at \(store.feed.end.sequence)")
    }
    state.noteRecovered()
    return try await serve(state)
  }

  func serve(_ state: NodeState) async throws -> Turn {
    try await show(state)
    return .leading(state)
  }

  /// Lets requests through.
  func show(_ state: NodeState) async throws {
    guard self.state !== state else { return }
    state.obey { [inbox] in inbox.add(.order($0)) }
    state.promised = promise.withLock { $0 }
    // Of what is here some may have come behind the promise.
    if voter(state).waits { state.followers.pledged(voter(state).highest, own: 0) }
    do {
      try await listener.open(state)
    } catch {
      try state.store.close()
      throw error
    }
    current.withLock { $0 = state }
  }

  /// Serves, and follows the leader.
  func follow(_ leader: NodeAddress, _ state: NodeState) async throws -> Following {
    let inbox = inbox
    let identity = Mutex<ObjectIdentifier?>(nil)
    let follower = follower(of: leader, state) { ending in
      inbox.add(.ended(ending, of: identity.withLock { $0! }), isNeeded: true)
    }
    identity.withLock { $0 = ObjectIdentifier(follower) }
    stands.store(false, ordering: .relaxed)
    try await show(state)
    follower.start()
    return Following(state: state, leader: leader, follower: follower)
  }

  func follower(
    of leader: NodeAddress, _ state: NodeState,
    ended: @escaping @Sendable (LogFollower.Ending) -> Void
  ) -> LogFollower {
    let follower = LogFollower(
      leader, id: id, node: state, loop: MultiThreadedEventLoopGroup.singleton.next(),
      promised: promise.withLock { $0 }, ended: ended)
    state.follow(follower)
    return follower
  }

  /// Serves no more, and closes the store.
  func suspend(_ following: Following) async throws {
    try await suspend(following.state, following.follower)
  }

  func suspend(_ state: NodeState, _ follower: LogFollower? = nil) async throws {
    current.withLock { $0 = nil }
    listener.entrance.standing = nil
    progress.begin(.copying)
    try await listener.suspend(configuration.limits)
    try await follower?.stop().get()
    try close(state)
  }

  func close(_ state: NodeState) throws {
    state.feedReaders.stop()
    try state.store.close()
  }

  func prepare(for ending: LogFollower.Ending, from leader: NodeAddress) async throws {
    switch ending {
    case .copy:
      logger.notice(
        "what is missing here is not in the log of \(leader) any more: its snapshot is fetched")
      try await transfer(from: leader)
    case .diverged(let divergence):
      try divergence.settle(in: configuration.dataDirectory, logger)
    }
  }
}

extension NodeState {
  /// How far its log is, durable and applied, in one look; nil where there is no record.
  var position: Succession.Standing? {
    let end = store.feed.end
    guard end.sequence > 0 else { return nil }
    return Succession.Standing(origin: store.origin, epoch: end.epoch, sequence: end.sequence)
  }

  /// How far its log is; nil where there is no record.
  var standing: Succession.Standing? {
    let end = store.feed.end
    guard end.sequence > 0 else { return nil }
    return Succession.Standing(
      origin: store.origin, epoch: store.epoch, sequence: end.sequence)
  }
}

extension NodeLife.Turn {
  var state: NodeState? {
    switch self {
    case .leading(let state), .waiting(let state): state
    case .following(let following): following.state
    case .copying: nil
    }
  }
}

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
///     leading | following --promises an epoch--> waiting --that epoch leads--> following
///     following | waiting --is promoted--> leading
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
  private static let watchPause = Duration.seconds(1)
  /// The same, so often, for who has promised an epoch.
  private static let hurry = Duration.milliseconds(20)
  private static let hurriedMax = 250

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
  private let tasks = Mutex<[Task<Void, Never>]>([])
  let inbox = Inbox<Event>()
  /// Whom the watch need not tell of; nil while there is nothing to compare with.
  private let watched = Mutex<Watched?>(nil)
  /// As the note says.
  private let promise = Mutex<Epoch?>(nil)

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
  fileprivate enum Turn {
    case leading(NodeState)
    case following(Following)
    /// For whom a promise was given.
    case waiting(NodeState)
    /// There is nothing here.
    case copying(NodeAddress)
  }

  fileprivate struct Following {
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

  private struct Watched: Sendable {
    let store: Store
    let follower: LogFollower?
    /// It waits for a leader, whom it was promised.
    let isWaiting: Bool
  }

  /// Opens what is there, asks the others, and leads or follows. A replica that has nothing yet goes on
  /// copying behind the return.
  ///
  /// - Throws: what is wrong with the data.
  func start() async throws {
    let first = try await begin()
    if case .leading = first, members.isEmpty { return }
    tasks.withLock { tasks in
      tasks = [Task { await self.live(first) }, Task { await self.watch() }]
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
    try await pool.close().get()
    try await acknowledgementPool.close().get()
  }

  // MARK: - Beginning

  private func begin() async throws -> Turn {
    // A node alone has nobody to ask.
    if configuration.role == .leader, members.isEmpty {
      return try await serve(try await open(.own))
    }
    let promised = try PromiseNote(configuration.dataDirectory).read()
    promise.withLock { $0 = promised }
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
    if let held, let promised = promise.withLock({ $0 }), promised > held.store.epoch {
      logger.notice(
        "epoch \(promised.text) was promised, and has not begun here: this node waits for its leader"
      )
      try await show(held)
      return .waiting(held)
    }
    // Who does not lead, whatever the others say, need not ask.
    let alone = succession.verdict(own: own, owesEpoch: false, reports: [])
    // Nor does who was told whom to follow, even if the log's last epoch is its own.
    if case .follow(let address) = configuration.followedAddress.map({ .follow($0) }) ?? alone {
      let leader = try NodeAddress(parsing: address)
      guard let held else { return .copying(leader) }
      return .following(try await follow(leader, held))
    }
    let mayLack = own == nil || held!.store.owesEpoch
    let quorum = configuration.writeQuorum
    let reports = try await MemberSurvey(members, pool).settle(
      within: Self.startMax, insistent: mayLack,
      atLeast: mayLack && quorum > 1 ? configuration.members.count - quorum + 1 : 0, progress,
      logger)
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
      look(turn)
      do {
        if case .copying(let leader) = turn {
          let origin = try await bootstrap(from: leader)
          turn = .following(try await follow(leader, try await open(.copy(origin: origin))))
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
  }

  private func handle(_ event: Event, _ turn: inout Turn) async throws {
    switch (event, turn) {
    case (.ended(let ending, let follower), .following(let following)):
      guard follower == ObjectIdentifier(following.follower) else { return }
      // Whatever comes in between: the store is closed, and opened again.
      turn = .copying(following.leader)
      try await suspend(following)
      try await prepare(for: ending, from: following.leader)
    case (.leader(let leader, let epoch), .leading(let state)):
      guard epoch > state.store.epoch else { return }
      try state.store.follow()
      logger.notice(
        "\(leader) leads in epoch \(epoch.text), above this node's, which follows it from now on")
      turn = .following(try await follow(leader, state))
    case (.leader(let leader, let epoch), .following(let following)):
      guard leader != following.leader, isHighEnough(epoch, following.state) else { return }
      try await following.follower.stop().get()
      logger.notice("\(leader) leads now; it was \(following.leader)")
      turn = .following(try await follow(leader, following.state))
    case (.leader(let leader, let epoch), .waiting(let state)):
      guard isHighEnough(epoch, state) else { return }
      logger.notice("\(leader) leads, in epoch \(epoch.text)")
      turn = .following(try await follow(leader, state))
    case (.order(let order), _):
      try await obey(order, &turn)
    case (.ended, _), (.leader, .copying): break
    }
  }

  private func isHighEnough(_ epoch: Epoch, _ state: NodeState) -> Bool {
    epoch >= max(state.store.epoch, promise.withLock { $0 } ?? state.store.epoch)
  }

  // MARK: - Looking for the leader

  private func look(_ turn: Turn) {
    let seen: Watched? =
      switch turn {
      case .leading(let state): Watched(store: state.store, follower: nil, isWaiting: false)
      case .following(let following):
        Watched(
          store: following.state.store, follower: following.follower, isWaiting: false)
      case .waiting(let state): Watched(store: state.store, follower: nil, isWaiting: true)
      case .copying: nil
      }
    watched.withLock { $0 = seen }
  }

  /// Looks at the other members for one that leads and is not followed.
  private func watch() async {
    let survey = MemberSurvey(members, pool)
    var rounds = 0
    var hurried = 0
    while !Task.isCancelled {
      let isHurried = watched.withLock { $0?.isWaiting ?? false } && hurried < Self.hurriedMax
      hurried = isHurried ? hurried + 1 : 0
      try? await Task.sleep(for: isHurried ? Self.hurry : Self.watchPause)
      rounds += 1
      guard let seen = watched.withLock({ $0 }) else { continue }
      // As long as a stream is well, its sender is rarely another than the leader.
      if let follower = seen.follower, follower.report.trouble == nil, rounds % 3 != 0 { continue }
      let leading = await survey.ask().filter {
        $0.isLeading && $0.standing?.origin == seen.store.origin
      }
      guard let best = leading.max(by: { $0.standing!.epoch < $1.standing!.epoch }),
        let address = try? NodeAddress(parsing: best.address), address != seen.follower?.leader
      else { continue }
      inbox.add(.leader(address, best.standing!.epoch))
    }
  }

  // MARK: - Promises and promotion

  private func obey(_ order: LifeOrder, _ turn: inout Turn) async throws {
    guard let state = turn.state else { return order.refuse("this node has no data yet") }
    switch order.kind {
    case .promise(let epoch, let origin):
      order.answer(try await give(epoch, origin, state, &turn))
    case .promote(let isForced):
      do {
        order.answer(try await promote(state, isForced, &turn))
      } catch {
        order.refuse("\(error)")
        throw error
      }
    }
  }

  /// Promises an epoch, and says how far the log is: nothing of an older epoch comes behind that.
  private func give(
    _ epoch: Epoch, _ origin: UInt64, _ state: NodeState, _ turn: inout Turn
  ) async throws -> LifeAnswer {
    let store = state.store
    guard origin == store.origin else {
      return .refused("this node's log is another one: \(hexadecimal(store.origin))", nil)
    }
    if case .following(let following) = turn, store.owesEpoch,
      following.follower.report.leaderEnd == nil
    {
      return .refused("this node had to cut its log, and has not fetched that again yet", nil)
    }
    let voter = Voter(promised: promise.withLock { $0 }, logEpoch: store.epoch)
    guard voter.promises(epoch) else {
      return .refused("epoch \(voter.highest.text) is known here", voter.highest)
    }
    try await pledge(epoch, &turn, state)
    logger.notice("promised epoch \(epoch.text), at \(store.feed.end.sequence)")
    return .standing(state.standing, promised: epoch)
  }

  private func pledge(
    _ epoch: Epoch, _ turn: inout Turn, _ state: NodeState
  ) async throws {
    try PromiseNote(configuration.dataDirectory).write(epoch)
    promise.withLock { $0 = epoch }
    if case .following(let following) = turn { try await following.follower.stop().get() }
    // Behind what the committer has: what was acknowledged is part of what is told.
    try state.store.follow()
    state.follow(nil)
    turn = .waiting(state)
    look(turn)
  }

  /// Has this node lead: see `Promotion`.
  private func promote(
    _ state: NodeState, _ isForced: Bool, _ turn: inout Turn
  ) async throws -> LifeAnswer {
    let store = state.store
    if case .leading = turn { return .leads(store.epoch, at: store.feed.end.sequence, nil) }
    guard configuration.members.contains(where: { $0.id == id }) else {
      return .refused(
        "this node is no member of the shard: the configuration does not name it", nil)
    }
    guard let standing = state.standing else { return .refused("this node has no data yet", nil) }
    let reports = await MemberSurvey(members, pool).ask()
      .filter { $0.standing?.origin == store.origin }
    var promotion = Promotion(
      own: standing, node: succession.node,
      known: reports.compactMap { $0.standing?.epoch } + reports.compactMap(\.promised)
        + [promise.withLock { $0 }].compactMap(\.self),
      memberCount: configuration.members.count, writeQuorum: configuration.writeQuorum)
    // Nobody is disturbed where it cannot come to anything.
    guard isForced || 1 + reports.count >= promotion.neededPromises else {
      return .tooFew(promotion, reached: 1 + reports.count)
    }
    try await pledge(promotion.epoch, &turn, state)
    for (address, answer) in await PromiseCollector(members, pool)
      .ask(for: promotion.epoch, origin: store.origin)
    {
      switch answer {
      case .promised(let standing): promotion.promised(by: "\(address)", standing)
      case .refused(let highest): promotion.refused(highest)
      case .silent: break
      }
    }
    if let higher = promotion.higher, higher > promotion.epoch {
      return .refused("epoch \(higher.text) was promised to another node meanwhile", higher)
    }
    guard isForced || promotion.isEnough else {
      return .tooFew(promotion, reached: promotion.promises)
    }
    if let best = promotion.best {
      let peer = try NodeAddress(parsing: best.address)
      logger.notice("\(peer) has the log up to \(best.standing.sequence): it is fetched first")
      if let ending = try await chase(peer, state, through: best.standing.sequence) {
        turn = .copying(peer)
        try await suspend(state)
        try await prepare(for: ending, from: peer)
        return .refused(
          "this node's log is not a part of the log of \(peer), which is copied now: ask again then",
          nil)
      }
    }
    try store.lead(epoch: promotion.epoch.number, reason: .promoted)
    state.follow(nil)
    turn = .leading(state)
    logger.notice(
      "leads in epoch \(store.epoch.text), which begins at \(store.feed.end.sequence): \(promotion.promises) of \(promotion.memberCount) members have promised it"
    )
    return .leads(store.epoch, at: store.feed.end.sequence, promotion)
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
    state.obey { [inbox] in inbox.add(.order($0)) }
    current.withLock { $0 = state }
  }

  /// Serves, and follows the leader.
  private func follow(_ leader: NodeAddress, _ state: NodeState) async throws -> Following {
    let inbox = inbox
    let identity = Mutex<ObjectIdentifier?>(nil)
    let follower = follower(of: leader, state) { ending in
      inbox.add(.ended(ending, of: identity.withLock { $0! }))
    }
    identity.withLock { $0 = ObjectIdentifier(follower) }
    try await show(state)
    follower.start()
    return Following(state: state, leader: leader, follower: follower)
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
    try await suspend(following.state, following.follower)
  }

  private func suspend(_ state: NodeState, _ follower: LogFollower? = nil) async throws {
    current.withLock { $0 = nil }
    listener.entrance.standing = nil
    progress.begin(.copying)
    try await listener.suspend(configuration.limits)
    try await follower?.stop().get()
    try close(state)
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

extension NodeLife.Turn {
  fileprivate var state: NodeState? {
    switch self {
    case .leading(let state), .waiting(let state): state
    case .following(let following): following.state
    case .copying: nil
    }
  }
}

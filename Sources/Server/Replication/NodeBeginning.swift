import Client
import Engine
import Logging
import NIOCore
import Synchronization
import WAL

/// A node's first moments: what is there is opened, the other members are asked, and what they have more of
/// is fetched.
extension NodeLife {
  func begin() async throws -> Turn {
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

  func begin(_ held: NodeState?) async throws -> Turn {
    let own = held?.standing
    listener.entrance.standing = own.map { DoorStanding($0, number: succession.node) }
    // Who does not lead, whatever the others say, need not ask.
    let alone = succession.verdict(own: own, owesEpoch: false, reports: [])
    if let held, voter(held).waits {
      logger.notice(
        "epoch \(voter(held).highest.text) was promised, and has not begun here: this node waits for its leader"
      )
      // It was to lead itself: it stood, and was stopped.
      if case .lead = alone, voter(held).highest.node == succession.node {
        return try await stand(held)
      }
      try await show(held)
      return .waiting(held)
    }
    // Nor does who was told whom to follow, even if the log's last epoch is its own.
    if case .follow(let address) = configuration.followedAddress.map({ .follow($0) }) ?? alone {
      let leader = try NodeAddress(parsing: address)
      guard let held else { return .copying(leader) }
      return .following(try await follow(leader, held))
    }
    let quorum = configuration.writeQuorum
    // Whatever others say: it did before it began to fetch.
    let lacks = held?.mayLack ?? false
    let reports = try await MemberSurvey(members, pool).settle(
      within: Self.startMax, insistent: own == nil || lacks, atLeast: reportsNeeded(own), progress,
      logger)
    tell(reports, own)
    if let held, let own { noteComplete(held, own, reports) }
    switch succession.verdict(own: own, owesEpoch: lacks, reports: reports) {
    case .create:
      if let held { return try await lead(held, inNewEpoch: true) }
      return try await serve(try await open(.own))
    case .lead(let isNewEpochDue):
      let inNewEpoch = isNewEpochDue || held!.store.owesShardEpoch
      if inNewEpoch, quorum > 1 { return try await stand(held!) }
      return try await lead(held!, inNewEpoch: inNewEpoch)
    case .fetch(let address, let standing):
      if own != nil, quorum > 1 { return try await stand(held!) }
      let state = try await fetch(from: try NodeAddress(parsing: address), through: standing, held)
      if own == nil, let standing = state.standing { noteComplete(state, standing, reports) }
      return quorum > 1 ? try await stand(state) : try await lead(state, inNewEpoch: true)
    case .follow(let address):
      let leader = try NodeAddress(parsing: address)
      guard let held else { return .copying(leader) }
      return .following(try await follow(leader, held))
    }
  }

  /// With a write quorum a new epoch takes promises, or it could end one that another node has been
  /// promised meanwhile: this node waits for a leader like any other, and asks to be it.
  func stand(_ state: NodeState) async throws -> Turn {
    try await show(state)
    stands.store(true, ordering: .relaxed)
    return .waiting(state)
  }

  /// So many other members have to have said what they have before this node begins.
  ///
  /// A quorum that has a record, this node being one of it, has one of any N − W + 1 others in it. Where
  /// one is a quorum, nothing stands for a copy that was interrupted but a node that has more.
  private func reportsNeeded(_ own: Succession.Standing?) throws(WALError) -> Int {
    let quorum = configuration.writeQuorum
    if quorum > 1 { return own == nil ? configuration.members.count - quorum + 1 : 0 }
    return try LackNote(configuration.dataDirectory).isThere() ? 1 : 0
  }

  /// This node has what it may have lost, where enough others have no more: its promise is a sure one. The
  /// note stays until it leads or follows: it owes an epoch until then, over a restart, too.
  private func noteComplete(
    _ state: NodeState, _ own: Succession.Standing, _ reports: [Succession.Report]
  ) {
    let quorum = configuration.writeQuorum
    guard quorum > 1,
      Succession.areEnough(reports, configuration.members.count - quorum + 1, of: members.count),
      reports.compactMap(\.standing).allSatisfy({
        $0.origin == own.origin && !Succession.Standing.isLess(own, $0)
      })
    else { return }
    state.lacks.store(false, ordering: .relaxed)
  }

  func tell(_ reports: [Succession.Report], _ own: Succession.Standing?) {
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
  func fetch(
    from peer: NodeAddress, through standing: Succession.Standing, _ held: NodeState?
  ) async throws -> NodeState {
    logger.notice(
      "\(peer) has the log up to \(standing.sequence), this node up to \(held?.store.feed.end.sequence ?? 0): what is missing is fetched before writes are taken"
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
        // A restart would take a part of it for all that there was.
        if try directory.isEmpty() { try LackNote(configuration.dataDirectory).write() }
        state = try await open(.copy(origin: try await bootstrap(from: peer)))
      }
      held = nil
      do {
        let ending = try await chase(peer, state) { !Succession.Standing.isLess($0, standing) }
        guard let ending else { return state }
        try close(state)
        try await prepare(for: ending, from: peer)
      } catch {
        try close(state)
        throw error
      }
    }
  }

  /// Follows until the log has come far enough.
  ///
  /// - Parameters:
  ///   - patience: for so long nothing may come; nil where it is waited for as long as it takes.
  ///   - isEnough: whether it has, of how far it is. A number alone does not say it: what is behind that
  ///     may be of an older epoch.
  /// - Returns: why it ended before.
  func chase(
    _ peer: NodeAddress, _ state: NodeState, patience: Duration? = nil,
    until isEnough: (Succession.Standing) -> Bool
  ) async throws -> LogFollower.Ending? {
    let ended = Mutex<LogFollower.Ending?>(nil)
    let follower = follower(of: peer, state) { ending in ended.withLock { $0 = ending } }
    follower.start()
    var refused: String?
    var failure: (any Error)?
    var (last, movedAt) = (state.store.feed.end.sequence, ContinuousClock.now)
    func isReached() -> Bool { state.standing.map(isEnough) ?? false }
    while refused == nil, failure == nil, ended.withLock({ $0 }) == nil, !isReached() {
      do {
        try progress.check()
        try await Task.sleep(for: .milliseconds(5))
      } catch {
        failure = error
      }
      let end = state.store.feed.end.sequence
      if end > last { (last, movedAt) = (end, .now) }
      refused = follower.report.alarm
      if let patience, refused == nil, .now > movedAt + patience {
        refused = "nothing came of it for \(patience)"
      }
    }
    try await follower.stop().get()
    if let failure { throw failure }
    if let refused, !isReached() {
      throw NodeError.historyLost(address: configuration.address, peer: "\(peer)", reason: refused)
    }
    return ended.withLock { $0 }
  }
}

import Client
import Engine
import Logging
import NIOCore
import Synchronization
import WAL

/// Promises, and the way to leading.
extension NodeLife {
  func obey(_ order: LifeOrder, _ turn: inout Turn) async throws {
    guard let state = turn.state else { return order.refuse("this node has no data yet") }
    // Whatever comes of it: somebody waits for the answer.
    do {
      switch order.kind {
      case .promise(let epoch, let origin):
        order.answer(try await give(epoch, origin, state, &turn))
      case .promote(let isForced, let needed):
        order.answer(
          try await promote(state, isForced: isForced, needed: needed, yields: false, &turn))
      case .leadAgain:
        let answer = try await promote(
          state, isForced: false, needed: nil, yields: true, &turn)
        if case .waiting = turn { stands.store(true, ordering: .relaxed) }
        order.answer(answer)
      case .fillVacancy:
        switch turn {
        case .leading, .waiting: break
        case .following, .copying: return order.refuse("another node leads")
        }
        order.answer(
          try await promote(
            state, isForced: false, needed: nil, yields: true, fillsVacancy: true, &turn))
      case .stand:
        guard case .waiting = turn, stands.load(ordering: .relaxed) else {
          return order.refuse("another node is to lead")
        }
        order.answer(
          try await promote(state, isForced: false, needed: nil, yields: true, &turn))
      }
    } catch {
      order.refuse("\(error)")
      throw error
    }
  }

  /// Promises an epoch, and says how far the log is: nothing of an older epoch comes behind that.
  func give(
    _ epoch: Epoch, _ origin: UInt64, _ state: NodeState, _ turn: inout Turn
  ) async throws -> LifeAnswer {
    let store = state.store
    guard origin == store.origin else {
      return .refused("this node's log is another one: \(hexadecimal(store.origin))", nil)
    }
    let voter = voter(state)
    guard voter.promises(epoch) else {
      return .refused("epoch \(voter.highest.text) is known here", voter.highest)
    }
    stands.store(false, ordering: .relaxed)
    let lacks = state.mayLack
    try await pledge(epoch, &turn, state)
    logger.notice(
      "promised epoch \(epoch.text), at \(store.feed.end.sequence)\(lacks ? ", with less than this node may have acknowledged" : "")"
    )
    return .standing(state.standing, promised: epoch, lacks: lacks)
  }

  func pledge(
    _ epoch: Epoch, _ turn: inout Turn, _ state: NodeState
  ) async throws {
    try PromiseNote(configuration.dataDirectory).write(epoch)
    promise.withLock { $0 = epoch }
    state.promised = epoch
    if case .following(let following) = turn { try await following.follower.stop().get() }
    // Behind what the committer has: what was acknowledged is part of what is told.
    try state.store.follow()
    state.follow(nil)
    state.followers.pledged(epoch, own: state.store.feed.end.sequence)
    turn = .waiting(state)
    look(turn)
  }

  /// How the others stand, and what epochs they know of, promised ones too.
  private func known(to store: Store) async -> ([Succession.Report], [Epoch]) {
    async let answers = PromiseCollector(members, pool)
      .ask(for: Promotion.question, origin: store.origin, seconds: 1)
    let reports = await MemberSurvey(members, pool).ask()
      .filter { $0.standing?.origin == store.origin }
    let promised: [Epoch] = await answers.compactMap {
      if case .refused(let highest) = $0.1 { highest } else { nil }
    }
    return (reports, reports.compactMap { $0.standing?.epoch } + promised)
  }

  private func isVacant(
    _ state: NodeState, _ reports: [Succession.Report], _ turn: Turn
  ) -> Bool {
    var isLeading = false
    if case .leading = turn { isLeading = true }
    return Vacancy.isVacant(
      Vacancy.Own(voter: voter(state), node: succession.node, isLeading: isLeading), reports)
  }

  /// Asks the others for their promises.
  private func collect(_ promotion: inout Promotion, origin: UInt64) async {
    let answers = await PromiseCollector(members, pool).ask(for: promotion.epoch, origin: origin)
    for (address, answer) in answers {
      switch answer {
      case .promised(let standing, let mayLack):
        promotion.promised(by: "\(address)", standing, mayLack: mayLack)
      case .refused(let highest): promotion.refused(highest)
      case .silent: break
      }
    }
  }

  /// Has this node lead: see `Promotion`.
  ///
  /// - Parameters:
  ///   - needed: the member whose promise it takes in any case.
  ///   - yields: not where another node leads in an epoch that is not below this one's.
  ///   - fillsVacancy: not where anybody leads, or is about to, whom all could follow.
  func promote(
    _ state: NodeState, isForced: Bool, needed: String?, yields: Bool, fillsVacancy: Bool = false,
    _ turn: inout Turn
  ) async throws -> LifeAnswer {
    let store = state.store
    guard configuration.followedAddress == nil,
      configuration.members.contains(where: { $0.id == id })
    else {
      return .refused(
        "this node is no member of the shard: the configuration does not name it", nil)
    }
    guard let standing = state.standing else { return .refused("this node has no data yet", nil) }
    let (reports, known) = await known(to: store)
    // What others have promised since ends this node's leading, and nothing else does.
    if case .leading = turn, known.allSatisfy({ $0 <= store.epoch }) {
      return .leads(store.epoch, at: store.feed.end.sequence, nil)
    }
    if yields,
      let leader = reports.first(where: { $0.isLeading && $0.standing!.epoch >= store.epoch })
    {
      return .refused("\(leader.address) leads", leader.standing!.epoch)
    }
    if fillsVacancy, !isVacant(state, reports, turn) {
      return .refused("another node leads, or is about to", nil)
    }
    var promotion = Promotion(
      own: standing, mayLack: state.mayLack, node: succession.node,
      known: known + [promise.withLock { $0 }].compactMap(\.self),
      memberCount: configuration.members.count, writeQuorum: configuration.writeQuorum)
    // Nobody is disturbed where it cannot come to anything.
    guard isForced || 1 + reports.count >= promotion.neededPromises else {
      return .tooFew(promotion, reached: 1 + reports.count)
    }
    state.isTakingOver.store(true, ordering: .relaxed)
    defer { state.isTakingOver.store(false, ordering: .relaxed) }
    try await pledge(promotion.epoch, &turn, state)
    await collect(&promotion, origin: store.origin)
    if let higher = promotion.higher, higher > promotion.epoch {
      return .refused("epoch \(higher.text) was promised to another node meanwhile", higher)
    }
    guard isForced || promotion.isEnough else {
      return .tooFew(promotion, reached: promotion.promises)
    }
    if let needed = configuration.members.first(where: { $0.id == needed }) {
      let address = "\(try NodeAddress(parsing: needed.address))"
      guard promotion.granted.contains(where: { $0.address == address }) else {
        return .refused("\(address) has not promised to make room", nil)
      }
    }
    if let best = promotion.best {
      let peer = try NodeAddress(parsing: best.address)
      logger.notice("\(peer) has the log up to \(best.standing.sequence): it is fetched first")
      let ending = try await chase(peer, state, patience: Self.promotionPatience) {
        promotion.isReached(by: $0)
      }
      if let ending {
        turn = .copying(peer)
        try await suspend(state)
        try await prepare(for: ending, from: peer)
        return .refused(
          "this node's log is not a part of the log of \(peer), which is copied now: ask again then",
          nil)
      }
    }
    guard let reached = state.standing, promotion.mayBegin(behind: reached) else {
      return .refused("epoch \(store.epoch.text) has begun meanwhile", store.epoch)
    }
    try store.lead(
      epoch: promotion.epoch.number,
      reason: stands.exchange(false, ordering: .relaxed) ? .recovered : .promoted)
    state.follow(nil)
    turn = .leading(state)
    state.noteRecovered()
    logger.notice(
      "leads in epoch \(store.epoch.text), which begins at \(store.feed.end.sequence): \(promotion.promises) of \(promotion.memberCount) members have promised it"
    )
    return .leads(store.epoch, at: store.feed.end.sequence, promotion)
  }

  // MARK: - By itself

  /// Asks for promises, as long as this node stands: until it leads, or somebody else does, or is to.
  func askForPromises() async {
    var isSaid = false
    while !Task.isCancelled {
      guard stands.load(ordering: .relaxed) else {
        isSaid = false
        try? await Task.sleep(for: Self.standPause)
        continue
      }
      let obstacle: String? = await withCheckedContinuation { continuation in
        let order = LifeOrder(kind: .stand) { answer in
          switch answer {
          case .leads, .standing: continuation.resume(returning: nil)
          case .refused(let reason, _): continuation.resume(returning: reason)
          case .tooFew(let promotion, let reached):
            continuation.resume(
              returning: "\(reached) of \(promotion.memberCount) members can be had")
          }
        }
        if !inbox.add(.order(order)) { continuation.resume(returning: nil) }
      }
      if let obstacle, !isSaid {
        logger.warning("it cannot lead yet, and asks again and again: \(obstacle)")
        isSaid = true
      }
      // Two that stand at once do not get in one another's way for long.
      try? await Task.sleep(for: .milliseconds(.random(in: 500...1_500)))
    }
  }
}

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
      case .promote(let isForced):
        order.answer(try await promote(state, isForced, &turn))
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

  func pledge(
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
  func promote(
    _ state: NodeState, _ isForced: Bool, _ turn: inout Turn
  ) async throws -> LifeAnswer {
    let store = state.store
    if case .leading = turn { return .leads(store.epoch, at: store.feed.end.sequence, nil) }
    guard configuration.followedAddress == nil,
      configuration.members.contains(where: { $0.id == id })
    else {
      return .refused(
        "this node is no member of the shard: the configuration does not name it", nil)
    }
    guard let standing = state.standing else { return .refused("this node has no data yet", nil) }
    let reports = await MemberSurvey(members, pool).ask()
      .filter { $0.standing?.origin == store.origin }
    var promotion = Promotion(
      own: standing, node: succession.node,
      known: reports.compactMap { $0.standing?.epoch }
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
      if let ending = try await chase(
        peer, state, through: best.standing.sequence, patience: Self.promotionPatience)
      {
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
}

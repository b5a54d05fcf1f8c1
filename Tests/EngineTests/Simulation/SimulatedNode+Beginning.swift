import Engine
import WAL

/// A node's first moments, and its look at who leads.
extension SimulatedNode {
  func start() {
    life += 1
    if mutant == .forgetsPromise { promise = nil }
    reopen()
    watchRounds = 0
    stands = false
    vacancy = Vacancy()
    seen = [:]
    turn = .waiting
    shard.schedule(.watch(life: life), for: number, in: 100_000_000)
    shard.schedule(.heartbeat(life: life), for: number, in: shard.random.next() % Self.second)
    trace("starts at \(log.end.sequence), epoch \(log.epoch.short)")
    let alone = succession.verdict(own: log.standing, owesEpoch: false, reports: [])
    if voter.waits {
      // Its own promotion did not come to its end.
      if owesEpoch, alone == .lead(inNewEpoch: false), promise?.node == epochNode { stand() }
      return
    }
    if case .follow(let leader) = alone { return follow(shard.number(of: leader)) }
    let round = shard.makeRound()
    turn = .starting(Starting(round: round))
    for peer in shard.others(number) { send(.survey(round), to: peer) }
    shard.schedule(.deadline(round, life: life), for: number, in: Self.second)
  }

  func decideStart() {
    guard case .starting(let starting) = turn else { return }
    turn = .waiting
    switch succession.verdict(
      own: log.standing, owesEpoch: owesEpoch, reports: starting.reports)
    {
    case .create: shard.violate("\(name) begins a log anew")
    case .lead(inNewEpoch: false):
      turn = .leading
      trace("goes on leading in \(log.epoch.short)")
    case .lead(inNewEpoch: true), .fetch:
      if mutant == .beginsWithoutPromises {
        lead(in: Epoch(number: voter.highest.number + 1, node: epochNode))
      } else {
        stand()
      }
    case .follow(let leader): follow(shard.number(of: leader))
    }
    obeyWaiting()
  }

  /// A new epoch takes promises: this node waits for a leader, and asks to be it.
  private func stand() {
    trace("stands for leading")
    stands = true
    shard.schedule(.stand(life: life), for: number, in: 0)
  }

  func standAgain() {
    guard stands, case .waiting = turn else { return }
    if campaign == nil { order(.promote) }
    shard.schedule(
      .stand(life: life), for: number, in: Self.second + shard.random.next() % Self.second)
  }

  /// Whether nobody leads, because of promises that came to nothing, and this node is to ask for them.
  private func lookForVacancy() {
    defer { seen = [:] }
    guard campaign == nil, !stands else { return }
    var own: Vacancy.Own?
    switch turn {
    case .leading, .waiting:
      own = Vacancy.Own(voter: voter, node: epochNode, isLeading: isLeading)
    case .down, .starting, .following: break
    }
    let isDue = vacancy.look(
      own, reports: Array(seen.values), now: now, jitter: shard.random.next())
    guard isDue else { return }
    trace("asks for promises, since nobody leads")
    order(.fillVacancy)
  }

  func watch() {
    watchRounds += 1
    var pause = Self.second
    if case .waiting = turn, watchRounds < 5 { pause = 100_000_000 }
    shard.schedule(.watch(life: life), for: number, in: pause)
    guard !isStarting else { return }
    lookForVacancy()
    // As long as a stream is well, its sender is rarely another than the leader.
    if case .following(let following) = turn, following.state.trouble == nil, watchRounds % 3 != 0 {
      return
    }
    for peer in shard.others(number) { send(.survey(-1), to: peer) }
  }
}

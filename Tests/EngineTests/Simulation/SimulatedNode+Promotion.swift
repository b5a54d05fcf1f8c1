import Engine
import WAL

/// Promises, and the way to leading.
extension SimulatedNode {
  /// This node on its way to leading. It takes no other order meanwhile.
  struct Campaign {
    enum Phase { case asking, collecting, chasing }

    enum Outcome {
      case leads(Epoch)
      case tooFew
      case refused(String)
    }

    /// Of the phase.
    var round: Int
    /// Not where another node leads in an epoch that is not below that of this node's log.
    let yields: Bool
    /// Not where anybody leads, or is about to, whom all could follow.
    let fillsVacancy: Bool
    var phase = Phase.asking
    var reports: [Int: Succession.Report] = [:]
    var known: [Epoch] = []
    var answers: Set<Int> = []
    var promotion: Promotion?
    var chase: Following?
    var chasedAt: UInt64 = 0
    var chasedEnd: UInt64 = 0
  }

  // MARK: - Being asked

  func give(_ epoch: Epoch, _ round: Int, to node: Int) {
    guard voter.promises(epoch) else {
      return send(.promiseRefused(round, highest: voter.highest), to: node)
    }
    stands = false
    let lacks = mayLack
    pledge(epoch)
    trace(
      "promises \(epoch.short) at \(log.end.sequence)\(lacks ? ", and may lack something" : "")")
    send(.promised(round, log.standing, mayLack: lacks), to: node)
  }

  private func pledge(_ epoch: Epoch) {
    promise = epoch
    if mutant == .followsBehindPromise, case .following = turn {
      flush()
      return
    }
    if case .following = turn { stopFollowing() }
    flush()
    progress.pledged(epoch, own: log.end.sequence, since: newestEpoch)
    turn = .waiting
    watchRounds = 0
    shard.schedule(.watch(life: life), for: number, in: 100_000_000)
  }

  // MARK: - Asking

  func beginCampaign(yields: Bool = false, fillsVacancy: Bool = false) {
    if case .starting = turn { return }
    let round = shard.makeRound()
    campaign = Campaign(round: round, yields: yields, fillsVacancy: fillsVacancy)
    for peer in shard.others(number) {
      send(.survey(round), to: peer)
      send(.promiseRequest(round, Promotion.question), to: peer)
    }
    shard.schedule(.deadline(round, life: life), for: number, in: Self.second)
  }

  func reported(_ report: Succession.Report, in round: Int, by node: Int) {
    if case .starting(var starting) = turn, starting.round == round {
      if !starting.reports.contains(where: { $0.address == report.address }) {
        starting.reports.append(report)
      }
      turn = .starting(starting)
      if starting.reports.count == shard.count - 1 { decideStart() }
      return
    }
    if campaign?.round == round {
      campaign!.reports[node] = report
      return goOnIfAllAnswered()
    }
    if round == -1 { seen[node] = report }
    guard round == -1, report.isLeading, let standing = report.standing,
      following?.leader != node
    else { return }
    order(.leader(node, standing.epoch))
  }

  func promised(_ round: Int, _ standing: Succession.Standing, mayLack: Bool, by node: Int) {
    guard campaign?.round == round, campaign!.phase == .collecting else { return }
    campaign!.promotion!.promised(
      by: shard.names[node], standing,
      mayLack: mayLack && mutant != .countsPromisesOfCutLogs)
    campaign!.answers.insert(node)
    goOnIfAllAnswered()
  }

  func refused(_ round: Int, _ highest: Epoch, by node: Int) {
    guard campaign?.round == round else { return }
    switch campaign!.phase {
    case .asking: campaign!.known.append(highest)
    case .collecting: campaign!.promotion!.refused(highest)
    case .chasing: return
    }
    campaign!.answers.insert(node)
    goOnIfAllAnswered()
  }

  private func goOnIfAllAnswered() {
    guard let campaign, campaign.answers.count == shard.count - 1 else { return }
    if campaign.phase == .asking, campaign.reports.count < shard.count - 1 { return }
    goOn()
  }

  func goOn() {
    switch campaign!.phase {
    case .asking: collect()
    case .collecting: decide()
    case .chasing:
      if shard.now > campaign!.chasedAt + 3 * Self.second {
        return endCampaign(.refused("nothing comes"))
      }
      shard.schedule(.deadline(campaign!.round, life: life), for: number, in: Self.second)
    }
  }

  private func collect() {
    let known =
      campaign!.reports.values.compactMap { $0.standing?.epoch } + campaign!.known
    if isLeading, known.allSatisfy({ $0 <= log.epoch }) { return endCampaign(.leads(log.epoch)) }
    if campaign!.yields,
      campaign!.reports.values.contains(where: {
        $0.isLeading && $0.standing!.epoch >= log.epoch
      })
    {
      return endCampaign(.refused("another node leads"))
    }
    if campaign!.fillsVacancy {
      let own = Vacancy.Own(voter: voter, node: epochNode, isLeading: isLeading)
      guard Vacancy.isVacant(own, Array(campaign!.reports.values)) else {
        return endCampaign(.refused("another node leads, or is about to"))
      }
    }
    let mayLack = mayLack && mutant != .countsPromisesOfCutLogs
    let promotion = Promotion(
      own: log.standing, mayLack: mayLack, node: epochNode,
      known: known + [promise].compactMap(\.self), memberCount: shard.count,
      writeQuorum: shard.writeQuorum)
    guard 1 + campaign!.reports.count >= promotion.neededPromises else {
      return endCampaign(.tooFew)
    }
    pledge(promotion.epoch)
    campaign!.promotion = promotion
    enter(.collecting)
    for peer in shard.others(number) {
      send(.promiseRequest(campaign!.round, promotion.epoch), to: peer)
    }
  }

  private func enter(_ phase: Campaign.Phase) {
    campaign!.phase = phase
    campaign!.round = shard.makeRound()
    campaign!.answers = []
    shard.schedule(.deadline(campaign!.round, life: life), for: number, in: Self.second)
  }

  private func decide() {
    let promotion = campaign!.promotion!
    if let higher = promotion.higher, higher > promotion.epoch {
      return endCampaign(.refused("\(higher.short) is known"))
    }
    let isEnough =
      promotion.isEnough
      || mutant == .takesFewerPromises && promotion.promises + 1 >= promotion.neededPromises
    guard isEnough else { return endCampaign(.tooFew) }
    guard let best = promotion.best else { return begin() }
    trace(
      "fetches from \(best.address), which has \(best.standing.epoch.short) \(best.standing.sequence)"
    )
    enter(.chasing)
    campaign!.chasedAt = shard.now
    campaign!.chase = makeFollowing(shard.number(of: best.address))
    arm()
    chased()
  }

  /// Something was fetched.
  func chased() {
    guard let promotion = campaign?.promotion else { return }
    if log.end.sequence > campaign!.chasedEnd {
      campaign!.chasedEnd = log.end.sequence
      campaign!.chasedAt = shard.now
    }
    let isReached =
      mutant == .comparesNumbersOnly
      ? log.end.sequence >= promotion.best!.standing.sequence
      : promotion.isReached(by: log.standing)
    guard isReached else { return }
    let chase = campaign!.chase!
    campaign!.chase = nil
    if let stream = chase.stream { send(.streamClosed(stream: stream), to: chase.leader) }
    flush()
    begin()
  }

  private func begin() {
    let promotion = campaign!.promotion!
    let isAllowed =
      switch mutant {
      case .comparesNumbersOnly: log.epoch < promotion.epoch
      case .beginsBelowItsLog: promotion.isReached(by: log.standing)
      default: promotion.mayBegin(behind: log.standing)
      }
    guard isAllowed else { return endCampaign(.refused("its epoch is not above its log's")) }
    lead(in: promotion.epoch)
    endCampaign(.leads(promotion.epoch))
  }

  func lead(in epoch: Epoch) {
    log.write(0, in: epoch, confirmed: confirmed, beginsEpoch: true)
    shard.begun(epoch, log.writtenEnd, by: self)
    turn = .leading
    stands = false
    owesEpoch = false
    flush()
    trace("leads in \(epoch.short), which begins at \(log.end.sequence)")
  }

  func endCampaign(_ outcome: Campaign.Outcome) {
    if let chase = campaign?.chase, let stream = chase.stream {
      send(.streamClosed(stream: stream), to: chase.leader)
    }
    campaign = nil
    flush()
    trace("promotion: \(outcome)")
    shard.ended(outcome, at: self)
    obeyWaiting()
  }
}

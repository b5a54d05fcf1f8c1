import Engine
import WAL

/// A member of a simulated shard. It has the server's decisions made by the types that the server has
/// them made by, and does itself what the server's shell does: files, connections, timers.
final class SimulatedNode {
  enum Turn {
    case down
    /// It asks the others who leads.
    case starting(Starting)
    case leading
    case following(Following)
    case waiting
  }

  struct Starting {
    let round: Int
    var reports: [Succession.Report] = []
  }

  struct Following {
    let leader: Int
    var state: FollowerState
    /// The connection.
    var stream: Int?
    /// When its next tick is due.
    var tickAt = UInt64.max
    /// What the leader has confirmed to have been told.
    var told: LogPosition?
  }

  /// Somebody who follows this node's log.
  struct Stream {
    let number: Int
    let follower: Int
    let id: LeaderProgress.StreamID
    /// Where what was sent ends.
    var sent: LogPosition
    var toldConfirmed: UInt64 = 0
  }

  /// A write that waits for other members.
  struct Held {
    let position: LogPosition
    let quorum: Int
    let deadline: UInt64
  }

  /// What is taken one at a time.
  enum Order {
    case promise(Int, Epoch, from: Int)
    case leader(Int, Epoch)
    case promote
    /// Promises that came to nothing keep everybody from leading.
    case fillVacancy
  }

  static let second: UInt64 = 1_000_000_000

  unowned let shard: SimulatedShard
  let number: Int
  let name: String
  /// Its number in epochs.
  let epochNode: UInt64
  let succession: Succession

  // On its disk.
  var log = SimulatedLog()
  var promise: Epoch?
  /// It had to cut its log, or rewound it, and has begun no epoch since.
  var owesEpoch = false

  // In its process.
  var life = 0
  var turn = Turn.down
  var stoppedUntil: UInt64 = 0
  /// What its clock is ahead.
  var clockOffset: UInt64 = 0
  var progress: LeaderProgress
  var confirmed: UInt64 = 0
  var streams: [Stream] = []
  var held: [Held] = []
  var campaign: Campaign?
  var orders: [Order] = []
  var isSyncing = false
  var watchRounds = 0
  /// It had to cut its log, and has caught up with a leader since it started.
  var hasFetchedAgain = false
  /// It asks for promises by itself.
  var stands = false
  var vacancy = Vacancy()
  /// What the others have said since the last look.
  var seen: [Int: Succession.Report] = [:]

  init(_ number: Int, _ shard: SimulatedShard) {
    self.number = number
    self.shard = shard
    let names = shard.names
    name = names[number]
    epochNode = shard.epochNodes[number]
    let nodes = shard.epochNodes
    succession = Succession(
      node: nodes[number], configuredLeader: number == 0 ? nil : names[0],
      others: names.indices.filter { $0 != number }.map { (names[$0], nodes[$0]) })
    progress = Self.progress(names, number, shard.writeQuorum)
  }

  private static func progress(_ names: [String], _ own: Int, _ quorum: Int) -> LeaderProgress {
    LeaderProgress(
      others: names.indices.filter { $0 != own }.map {
        LeaderProgress.Peer(id: names[$0], address: names[$0])
      }, quorum: quorum, copySeconds: 60)
  }

  var mutant: SimulationMutant? { shard.mutant }
  var now: UInt64 { shard.now + clockOffset }
  var isUp: Bool { if case .down = turn { false } else { true } }
  var isLeading: Bool { if case .leading = turn { true } else { false } }
  var isStarting: Bool { if case .starting = turn { true } else { false } }
  var voter: Voter { Voter(promised: promise, logEpoch: log.epoch) }
  var newestEpoch: EpochHistory.Start? {
    guard var newest = log.epochs.last else { return nil }
    if mutant == .confirmsOlderEpochs { newest.firstSequence = 1 }
    return newest
  }

  var following: Following? {
    get { if case .following(let following) = turn { following } else { campaign?.chase } }
    set {
      if case .following = turn { turn = .following(newValue!) } else { campaign!.chase = newValue }
    }
  }

  func trace(_ text: @autoclosure () -> String) { shard.trace("\(name): \(text())") }

  func send(_ message: SimulatedMessage, to node: Int) {
    shard.send(message, from: number, to: node)
  }

  // MARK: - The process

  /// Everything that does not outlive a store begins anew; what is on the disk stays.
  func reopen() {
    for stream in streams { send(.streamClosed(stream: stream.number), to: stream.follower) }
    streams = []
    held = []
    hasFetchedAgain = false
    progress = Self.progress(shard.names, number, shard.writeQuorum)
    // What the frames say is true for whoever has them.
    confirmed = min(log.toldConfirmed, log.end.sequence)
    if confirmed > 0 { shard.confirmed(confirmed, by: self) }
    // Of what is here some may have come behind the promise.
    if voter.waits { progress.pledged(voter.highest, own: 0, since: newestEpoch) }
  }

  /// - Parameters:
  ///   - kept: so many records that were not synced are on the disk all the same.
  ///   - isCut: the next start finds a damaged end, and cuts it.
  ///   - isDamaged: that end was the last durable record.
  func crash(keeping kept: Int, isCut: Bool, isDamaged: Bool) {
    log.lose(keeping: kept)
    if isDamaged { log.rewind(to: log.end.sequence - 1) }
    if isCut { owesEpoch = true }
    trace(
      "ends at \(log.end.sequence)\(isCut ? ", cut" : "")\(isDamaged ? " behind what was durable" : "")"
    )
    shard.hangUp(number)
    life += 1
    turn = .down
    streams = []
    held = []
    campaign = nil
    orders = []
    isSyncing = false
  }

  // MARK: - What comes

  func take(_ message: SimulatedMessage, from node: Int) {
    if case .down = turn {
      if case .streamRequest(let stream, _) = message {
        send(.streamClosed(stream: stream), to: node)
      }
      return
    }
    switch message {
    case .streamRequest(let stream, let after): open(stream, for: node, behind: after)
    case .streamClosed(let stream):
      close(stream)
      if following?.stream == stream { disconnected("closed") }
    case .acknowledgement(let position): acknowledged(position, by: node)
    case .streamOpened, .streamRefused, .frame, .heartbeat, .acknowledged:
      takeFromLeader(message, node)
    case .survey(let round): send(.report(round, report), to: node)
    case .report(let round, let report): reported(report, in: round, by: node)
    case .promiseRequest(let round, let epoch):
      // As long as nothing is served nobody answers.
      if !isStarting { order(.promise(round, epoch, from: node)) }
    case .promised(let round, let standing, let mayLack):
      promised(round, standing, mayLack: mayLack, by: node)
    case .promiseRefused(let round, let highest): refused(round, highest, by: node)
    case .question(let read): answer(read)
    }
  }

  var report: Succession.Report {
    Succession.Report(
      address: name, node: epochNode, isLeading: isLeading,
      standing: log.end.sequence == 0 ? nil : log.standing, mayLack: mayLack,
      promised: voter.waits ? promise : nil, isTakingOver: campaign?.promotion != nil)
  }

  /// One that may lack what it has acknowledged does not answer.
  private func answer(_ read: Int) {
    guard !isStarting, !mayLack else { return }
    shard.answered(read, by: self)
  }

  // MARK: - Orders

  var isIdle: Bool { campaign == nil && orders.isEmpty && !isStarting }

  func order(_ order: Order) {
    guard campaign == nil, !isStarting else {
      if orders.count < 64 { orders.append(order) }
      return
    }
    obey(order)
  }

  func obeyWaiting() {
    while campaign == nil, !isStarting, isUp, !orders.isEmpty { obey(orders.removeFirst()) }
  }

  private func obey(_ order: Order) {
    noteCaughtUp()
    switch order {
    case .promise(let round, let epoch, let node): give(epoch, round, to: node)
    case .leader(let leader, let epoch): heard(leader, leadsIn: epoch)
    case .promote: beginCampaign()
    case .fillVacancy:
      switch turn {
      case .leading, .waiting: beginCampaign(yields: true, fillsVacancy: true)
      case .down, .starting, .following: break
      }
    }
  }

  /// It had to cut its log, and nothing says that it has again what it had.
  var mayLack: Bool {
    guard owesEpoch, !hasFetchedAgain else { return false }
    if case .following(let following) = turn { return !following.state.hasCaughtUp }
    return true
  }

  func noteCaughtUp() {
    if owesEpoch, !mayLack { hasFetchedAgain = true }
  }

  private func heard(_ leader: Int, leadsIn epoch: Epoch) {
    switch turn {
    case .leading:
      guard voter.yields(to: epoch) else { return }
      flush()
    case .following(let following):
      guard following.leader != leader, voter.follows(epoch) else { return }
      stopFollowing()
    case .waiting:
      guard voter.follows(epoch) else { return }
    case .down, .starting: return
    }
    trace("follows \(shard.names[leader]), which leads in \(epoch.short)")
    follow(leader)
  }

  // MARK: - The committer

  func write(_ content: UInt64, quorum: Int) {
    guard isLeading else { return }
    log.write(content, in: log.epoch, confirmed: confirmed)
    held.append(
      Held(
        position: log.writtenEnd, quorum: quorum, deadline: shard.now + 4 * Self.second))
    sync()
  }

  func sync() {
    guard !isSyncing, !log.isSynced else { return }
    isSyncing = true
    shard.schedule(.synced(life: life), for: number, in: shard.syncTime())
  }

  func synced() {
    isSyncing = false
    guard !log.isSynced else { return }
    flush()
  }

  /// What was written is durable, applied, and shown to who follows.
  func flush() {
    guard !log.isSynced else { return }
    log.sync()
    applied()
    for index in streams.indices { pump(index) }
  }
}

extension Epoch {
  var short: String { "\(number)-\(node)" }
}

import Engine
import SimulatedDisk
import WAL

/// The members of one shard, the network between them, and clients, from one seed.
///
/// For some seconds everything goes wrong that can: nodes are killed and stopped, disks lose what was not
/// synced, messages are lost, late, doubled, and pass one another, nodes are promoted, two at once too. Then
/// the faults end; one promotion has to succeed, and all logs have to become one.
final class SimulatedShard {
  struct Outcome {
    let seed: UInt64
    var violation: String?
    var trace: [String] = []
    var steps = 0
    var acknowledged = 0
    var confirmed = 0
    var epochs = 0
    var rewinds = 0
    var reads = 0
  }

  struct Read {
    let quorum: Int
    /// So many records were confirmed when it was asked for.
    let confirmed: Int
    var best: Succession.Standing?
    var hasAll = false
    var answered: [Int] = []
  }

  static let second = SimulatedNode.second
  private static let stepsMax = 200_000

  let count: Int
  let writeQuorum: Int
  let mutant: SimulationMutant?
  let names: [String]
  let epochNodes: [UInt64]
  var random: SeededRandom
  private(set) var now: UInt64 = 0
  var nodes: [SimulatedNode] = []
  var queue = SimulatedQueue()
  var network: SimulatedNetwork
  var history = SimulatedHistory()
  private var outcome: Outcome
  private let isTracing: Bool
  private var streams = 0
  private var rounds = 0
  var writes: UInt64 = 0
  var reads: [Read] = []
  var mayDamage: Bool
  var isDamaged = false
  /// One promotion follows the other.
  let isEager: Bool
  private var isHealed = false
  /// The last promotion that was asked for behind the faults has come to this.
  private var promotion: (node: Int, outcome: SimulatedNode.Campaign.Outcome?)?

  /// - Parameter writeQuorum: nil for one that the seed gives, mostly a majority.
  init(
    seed: UInt64, nodes count: Int, writeQuorum: Int? = nil, mutant: SimulationMutant? = nil,
    isTracing: Bool = false
  ) {
    self.count = count
    self.mutant = mutant
    self.isTracing = isTracing
    random = SeededRandom(seed: seed)
    names = ["a", "b", "c", "d", "e", "f", "g"].prefix(count).map(\.self)
    epochNodes = (1...UInt64(count)).shuffled(using: &random)
    let majority = count / 2 + 1
    let drawn = random.once(in: 4) ? 2 + random.below(count - 1) : majority
    self.writeQuorum = writeQuorum ?? drawn
    network = SimulatedNetwork(nodes: count)
    outcome = Outcome(seed: seed)
    mayDamage = random.once(in: 3)
    isEager = random.once(in: 3)
    self.nodes = names.indices.map { SimulatedNode($0, self) }
  }

  func others(_ number: Int) -> [Int] { names.indices.filter { $0 != number } }
  func number(of name: String) -> Int { names.firstIndex(of: name)! }

  func makeStream() -> Int {
    streams += 1
    return streams
  }

  func makeRound() -> Int {
    rounds += 1
    return rounds
  }

  func schedule(_ event: SimulatedEvent, for node: Int, in time: UInt64) {
    queue.add(event, for: node, at: now + time)
  }

  func send(_ message: SimulatedMessage, from: Int, to: Int) {
    let (first, second) = network.arrivals(from, to, at: now, &random)
    if let first { queue.add(.delivery(message, from: from), for: to, at: first) }
    if let second { queue.add(.delivery(message, from: from), for: to, at: second) }
  }

  /// What a system does for a process that has ended.
  func hangUp(_ number: Int) {
    for stream in nodes[number].streams {
      send(.streamClosed(stream: stream.number), from: number, to: stream.follower)
    }
    if let following = nodes[number].following, let stream = following.stream {
      send(.streamClosed(stream: stream), from: number, to: following.leader)
    }
  }

  func syncTime() -> UInt64 {
    500_000 + random.next() % (random.once(in: 20) ? 300_000_000 : 3_000_000)
  }

  // MARK: - What is said, and checked

  func trace(_ text: @autoclosure () -> String) {
    if isTracing { outcome.trace.append("\(now / 1_000_000) ms  \(text())") }
  }

  func violate(_ text: String) {
    guard outcome.violation == nil else { return }
    outcome.violation = text
    trace("VIOLATION: \(text)")
  }

  private func check(_ finding: String?, _ node: SimulatedNode) {
    if let finding { violate("\(node.name): \(finding)") }
  }

  func confirmed(_ number: UInt64, by node: SimulatedNode) {
    let number = min(number, node.log.end.sequence)
    trace("\(node.name): \(number) is confirmed")
    check(history.confirm(number, in: node.log), node)
  }

  func acknowledged(_ position: LogPosition, by node: SimulatedNode) {
    trace(
      "\(node.name): acknowledges \(position.sequence) of \(position.epoch.short) to its client")
    check(history.acknowledge(position, in: node.log), node)
  }

  func begun(_ epoch: Epoch, _ position: LogPosition, by node: SimulatedNode) {
    check(history.begin(epoch, at: position), node)
  }

  func rewound() { outcome.rewinds += 1 }

  func ended(_ outcome: SimulatedNode.Campaign.Outcome, at node: SimulatedNode) {
    if promotion?.node == node.number { promotion!.outcome = outcome }
  }

  func answered(_ read: Int, by node: SimulatedNode) {
    guard !reads[read].answered.contains(node.number) else { return }
    reads[read].answered.append(node.number)
    let standing = node.log.standing
    if reads[read].best.map({ Succession.Standing.isLess($0, standing) }) ?? true {
      reads[read].best = standing
      reads[read].hasAll = history.isIn(node.log, through: reads[read].confirmed)
    }
    guard reads[read].answered.count == reads[read].quorum else { return }
    outcome.reads += 1
    if !reads[read].hasAll {
      violate(
        "a read from \(reads[read].answered.map { names[$0] }) does not show \(reads[read].confirmed), "
          + "which was confirmed before")
    }
  }

  // MARK: - The run

  /// A log that all have, whose first node led, and who start one after the other.
  func begin() {
    for node in nodes {
      node.log.write(
        0, in: Epoch(number: 1, node: epochNodes[0]), confirmed: 0, beginsEpoch: true)
      node.log.sync()
      schedule(.restart, for: node.number, in: random.next() % 200_000_000)
    }
    begun(Epoch(number: 1, node: epochNodes[0]), nodes[0].log.end, by: nodes[0])
    trace("\(count) nodes, numbers \(epochNodes), write quorum \(writeQuorum)")
  }

  func run() -> Outcome {
    begin()
    let level = random.below(4)
    network.lost = [0, 5, 20, 80][level]
    network.doubled = [0, 10, 50, 400][random.below(4)]
    network.late = [0, 10, 30, 100][random.below(4)]
    network.reordered = [0, 0, 20, 100][random.below(4)]
    schedule(.chaos, for: -1, in: 300_000_000)
    runUntil(time: Self.second * UInt64(5 + random.below(8)))
    heal()
    return end()
  }

  /// What has come of it.
  func end() -> Outcome {
    outcome.acknowledged = history.acknowledgedCount
    outcome.confirmed = history.confirmed.count
    outcome.epochs = history.epochCount
    return outcome
  }

  func runUntil(time end: UInt64, or isDone: () -> Bool = { false }) {
    while outcome.violation == nil, !isDone(), let (time, node, event) = queue.next() {
      guard time <= end else {
        queue.add(event, for: node, at: time)
        break
      }
      outcome.steps += 1
      guard outcome.steps < Self.stepsMax else { return violate("it goes on for ever") }
      now = max(now, time)
      if node < 0 {
        if !isHealed { chaos() }
      } else if nodes[node].stoppedUntil > now {
        queue.add(event, for: node, at: nodes[node].stoppedUntil)
      } else {
        handle(event, nodes[node])
      }
    }
    now = max(now, isDone() ? now : end)
  }

  private func handle(_ event: SimulatedEvent, _ node: SimulatedNode) {
    switch event {
    case .delivery(let message, let from): node.take(message, from: from)
    case .tick(node.life): node.tick()
    case .synced(node.life): node.synced()
    case .heartbeat(node.life):
      for index in node.streams.indices { node.beat(index) }
      schedule(event, for: node.number, in: Self.second / 2)
    case .watch(node.life): node.watch()
    case .deadline(let round, node.life):
      if case .starting(let starting) = node.turn, starting.round == round {
        node.decideStart()
      } else if node.campaign?.round == round {
        node.goOn()
      }
    case .stand(node.life): node.standAgain()
    case .restart: if !node.isUp { node.start() }
    default: break
    }
  }

  // MARK: - Behind the faults

  private func heal() {
    guard outcome.violation == nil else { return }
    isHealed = true
    trace("the faults end")
    network.heal()
    queue.loseDeliveries(behind: now + Self.second / 2)
    for node in nodes {
      node.stoppedUntil = 0
      if !node.isUp { node.start() }
    }
    runUntil(time: now + 3 * Self.second)
    // Promotions that were asked for before come first.
    runUntil(time: now + 30 * Self.second) { nodes.allSatisfy(\.isIdle) }
    awaitLeader()
    for _ in 0..<4 where outcome.violation == nil {
      let node = nodes[random.below(count)]
      promotion = (node.number, nil)
      trace("\(node.name): is to lead, and can")
      node.order(.promote)
      runUntil(time: now + 8 * Self.second) { promotion!.outcome != nil }
      if case .leads = promotion!.outcome { return converge() }
      runUntil(time: now + 2 * Self.second)
    }
    violate("no promotion succeeds")
  }

  /// All nodes are there: one of them leads, whatever promises came to nothing; unless a disk has lost what
  /// says whose turn it is.
  private func awaitLeader() {
    guard outcome.violation == nil, !isDamaged else { return }
    runUntil(time: now + 120 * Self.second) { nodes.contains(where: \.isLeading) }
    guard outcome.violation == nil, !nodes.contains(where: \.isLeading) else { return }
    violate("nobody leads")
  }

  private func converge() {
    // Another one may have been on its way to leading, and have promised to make room.
    runUntil(time: now + 10 * Self.second)
    guard
      let leader = nodes.filter(\.isLeading).max(by: { $0.log.epoch < $1.log.epoch })
    else { return violate("nobody leads behind a promotion") }
    let acknowledged = history.acknowledgedCount
    writes += 1
    leader.write(writes, quorum: writeQuorum)
    let deadline = now + 30 * Self.second
    runUntil(time: deadline) {
      history.acknowledgedCount > acknowledged
        && nodes.allSatisfy { $0.log.end == leader.log.end && $0.log.isSynced }
    }
    guard outcome.violation == nil else { return }
    guard history.acknowledgedCount > acknowledged else {
      return violate("\(leader.name) leads, and what it writes is not confirmed")
    }
    for node in nodes where node.log.end != leader.log.end {
      violate("the log of \(node.name) does not become that of \(leader.name)")
    }
    for node in nodes where !history.isIn(node.log, through: history.confirmed.count) {
      violate("\(node.name) does not have all that was confirmed")
    }
  }
}

import Engine
import WAL

/// How a promotion comes to nothing behind its promises, and what becomes of its node.
enum ScriptedVacancy: CaseIterable, Sendable {
  /// The others promise, and their answers are lost; then the network is whole.
  case answersLost
  /// The same, and the node that was to lead is cut off, or gone.
  case candidateCutOff, candidateGone
  /// What it asks for is lost: the leader goes on, whom it cannot follow.
  case requestsLost
}

/// What happens where no seed would have it happen.
extension SimulatedShard {
  private func pass(seconds: UInt64) { runUntil(time: now + seconds * Self.second) }

  private func cutOff(_ node: Int, from peers: [Int]) {
    for peer in peers {
      network.cut(node, peer)
      network.cut(peer, node)
    }
  }

  private func write(_ count: Int, at node: SimulatedNode) {
    for _ in 0..<count {
      writes += 1
      node.write(writes, quorum: writeQuorum)
    }
  }

  /// Two members have a tail that the third has not, which leads then, so that both are taken back. One of
  /// them is promoted and writes as much again; and what the other one acknowledged long ago arrives.
  static func runOtherHistories(_ mutant: SimulationMutant?) -> Outcome {
    // The last epoch has to be the highest.
    let seed = (0..<1_000 as Range<UInt64>).first {
      let nodes = SimulatedShard(seed: $0, nodes: 3).epochNodes
      return nodes[2] > nodes[0]
    }!
    let shard = SimulatedShard(
      seed: seed, nodes: 3, writeQuorum: 3, mutant: mutant, isTracing: true)
    let (a, b, c) = (shard.nodes[0], shard.nodes[1], shard.nodes[2])
    shard.begin()
    shard.pass(seconds: 3)
    shard.cutOff(1, from: [0, 2])
    shard.write(6, at: a)
    shard.pass(seconds: 1)
    let old = c.log.end
    if old != a.log.end || old.sequence < 7 { shard.violate("c does not have what a has written") }
    b.order(.promote)
    shard.pass(seconds: 5)
    shard.network.join()
    shard.pass(seconds: 20)
    if a.log.end != b.log.end || c.log.end != b.log.end { shard.violate("b is not followed") }
    shard.cutOff(2, from: [0, 1])
    a.order(.promote)
    shard.pass(seconds: 6)
    shard.write(8, at: a)
    shard.pass(seconds: 3)
    if !a.isLeading || b.log.end != a.log.end { shard.violate("a is not followed") }
    if a.log.end.sequence < old.sequence { shard.violate("a has less than it had") }
    a.take(.acknowledgement(old), from: 2)
    c.order(.promote)
    shard.pass(seconds: 5)
    shard.network.join()
    shard.pass(seconds: 20)
    shard.write(10, at: c)
    shard.pass(seconds: 5)
    if !c.isLeading || shard.history.confirmed.count < Int(old.sequence) {
      shard.violate("c confirms nothing")
    }
    return shard.end()
  }

  /// A leader's record of an old epoch comes to a third member, and the record of its new epoch does not:
  /// figure 8 of Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm", 2014.
  static func runOlderEpochs(_ mutant: SimulationMutant?) -> Outcome {
    let shard = SimulatedShard(
      seed: 3, nodes: 5, writeQuorum: 3, mutant: mutant, isTracing: true)
    let (a, c, d) = (shard.nodes[0], shard.nodes[2], shard.nodes[3])
    shard.begin()
    shard.pass(seconds: 3)
    for node in [0, 1] { shard.cutOff(node, from: [2, 3, 4]) }
    shard.write(1, at: a)
    shard.pass(seconds: 1)
    // Another node leads, and nobody has what it writes first.
    c.order(.promote)
    shard.runUntil(time: shard.now + 5 * second) { c.isLeading }
    shard.network.join()
    for node in [2, 4] { shard.cutOff(node, from: shard.others(node)) }
    // The first one leads again, above that.
    a.order(.promote)
    shard.runUntil(time: shard.now + 5 * second) { a.isLeading && a.log.epoch.number > 2 }
    let newest = a.log.end.sequence
    if !c.isLeading || newest != 3 || d.log.end.sequence != 1 {
      shard.violate("the epochs have not come to where they are to part")
    }
    shard.runUntil(time: shard.now + 5 * second) {
      a.streams.contains {
        $0.number == d.following?.stream && $0.sent.sequence >= newest
      }
    }
    shard.queue.lose { _, node, event in
      guard node == 3, case .delivery(.frame(_, let entry), _) = event else { return false }
      return entry.position.sequence >= newest
    }
    shard.network.cut(0, 3)
    shard.pass(seconds: 1)
    if d.log.end.sequence != newest - 1 { shard.violate("d does not have the older record alone") }
    shard.network.join()
    for node in [0, 1] { shard.cutOff(node, from: [2, 3, 4]) }
    c.order(.promote)
    shard.pass(seconds: 20)
    if shard.history.confirmed.count < 3 { shard.violate("c confirms nothing") }
    return shard.end()
  }

  static func run(_ script: ScriptedVacancy) -> Outcome {
    let shard = SimulatedShard(seed: 5, nodes: 5, writeQuorum: 3, isTracing: true)
    let candidate = shard.nodes[1]
    shard.begin()
    shard.pass(seconds: 3)
    shard.write(3, at: shard.nodes[0])
    shard.pass(seconds: 1)
    candidate.order(.promote)
    if script == .requestsLost {
      for peer in shard.others(1) { shard.network.cut(1, peer) }
      shard.pass(seconds: 3)
    } else {
      shard.runUntil(time: shard.now + 3 * second) { candidate.campaign?.phase == .collecting }
      shard.cutOff(1, from: [2, 3, 4])
      shard.pass(seconds: 2)
    }
    if candidate.promise == nil || candidate.isLeading || candidate.campaign != nil {
      shard.violate("the promotion has not come to nothing")
    }
    if shard.nodes[0].isLeading != (script == .requestsLost) {
      shard.violate("the leader \(script == .requestsLost ? "has promised" : "goes on")")
    }
    var members = [0, 1, 2, 3, 4]
    switch script {
    case .answersLost, .requestsLost: shard.network.join()
    case .candidateCutOff:
      shard.cutOff(1, from: [0, 2, 3, 4])
      members.remove(at: 1)
    case .candidateGone:
      candidate.crash(keeping: 0, isCut: false, isDamaged: false)
      members.remove(at: 1)
    }
    shard.expectLed(members.map { shard.nodes[$0] })
    return shard.end()
  }

  /// Somebody leads in time, and these have all that it writes.
  private func expectLed(_ members: [SimulatedNode]) {
    let highest = nodes.map(\.voter.highest).max()!
    runUntil(time: now + 60 * Self.second) {
      members.contains { $0.isLeading && $0.log.epoch >= highest }
    }
    guard let leader = members.first(where: { $0.isLeading && $0.log.epoch >= highest }) else {
      return violate("nobody leads")
    }
    let acknowledged = history.acknowledgedCount
    pass(seconds: 3)
    write(1, at: leader)
    runUntil(time: now + 30 * Self.second) {
      history.acknowledgedCount > acknowledged
        && members.allSatisfy { $0.log.end == leader.log.end }
    }
    if history.acknowledgedCount == acknowledged { violate("what is written is not confirmed") }
    if members.contains(where: { $0.log.end != leader.log.end }) {
      violate("the leader is not followed")
    }
  }
}

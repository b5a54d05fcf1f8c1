import Testing

/// Nodes of a leaderless shard, with everything that can go wrong between them, from seeds:
///
///     SimulatedGroup.run(seed: 4711, nodes: 3)
@Suite("A simulated leaderless shard") struct GroupSimulationTests {
  private static func run(_ seeds: Range<UInt64>, nodes: Int) {
    var sum = SimulatedGroup.Outcome()
    for seed in seeds {
      let outcome = SimulatedGroup.run(seed: seed, nodes: nodes)
      if let violation = outcome.violation {
        Issue.record("seed \(seed) of \(nodes) nodes: \(violation)")
        return
      }
      sum.writes += outcome.writes
      sum.siblings += outcome.siblings
      sum.deletions += outcome.deletions
      sum.expired += outcome.expired
      sum.crashes += outcome.crashes
      sum.emptied += outcome.emptied
      sum.absorbed += outcome.absorbed
      sum.mostSiblings = max(sum.mostSiblings, outcome.mostSiblings)
    }
    // Faults that keep everything from happening would find nothing.
    let count = seeds.count
    #expect(sum.writes > 10 * count && sum.siblings > count / 10 && sum.deletions > count)
    #expect(sum.expired > count / 50 && sum.crashes > count && sum.emptied > count / 4)
    #expect(sum.absorbed > count / 20)
    #expect(sum.mostSiblings <= 40)
  }

  @Test(
    "of three nodes comes to one state, and loses and brings back nothing",
    arguments: 0..<10 as Range<UInt64>)
  func three(part: UInt64) { Self.run(part * 100..<(part + 1) * 100, nodes: 3) }

  @Test("of five nodes does, too", arguments: 0..<10 as Range<UInt64>)
  func five(part: UInt64) { Self.run(part * 40..<(part + 1) * 40, nodes: 5) }
}

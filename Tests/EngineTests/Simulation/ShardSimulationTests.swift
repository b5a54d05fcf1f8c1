import Testing

/// Members of a shard, with everything that can go wrong between them, from seeds.
///
/// A seed that fails is run again with a trace, which is part of what is reported:
///
///     SimulatedShard(seed: 4711, nodes: 3, isTracing: true).run()
@Suite("A simulated shard") struct ShardSimulationTests {
  /// So many lines of a trace are shown, the last.
  private static let traceMax = 80

  private static func explain(_ outcome: SimulatedShard.Outcome, nodes: Int) -> Comment {
    let again = SimulatedShard(seed: outcome.seed, nodes: nodes, isTracing: true).run()
    return """
      seed \(outcome.seed) of \(nodes) nodes: \(outcome.violation ?? "")
      \(again.trace.suffix(traceMax).joined(separator: "\n"))
      """
  }

  /// Runs seeds, and shows the first that fails.
  private static func run(_ seeds: Range<UInt64>, nodes: Int) {
    var (acknowledged, epochs, rewinds, reads) = (0, 0, 0, 0)
    for seed in seeds {
      let outcome = SimulatedShard(seed: seed, nodes: nodes).run()
      guard outcome.violation == nil else {
        Issue.record(explain(outcome, nodes: nodes))
        return
      }
      acknowledged += outcome.acknowledged
      epochs += outcome.epochs
      rewinds += outcome.rewinds
      reads += outcome.reads
    }
    // Faults that keep everything from happening would find nothing.
    let count = seeds.count
    #expect(
      acknowledged > 4 * count && epochs > 3 * count && rewinds > count / 5 && reads > count / 4)
  }

  @Test(
    "of three nodes loses nothing that was confirmed, becomes one log again, and can be led",
    arguments: 0..<20 as Range<UInt64>)
  func three(part: UInt64) { Self.run(part * 1_000..<(part + 1) * 1_000, nodes: 3) }

  @Test("of five nodes does, too", arguments: 0..<20 as Range<UInt64>)
  func five(part: UInt64) { Self.run(part * 500..<(part + 1) * 500, nodes: 5) }

  @Test("from one seed is the same every time", arguments: [3, 5])
  func repeated(nodes: Int) {
    for seed in 0..<20 as Range<UInt64> {
      let first = SimulatedShard(seed: seed, nodes: nodes, isTracing: true).run()
      let second = SimulatedShard(seed: seed, nodes: nodes, isTracing: true).run()
      #expect(first.trace == second.trace && first.steps == second.steps && !first.trace.isEmpty)
    }
  }

  @Test("counts no acknowledgement that is of another history")
  func otherHistories() {
    #expect(SimulatedShard.runOtherHistories(nil).violation == nil)
    let wrong = SimulatedShard.runOtherHistories(.countsOtherHistories)
    #expect(wrong.violation?.contains("is confirmed, as was that of epoch") == true)
  }

  @Test(
    "whose promotion came to nothing behind its promises is led again by itself",
    arguments: ScriptedVacancy.allCases)
  func vacancy(_ script: ScriptedVacancy) {
    let outcome = SimulatedShard.run(script)
    #expect(outcome.violation == nil, "\(outcome.trace.suffix(60).joined(separator: "\n"))")
  }

  @Test("with a wrong rule breaks a promise", arguments: SimulationMutant.foundBySeeds)
  func mutants(mutant: SimulationMutant) {
    if mutant == .confirmsOlderEpochs {
      #expect(SimulatedShard.runOlderEpochs(nil).violation == nil)
      let wrong = SimulatedShard.runOlderEpochs(mutant)
      if wrong.violation?.contains("is confirmed, as was that of epoch") == true { return }
    }
    // Some rules matter where all members have to have a write, others where few have.
    let shapes: [(nodes: Int, quorum: Int?)] = [(3, nil), (5, nil), (3, 3), (5, 4)]
    let found = (0..<60_000 as Range<UInt64>).contains { seed in
      let (nodes, quorum) = shapes[Int(seed) % shapes.count]
      let wrong = SimulatedShard(seed: seed, nodes: nodes, writeQuorum: quorum, mutant: mutant)
      guard wrong.run().violation != nil else { return false }
      // By the rule, and by nothing else.
      let right = SimulatedShard(seed: seed, nodes: nodes, writeQuorum: quorum)
      return right.run().violation == nil
    }
    #expect(found, "no seed finds it")
  }
}

import Glibc
import LanePair
import SimulatedDisk
import TemporaryFiles
import Testing

@Suite struct LanePairTests {
  /// Connections that one pair of nodes serves; then there is a new one, so that a find is small.
  private static let connectionsPerPair = 16
  /// Pairs of a run of each seed; `LANE_ROUNDS` changes it.
  private static var rounds: Int {
    getenv("LANE_ROUNDS").flatMap { Int(String(cString: $0)) } ?? 80
  }

  @Test(arguments: [0, 1, 2, 3] as [UInt64])
  func bothLanesSayAndDoTheSame(seed: UInt64) async throws {
    let directory = TemporaryDirectory()
    for round in 0..<Self.rounds {
      guard try run(seed: seed, round: round, in: directory) else { return }
      // The tests that wait for a node need a thread, too.
      await Task.yield()
    }
  }

  /// One pair, from its start to its end on this thread, which it belongs to.
  ///
  /// - Returns: false when there was a difference.
  private func run(seed: UInt64, round: Int, in directory: TemporaryDirectory) throws -> Bool {
    var grammar = RequestGrammar(seed: seed << 32 | UInt64(round))
    let pair = try LanePair(in: directory.path)
    for connection in 0..<Self.connectionsPerPair {
      let exchange = exchange(&grammar)
      do {
        try pair.compare(exchange)
        if connection == Self.connectionsPerPair - 1 { try pair.compareStates() }
      } catch {
        Issue.record(
          """
          seed \(seed), round \(round), connection \(connection): \(error)
          asked, cut at \(exchange.cuts), schedule \(exchange.schedule), \
          \(exchange.endsInput ? "ended" : "not ended"): \
          \(String(decoding: exchange.bytes, as: UTF8.self).debugDescription)
          """)
        return false
      }
    }
    try pair.close()
    return true
  }

  private func exchange(_ grammar: inout RequestGrammar) -> Exchange {
    let bytes = grammar.connection()
    let cuts = (0..<grammar.number(below: 6)).map { _ in grammar.number(below: bytes.count + 1) }
    return Exchange(
      bytes, cuts: cuts, endsInput: grammar.number(below: 3) == 0,
      schedule: UInt64(grammar.number(below: 1 << 30)))
  }
}

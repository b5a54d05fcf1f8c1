import Engine
import Testing
import WAL

@Suite("Succession") struct SuccessionTests {
  private static let numbers: [String: UInt64] = ["a": 1, "b": 2, "c": 3]

  /// Node `name` of a, b and c, of which the configuration says that a leads.
  private func succession(of name: String) -> Succession {
    Succession(
      node: Self.numbers[name]!, configuredLeader: name == "a" ? nil : "a",
      others: Self.numbers.filter { $0.key != name }.sorted { $0.key < $1.key }
        .map { (address: $0.key, node: $0.value) })
  }

  private func standing(
    _ number: UInt64, _ node: String, _ sequence: UInt64, origin: UInt64 = 7
  ) -> Succession.Standing {
    Succession.Standing(
      origin: origin, epoch: Epoch(number: number, node: Self.numbers[node] ?? 99),
      sequence: sequence)
  }

  private func report(
    _ name: String, _ standing: Succession.Standing?, leads: Bool = false
  ) -> Succession.Report {
    Succession.Report(
      address: name, node: Self.numbers[name]!, isLeading: leads, standing: standing)
  }

  @Test("has the configured leader begin the log where nobody has one, and the others follow it")
  func nothing() {
    let empty = [report("b", nil), report("c", nil)]
    #expect(succession(of: "a").verdict(own: nil, owesEpoch: false, reports: empty) == .create)
    #expect(succession(of: "a").verdict(own: nil, owesEpoch: false, reports: []) == .create)
    #expect(
      succession(of: "b").verdict(own: nil, owesEpoch: false, reports: []) == .follow("a"))
  }

  @Test("has who led last go on, in a new epoch only where it may have lost something")
  func goesOn() {
    let a = succession(of: "a")
    let own = standing(1, "a", 10)
    let reports = [report("b", standing(1, "a", 10)), report("c", standing(1, "a", 4))]
    #expect(
      a.verdict(own: own, owesEpoch: false, reports: reports) == .lead(inNewEpoch: false))
    #expect(a.verdict(own: own, owesEpoch: true, reports: reports) == .lead(inNewEpoch: true))
    #expect(a.verdict(own: own, owesEpoch: true, reports: []) == .lead(inNewEpoch: true))
  }

  @Test("has it fetch what the one with the most has more of, all of it too")
  func fetches() {
    let a = succession(of: "a")
    let reports = [report("b", standing(1, "a", 12)), report("c", standing(1, "a", 14))]
    for own in [standing(1, "a", 10), nil] {
      for owesEpoch in [true, false] {
        #expect(
          a.verdict(own: own, owesEpoch: owesEpoch, reports: reports)
            == .fetch(from: "c", through: standing(1, "a", 14)))
      }
    }
    // A shorter log of a higher epoch is more.
    let higher = reports + [report("b", standing(2, "a", 11))]
    #expect(
      a.verdict(own: standing(1, "a", 20), owesEpoch: false, reports: higher)
        == .fetch(from: "b", through: standing(2, "a", 11)))
  }

  @Test("has a node follow who leads in the highest epoch, the configured leader too")
  func follows() {
    let reports = [
      report("b", standing(2, "b", 9), leads: true), report("c", standing(1, "a", 30)),
    ]
    for own in [standing(1, "a", 40), standing(2, "b", 9), nil] {
      #expect(
        succession(of: "a").verdict(own: own, owesEpoch: true, reports: reports) == .follow("b"))
    }
  }

  @Test("has a node wait for who led last, though another still leads in an older epoch")
  func waits() {
    let stale = [report("a", standing(1, "a", 90), leads: true)]
    #expect(
      succession(of: "c").verdict(own: standing(2, "b", 9), owesEpoch: false, reports: stale)
        == .follow("b"))
    #expect(
      succession(of: "a").verdict(
        own: standing(1, "a", 90), owesEpoch: false, reports: [report("c", standing(2, "b", 9))])
        == .follow("b"))
    #expect(
      succession(of: "b").verdict(own: standing(2, "b", 9), owesEpoch: false, reports: stale)
        == .lead(inNewEpoch: false))
  }

  @Test("has the configured leader inherit the epoch of a node that is not there any more")
  func inherits() {
    let own = standing(4, "gone", 10)
    #expect(
      succession(of: "a").verdict(own: own, owesEpoch: false, reports: [])
        == .lead(inNewEpoch: true))
    #expect(
      succession(of: "b").verdict(own: own, owesEpoch: false, reports: []) == .follow("a"))
  }

  @Test("takes nothing from another log")
  func anotherLog() {
    let other = [report("b", standing(3, "b", 99, origin: 8), leads: true)]
    #expect(
      succession(of: "a").verdict(own: standing(1, "a", 2), owesEpoch: false, reports: other)
        == .lead(inNewEpoch: false))
  }
}

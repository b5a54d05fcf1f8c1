import Engine
import Testing
import WAL

@Suite("A shard whose promises came to nothing") struct VacancyTests {
  private static let second: UInt64 = 1_000_000_000

  private static func own(
    promised: Epoch?, log: Epoch, isLeading: Bool = false
  ) -> Vacancy.Own {
    Vacancy.Own(
      voter: Voter(promised: promised, logEpoch: log), node: 7, isLeading: isLeading)
  }

  private static func report(
    _ epoch: Epoch, isLeading: Bool = false, promised: Epoch? = nil, isTakingOver: Bool = false
  ) -> Succession.Report {
    Succession.Report(
      address: "b", node: 8, isLeading: isLeading,
      standing: Succession.Standing(origin: 1, epoch: epoch, sequence: 10), promised: promised,
      isTakingOver: isTakingOver)
  }

  private static func epoch(_ number: UInt64, _ node: UInt64 = 7) -> Epoch {
    Epoch(number: number, node: node)
  }

  /// How many seconds it takes until this node asks for promises; nil where that is more than a minute.
  private static func seconds(
    _ own: Vacancy.Own?, _ reports: [Succession.Report], _ vacancy: inout Vacancy
  ) -> UInt64? {
    for tenth in 0..<600 as Range<UInt64> {
      if vacancy.look(own, reports: reports, now: tenth * second / 10, jitter: 0) {
        return tenth / 10
      }
    }
    return nil
  }

  private static func seconds(
    _ own: Vacancy.Own?, _ reports: [Succession.Report]
  ) -> UInt64? {
    var vacancy = Vacancy()
    return seconds(own, reports, &vacancy)
  }

  @Test("is led again by who was to lead, or led before, and by nobody else")
  func turns() {
    let waiting = [Self.report(Self.epoch(1, 8))]
    #expect(Self.seconds(Self.own(promised: Self.epoch(2), log: Self.epoch(1, 8)), waiting) == 1)
    #expect(Self.seconds(Self.own(promised: Self.epoch(2, 9), log: Self.epoch(1)), waiting) == 3)
    #expect(
      Self.seconds(Self.own(promised: Self.epoch(2, 9), log: Self.epoch(1, 8)), waiting) == nil)
    #expect(Self.seconds(nil, waiting) == nil)
    // Nobody else has to say anything: the promotion itself asks enough of them.
    #expect(Self.seconds(Self.own(promised: Self.epoch(2), log: Self.epoch(1, 8)), []) == 1)
    // What was promised has begun here.
    #expect(Self.seconds(Self.own(promised: Self.epoch(2), log: Self.epoch(2)), waiting) == nil)
    #expect(Self.seconds(Self.own(promised: nil, log: Self.epoch(1)), waiting) == nil)
  }

  @Test("is left alone where somebody leads, is about to, or has begun what was promised")
  func occupied() {
    let own = Self.own(promised: Self.epoch(2), log: Self.epoch(1))
    for report in [
      Self.report(Self.epoch(1, 8), isLeading: true),
      Self.report(Self.epoch(3, 8), isLeading: true), Self.report(Self.epoch(2)),
      Self.report(Self.epoch(3, 8)), Self.report(Self.epoch(1, 8), isTakingOver: true),
    ] {
      #expect(Self.seconds(own, [Self.report(Self.epoch(1, 8)), report]) == nil, "\(report)")
    }
  }

  @Test("has a leader that some cannot follow lead above what they have promised")
  func leader() {
    let own = Self.own(promised: nil, log: Self.epoch(1), isLeading: true)
    let behind = Self.report(Self.epoch(1), promised: Self.epoch(2, 8))
    #expect(Self.seconds(own, [behind]) == 3)
    #expect(Self.seconds(own, [Self.report(Self.epoch(1))]) == nil)
    #expect(Self.seconds(own, []) == nil)
    #expect(
      Self.seconds(own, [Self.report(Self.epoch(1), promised: Self.epoch(1))]) == nil)
    // That epoch has begun: this leader is replaced.
    #expect(Self.seconds(own, [behind, Self.report(Self.epoch(2, 8))]) == nil)
    #expect(
      Self.seconds(
        own, [Self.report(Self.epoch(1), promised: Self.epoch(2, 8), isTakingOver: true)]) == nil)
  }

  @Test("is waited for longer each time, and not from the beginning where it is interrupted")
  func pauses() {
    let own = Self.own(promised: Self.epoch(2), log: Self.epoch(1, 8))
    var vacancy = Vacancy()
    var found: [UInt64?] = []
    for _ in 0..<8 { found.append(Self.seconds(own, [], &vacancy)) }
    #expect(found == [1, 2, 4, 8, 16, 32, 32, 32])
    // Somebody is about to lead, and then is not.
    let other = Self.report(Self.epoch(1, 8), promised: Self.epoch(2), isTakingOver: true)
    var isDue = vacancy.look(own, reports: [other], now: 0, jitter: 0)
    #expect(!isDue)
    #expect(Self.seconds(own, [], &vacancy) == 32)
    // It is over: the next one begins anew.
    let led = Self.own(promised: Self.epoch(2), log: Self.epoch(3, 8))
    isDue = vacancy.look(led, reports: [], now: 0, jitter: 0)
    #expect(!isDue)
    let next = Self.own(promised: Self.epoch(4), log: Self.epoch(3, 8))
    #expect(Self.seconds(next, [], &vacancy) == 1)
  }
}

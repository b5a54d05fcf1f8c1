import Bench
import Testing

struct ArrivalScheduleTests {
  @Test("Uniform arrivals keep their distance, without a drift")
  func uniform() {
    var random = RandomSource(seed: 1)
    var schedule = ArrivalSchedule(.uniform, rate: 3, start: 1_000, phase: 0.5)
    #expect(schedule.next == 1_000 + 166_666_666)
    for _ in 0..<3_000_000 { schedule.advance(&random) }
    // A million seconds later.
    #expect(schedule.next == 1_000 + 1_000_000_000_000_000 + 166_666_666)
  }

  @Test("Poisson arrivals come at their rate, and as often close together as the law says")
  func poisson() {
    var random = RandomSource(seed: 2)
    var schedule = ArrivalSchedule(.poisson, rate: 1_000, start: 0)
    var last = schedule.next
    var short = 0
    for _ in 0..<1_000_000 {
      schedule.advance(&random)
      // Less than half of the mean: 1 - e^-0.5.
      if schedule.next - last < 500_000 { short += 1 }
      last = schedule.next
    }
    #expect(abs(Double(last) / 1e12 - 1) < 0.01)
    #expect(abs(Double(short) / 1e6 - 0.393_469) < 0.005)
  }
}

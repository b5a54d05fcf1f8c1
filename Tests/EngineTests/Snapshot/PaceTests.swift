import Engine
import Testing
import WAL

@Suite("The pace of background work") struct PaceTests {
  /// Has the processor for 10 ms, a few microseconds at a time.
  ///
  /// - Returns: how long that took.
  private func work(_ pace: Pace) throws -> Duration {
    let clock = ContinuousClock()
    let begin = clock.now
    let used = threadNanoseconds()
    while threadNanoseconds() - used < 10_000_000 { try pace.rest() }
    return clock.now - begin
  }

  @Test("rests eight times as long as it has worked, a quarter of a millisecond at a time")
  func rests() throws {
    // The last piece, and what the clock's grain leaves out.
    #expect(try work(Pace(bytesPerSecond: 1 << 20)) > .milliseconds(40))
  }

  @Test("ends at the next step once it is cancelled")
  func cancelled() throws {
    for pace in [Pace(bytesPerSecond: 1 << 20), Pace()] {
      try pace.rest()
      pace.cancel()
      #expect(throws: WALError.cancelled) { try pace.rest() }
      #expect(throws: WALError.cancelled) { try pace.spent(1) }
    }
  }

  @Test("does not rest while it is below an eighth of its rate")
  func behind() throws {
    // Two seconds a look: nothing is done, and the rate is never reached.
    let time = Ticks()
    let clock = LogClock(wallMilliseconds: { 0 }, monotonicNanoseconds: { time.next() })
    let pace = Pace(bytesPerSecond: 1 << 20, clock: clock)
    var shortest = Duration.seconds(60)
    // Whatever else the machine does, one of the tries is not held up: with rests each takes 60 ms.
    for _ in 0..<20 { shortest = min(shortest, try work(pace)) }
    #expect(shortest < .milliseconds(40))
  }
}

private final class Ticks: @unchecked Sendable {
  // One thread's.
  private var now: UInt64 = 1
  func next() -> UInt64 {
    now += 2_000_000_000
    return now
  }
}

import Terminal
import Testing
import WAL

@Suite("Progress in a log") struct ProgressLogTests {
  @Test("is a line again and again until it is ended")
  func lines() {
    let said = Monitor<[String]>([])
    let log = ProgressLog(
      "splitting", everySeconds: 0.005, say: { line in said.signal { $0.append(line) } },
      progress: { (25_000_000, 100_000_000) })
    let first = said.wait { $0.count >= 3 ? $0[0] : nil }
    #expect(first.hasPrefix("splitting [######..................] 25 %, 25 MB, "))
    #expect(first.hasSuffix(" left"))
    log.end()
    let count = said.withLock { $0.count }
    #expect(said.withLock { $0.count } == count)
  }

  @Test("says nothing of what is done sooner")
  func soon() {
    let said = Monitor<[String]>([])
    let log = ProgressLog(
      "splitting", everySeconds: 3_600, say: { line in said.signal { $0.append(line) } },
      progress: { (1, 2) })
    log.end()
    #expect(said.withLock { $0 } == [])
  }
}

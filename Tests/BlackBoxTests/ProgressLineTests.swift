import Terminal
import Testing

@Suite("A line of progress") struct ProgressLineTests {
  private let line = ProgressLine("copying")

  @Test("has a bar, bytes, rate and the time that is left")
  func whole() {
    #expect(
      line.text(done: 250_000_000, total: 1_000_000_000, seconds: 5)
        == "copying [######..................] 25 %, 250 MB, 50 MB/s, 15 s left")
    #expect(
      line.text(done: 30_000_000, total: 60_000_000_000, seconds: 10)
        == "copying [........................] 0 %, 30 MB, 3000 kB/s, 5 h 33 min left")
  }

  @Test("says what it can where the total is not known, or was too small an estimate")
  func estimates() {
    #expect(line.text(done: 12_345, total: 0, seconds: 2) == "copying 12 kB, 6172 B/s")
    #expect(
      line.text(done: 20, total: 10, seconds: 1)
        == "copying [########################] 100 %, 20 B, 20 B/s")
    #expect(line.text(done: 0, total: 0, seconds: 0) == "copying 0 B, 0 B/s")
  }
}

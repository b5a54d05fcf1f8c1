import Testing
import WAL

@Suite("Filters") struct FilterTests {
  private func fixture() throws -> LogFixture {
    let log = try LogFixture()
    try log.put(100)
    return log
  }

  private func sequences(_ outcome: Outcome) -> [Int] {
    outcome.lines.compactMap { Int($0.split(separator: " ")[0]) }
  }

  @Test("--from-seq and --to-seq bound the sequence numbers, both included")
  func range() async throws {
    let log = try fixture()
    #expect(try log.segments().count > 2)
    let outcome = try await log.dump(log.path, "--from-seq", "57", "--to-seq", "61")
    #expect(sequences(outcome) == [57, 58, 59, 60, 61])
    #expect(outcome.status == 0)
  }

  @Test("a bound inside a frame cuts it")
  func rangeInsideFrame() async throws {
    let log = try LogFixture()
    try log.write { writer in
      var frame = FrameBuilder()
      for index in 1...10 {
        frame.append(.put, key: bytes("k\(index)").span.bytes, value: RawSpan())
      }
      try writer.commit(&frame)
    }
    let outcome = try await log.dump(log.path, "--from-seq", "4", "--to-seq", "6")
    #expect(sequences(outcome) == [4, 5, 6])
  }

  @Test("--to-seq keeps from looking at what is behind it")
  func boundedDamage() async throws {
    let log = try fixture()
    let place = try log.frames()[50]
    try log.flip(place.file, at: place.offset + 80)
    #expect(try await log.dump(log.path, "--to-seq", "50").status == 0)
    #expect(try await log.dump(log.path, "--to-seq", "51").status == 3)
  }

  @Test("--from-seq behind the end prints nothing")
  func behindEnd() async throws {
    let log = try fixture()
    let outcome = try await log.dump(log.path, "--from-seq", "1000")
    #expect(outcome.output == "")
    #expect(outcome.status == 0)
  }

  @Test("--key finds one key, --prefix its relatives")
  func keys() async throws {
    let log = try fixture()
    #expect(sequences(try await log.dump(log.path, "--key", "key-9")) == [10])
    #expect(
      sequences(try await log.dump(log.path, "--prefix", "key-9")) == [10] + Array(91...100))
    #expect(
      sequences(try await log.dump(log.path, "--prefix", "key-9", "--from-seq", "99"))
        == [99, 100])
    #expect(sequences(try await log.dump(log.path, "--key", "key")) == [])
  }

  @Test("--type may be given again")
  func types() async throws {
    let log = try fixture()
    #expect(sequences(try await log.dump(log.path, "--type", "epoch")) == [1])
    #expect(
      sequences(try await log.dump(log.path, "--type", "epoch", "--type", "mark")) == [1, 102])
    #expect(try await log.dump(log.path, "--type", "put").lines.count == 100)
  }
}

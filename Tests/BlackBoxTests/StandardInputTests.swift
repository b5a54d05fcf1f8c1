import Foundation
import Testing
import WAL

@Suite("Standard input") struct StandardInputTests {
  private func fixture(closes: Bool = true) throws -> LogFixture {
    let log = try LogFixture()
    try log.put(100, closes: closes)
    return log
  }

  @Test("segments behind each other are the log that they are")
  func whole() async throws {
    let log = try fixture()
    let outcome = try await log.dump("-", input: try log.stream())
    #expect(outcome.status == 0)
    #expect(outcome.output == (try await log.dump(log.path).output))
    let verdict = try await log.dump("-", "--verify", input: try log.stream())
    #expect(verdict.output.hasPrefix("standard input: clean: 102 records in 102 frames and "))
  }

  @Test("filters hold for it too")
  func filtered() async throws {
    let log = try fixture()
    let options = ["--from-seq", "50", "--to-seq", "60", "--prefix", "key-5"]
    let input = try log.stream()
    let outcome = try await Executable.dump.run(["-"] + options, input: input, in: log.directory)
    #expect(outcome.status == 0)
    #expect(outcome.lines.count == 10)
  }

  @Test("a torn end is torn, exit 2")
  func torn() async throws {
    let log = try fixture(closes: false)
    try log.tear(try #require(try log.frames().last), keeping: 90)
    let outcome = try await log.dump("-", input: try log.stream())
    #expect(outcome.status == 2)
    #expect(outcome.lines.count == 100)
    #expect(outcome.errors.contains("sequence number 101: torn write"))
  }

  @Test("corruption is corrupt, exit 3, and what is behind it is printed", arguments: [10, 90])
  func corrupt(byte: UInt64) async throws {
    let log = try fixture()
    let place = try log.frames()[40]
    try log.flip(place.file, at: place.offset + byte)
    let outcome = try await log.dump("-", input: try log.stream())
    #expect(outcome.status == 3)
    #expect(outcome.lines.count == 101)
    #expect(outcome.errors.hasPrefix("standard input: at byte "))
    #expect(outcome.errors.contains("sequence number 41: corrupt"))
  }

  @Test("a segment that is left out is corrupt")
  func missingSegment() async throws {
    let log = try fixture()
    try log.remove(try log.segments()[1])
    let outcome = try await log.dump("-", "--verify", input: try log.stream())
    #expect(outcome.status == 3)
    #expect(outcome.output.contains("are missing"))
    #expect(outcome.lines.count == 1)
  }

  @Test("what is no log is unreadable, exit 1", arguments: ["", "text", "SHIPLOG"])
  func noLog(text: String) async throws {
    let log = try LogFixture()
    let outcome = try await log.dump("-", input: Data(text.utf8))
    #expect(outcome.status == 1)
    #expect(outcome.errors.hasPrefix("wal-dump: standard input: "))
  }
}

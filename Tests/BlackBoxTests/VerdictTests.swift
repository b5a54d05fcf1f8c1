import Foundation
import Testing
import WAL

@Suite("Verdict") struct VerdictTests {
  private func fixture(_ count: Int = 100, closes: Bool = true) throws -> LogFixture {
    let log = try LogFixture()
    try log.put(count, closes: closes)
    return log
  }

  @Test("a whole log is clean, in one line, exit 0")
  func clean() async throws {
    let log = try fixture()
    let outcome = try await log.dump(log.path, "--verify")
    #expect(outcome.status == 0)
    #expect(outcome.errors == "")
    #expect(
      outcome.output.hasPrefix(
        "\(log.path): clean: 102 records in 102 frames and \(try log.segments().count) segments, "))
    #expect(outcome.output.contains("sequence numbers 1 to 102, "))
    #expect(outcome.lines.count == 1)
  }

  @Test("a last frame that is half there is torn, exit 2", arguments: [8, 72, 100])
  func torn(keeping count: UInt64) async throws {
    let log = try fixture(closes: false)
    let last = try #require(try log.frames().last)
    try log.tear(last, keeping: count)
    let outcome = try await log.dump(log.path, "--verify")
    #expect(outcome.status == 2)
    #expect(
      outcome.output.hasPrefix(
        "\(last.file): at byte \(last.offset), sequence number 101: torn write"))
    let dump = try await log.dump(log.path)
    #expect(dump.status == 2)
    #expect(dump.lines.count == 100)
    #expect(dump.errors == outcome.output)
  }

  @Test("the same behind a clean stop is corrupt, exit 3")
  func tornBehindCleanStop() async throws {
    let log = try fixture()
    try log.tear(try #require(try log.frames().last), keeping: 40)
    let outcome = try await log.dump(log.path, "--verify")
    #expect(outcome.status == 3)
    #expect(outcome.output.contains("sequence number 102: corrupt"))
  }

  @Test("a changed byte in the middle is corrupt, exit 3, and file, offset and number are named")
  func flippedByte() async throws {
    let log = try fixture()
    let place = try log.frames()[41]
    try log.flip(place.file, at: place.offset + 85)
    let outcome = try await log.dump(log.path, "--verify")
    #expect(outcome.status == 3)
    #expect(outcome.lines.count == 1)
    #expect(
      outcome.output.hasPrefix(
        "\(place.file): at byte \(place.offset), sequence number 42: corrupt"))
  }

  @Test("a changed byte in a frame's header is corrupt as well", arguments: [0, 5, 33, 70])
  func flippedHeader(byte: UInt64) async throws {
    let log = try fixture()
    let place = try log.frames()[41]
    try log.flip(place.file, at: place.offset + byte)
    let outcome = try await log.dump(log.path, "--verify")
    #expect(outcome.status == 3)
    #expect(outcome.output.contains("sequence number 42: corrupt"))
  }

  @Test("records behind corruption are printed, and every corrupt place is named")
  func recordsBehindCorruption() async throws {
    let log = try fixture()
    let frames = try log.frames()
    for index in [20, 60] { try log.flip(frames[index].file, at: frames[index].offset + 85) }
    let outcome = try await log.dump(log.path, "--type", "put")
    #expect(outcome.status == 3)
    #expect(outcome.lines.count == 98)
    #expect(outcome.output.contains("\"key-100\""))
    #expect(!outcome.output.contains("\"key-20\""))
    let named = outcome.errors.split(separator: "\n")
    #expect(named.count == 2)
    #expect(named[0].contains("sequence number 21: "))
    #expect(named[1].contains("sequence number 61: "))
  }

  @Test("a last segment that was deleted behind a clean stop is corrupt")
  func lastSegmentDeleted() async throws {
    let log = try fixture()
    try log.remove(try #require(try log.segments().last))
    let outcome = try await log.dump(log.path, "--verify")
    #expect(outcome.status == 3)
    #expect(outcome.output.contains("but its records up to 102 were on the disk"))
  }

  @Test("all segments deleted behind a clean stop is corrupt")
  func allSegmentsDeleted() async throws {
    let log = try fixture()
    for segment in try log.segments() { try log.remove(segment) }
    let outcome = try await log.dump(log.path, "--verify")
    #expect(outcome.status == 3)
    #expect(outcome.output.contains("sequence number 1: corrupt"))
  }

  @Test("a segment deleted in the middle is corrupt, and the rest is printed")
  func middleSegmentDeleted() async throws {
    let log = try fixture()
    let segments = try log.segments()
    let lost = try log.frames().filter { $0.file == segments[1] }.map(\.header.firstSequence)
    try log.remove(segments[1])
    let outcome = try await log.dump(log.path)
    #expect(outcome.status == 3)
    #expect(outcome.errors.contains("sequence number \(lost[0]) to \(lost.last!): corrupt"))
    #expect(outcome.lines.count == 102 - lost.count)
  }

  @Test("a first segment that is missing without a snapshot is corrupt; with one it is not")
  func firstSegmentDeleted() async throws {
    let log = try fixture()
    try log.remove(try log.segments()[0])
    let outcome = try await log.dump(log.path, "--verify")
    #expect(outcome.status == 3)
    #expect(outcome.output.contains("sequence number 1: corrupt"))
    #expect(outcome.output.contains("are missing"))
    #expect(try await log.dump(log.path, "--from-seq", "90").status == 0)

    try SystemFileSystem().makeDirectory(log.path + "/snapshots")
    try Data("snapshot".utf8).write(to: URL(fileURLWithPath: log.path + "/snapshots/1"))
    #expect(try await log.dump(log.path, "--verify").status == 0)
  }

  @Test("a segment of another log is corrupt, and what is behind it is printed")
  func foreignSegment() async throws {
    let log = try fixture()
    let other = try LogFixture("other", in: log.directory)
    try other.put(100, origin: 42)
    let file = try log.segments()[1]
    try log.remove(file)
    try FileManager.default.copyItem(atPath: try other.segments()[1], toPath: file)
    let outcome = try await log.dump(log.path)
    #expect(outcome.status == 3)
    #expect(outcome.errors.contains("\(file): at byte 0"))
    #expect(outcome.errors.contains("the segment is of another log"))
    #expect(outcome.output.contains("\"key-100\""))
  }

  @Test("a damaged header of the first segment hides that segment only")
  func firstHeader() async throws {
    let log = try fixture()
    try log.flip(try log.segments()[0], at: 20)
    let outcome = try await log.dump(log.path)
    #expect(outcome.status == 3)
    #expect(outcome.output.contains("\"key-100\""))
  }

  @Test("a truncated last segment behind a clean stop is corrupt")
  func truncatedSegment() async throws {
    let log = try fixture()
    let last = try #require(try log.frames().last)
    let handle = try FileHandle(forUpdating: URL(fileURLWithPath: last.file))
    try handle.truncate(atOffset: last.offset + 30)
    try handle.close()
    #expect(try await log.dump(log.path, "--verify").status == 3)
  }

  @Test("a directory that is in use is said to be")
  func inUse() async throws {
    let log = try fixture()
    let lock = try DirectoryLock(log.path)
    let clean = try await log.dump(log.path, "--verify")
    #expect(clean.status == 0)
    #expect(clean.output.hasSuffix("; in use\n"))
    try log.remove(log.log + "/clean")
    try log.tear(try #require(try log.frames().last), keeping: 40)
    let torn = try await log.dump(log.path, "--verify")
    #expect(torn.status == 2)
    #expect(torn.output.contains("in use"))
    withExtendedLifetime(lock) {}
  }

  @Test("nothing on the disk changes, and files that cannot be written will do")
  func readOnly() async throws {
    let log = try fixture(closes: false)
    try log.tear(try #require(try log.frames().last), keeping: 40)
    func snapshot() throws -> [String: Data] {
      try FileManager.default.subpathsOfDirectory(atPath: log.path).reduce(into: [:]) {
        $0[$1] = FileManager.default.contents(atPath: log.path + "/" + $1)
      }
    }
    for segment in try log.segments() {
      try FileManager.default.setAttributes([.posixPermissions: 0o444], ofItemAtPath: segment)
    }
    let before = try snapshot()
    for options in [[], ["--verify"], ["--stats"], ["--json"]] {
      let outcome = try await Executable.dump.run([log.path] + options, in: log.directory)
      #expect(outcome.status == 2)
    }
    #expect(try snapshot() == before)
  }
}

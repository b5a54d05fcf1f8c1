import Foundation
import Testing
import WAL

@Suite("Paths") struct PathTests {
  private func fixture() throws -> LogFixture {
    let log = try LogFixture()
    try log.put(100)
    return log
  }

  @Test("a data directory, its wal and its segments are the same log")
  func sameLog() async throws {
    let log = try fixture()
    let expected = try await log.dump(log.path).output
    #expect(!expected.isEmpty)
    #expect(try await log.dump(log.log).output == expected)
    #expect(try await log.dump(log.path + "/").output == expected)
    // In any order.
    let segments = try log.segments().reversed()
    let outcome = try await Executable.dump.run(Array(segments), in: log.directory)
    #expect(outcome.output == expected)
    #expect(outcome.status == 0)
  }

  @Test("without a path it is ./data")
  func defaultPath() async throws {
    let log = try fixture()
    #expect(try await log.dump().output == (try await log.dump(log.path).output))
  }

  @Test("one segment of many can be read alone")
  func oneSegment() async throws {
    let log = try fixture()
    let segment = try log.segments()[1]
    let outcome = try await log.dump(segment, "--verify")
    #expect(outcome.status == 0)
    #expect(outcome.output.hasPrefix("\(segment): clean: "))
  }

  @Test("the logs of several origins are read one after the other")
  func leaderless() async throws {
    let log = try LogFixture()
    try SystemFileSystem().makeDirectory(log.path)
    try SystemFileSystem().makeDirectory(log.log)
    for origin in ["000000000000000a", "000000000000000b"] {
      let source = try LogFixture("source-\(origin)", in: log.directory)
      try source.put(2)
      try FileManager.default.moveItem(atPath: source.log, toPath: log.log + "/" + origin)
    }
    let outcome = try await log.dump(log.path, "--verify")
    #expect(outcome.status == 0)
    #expect(outcome.lines.count == 2)
    let text = try await log.dump(log.path, "--type", "put")
    #expect(text.lines.count == 6)
    #expect(text.lines[0] == "# \(log.log)/000000000000000a")
    #expect(try await log.dump(log.path, "--follow").status == 64)
  }

  @Test("what was cut off is read piece by piece")
  func diverged() async throws {
    let log = try LogFixture()
    try log.put(5, closes: false)
    try log.tear(try #require(try log.frames().last), keeping: 100)
    try log.write { try $0.put(bytes("later")) }
    let diverged = log.path + "/diverged"
    let names = try FileManager.default.contentsOfDirectory(atPath: diverged)
    let outcome = try await log.dump(diverged, "--verify")
    #expect(names == ["00000000000000000006-1.wal"])
    #expect(outcome.status == 2)
    #expect(outcome.output.contains("sequence number 6: torn write"))
  }

  @Test("an empty log is said to be empty, exit 0")
  func emptyLog() async throws {
    let log = try LogFixture()
    try SystemFileSystem().makeDirectory(log.path)
    try SystemFileSystem().makeDirectory(log.log)
    let outcome = try await log.dump(log.path)
    #expect(outcome.status == 0)
    #expect(outcome.output == "")
    #expect(outcome.errors.contains("the log is empty"))
    #expect(try await log.dump(log.path, "--verify").status == 0)
  }

  @Test("a path that does not exist is an error, exit 1")
  func missingPath() async throws {
    let log = try LogFixture()
    let outcome = try await log.dump(log.path)
    #expect(outcome.status == 1)
    #expect(outcome.errors.hasPrefix("wal-dump: \(log.path): no such file or directory"))
    #expect(outcome.errors.split(separator: "\n").count == 1)
  }

  @Test("a file or directory that is no log is an error, exit 1")
  func noLog() async throws {
    let directory = try TemporaryDirectory()
    let log = try LogFixture(in: directory)
    try Data("not a log".utf8).write(to: directory.url.appendingPathComponent("file"))
    for path in [directory.path("file"), directory.url.path] {
      let outcome = try await log.dump(path)
      #expect(outcome.status == 1)
      #expect(outcome.errors.hasPrefix("wal-dump: \(path): no"))
      #expect(outcome.output == "")
    }
  }

  @Test("a log of a newer version is unreadable, exit 1")
  func newerVersion() async throws {
    let log = try fixture()
    let file = try log.segments()[0]
    var bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: file)))
    bytes[8] = 2
    let crc = Checksums.plain(bytes[0..<60])
    withUnsafeBytes(of: crc.littleEndian) { bytes.replaceSubrange(60..<64, with: $0) }
    try Data(bytes).write(to: URL(fileURLWithPath: file))
    let outcome = try await log.dump(log.path, "--verify")
    #expect(outcome.status == 1)
    #expect(outcome.errors.contains("A newer version wrote it"))
  }
}

/// CRC-32C bit by bit, independent of the one that is tested.
enum Checksums {
  static func plain(_ bytes: some Sequence<UInt8>) -> UInt32 {
    ~bytes.reduce(UInt32.max) { (crc, byte) in
      (0..<8).reduce(crc ^ UInt32(byte)) { (crc, _) in
        crc & 1 == 1 ? crc >> 1 ^ 0x82F6_3B78 : crc >> 1
      }
    }
  }
}

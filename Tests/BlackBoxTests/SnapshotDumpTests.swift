import Foundation
import Testing
import WAL

@Suite("A dump of a snapshot") struct SnapshotDumpTests {
  /// A log of `key-1` to `key-50`, and a deleted one, folded.
  private func snapshot() async throws -> (log: LogFixture, path: String) {
    let log = try LogFixture()
    try log.write { writer in
      for number in 1...50 {
        try writer.append(
          .put, metadata: RecordMetadata(expiryMilliseconds: number == 9 ? 1_900_000_000_000 : nil),
          key: bytes("key-\(number)"), value: bytes("value-\(number)"))
      }
      try writer.append(.delete, key: bytes("key-3"))
    }
    let outcome = try await Executable.compact.run(["--data-dir", log.path], in: log.directory)
    #expect(outcome.status == 0, "\(outcome.errors)")
    let names = try FileManager.default.contentsOfDirectory(atPath: log.path + "/snapshots")
    #expect(names == ["00000000000000000053.snap"])
    return (log, log.path + "/snapshots/" + names[0])
  }

  @Test("has a line an entry, with filters, values and JSON")
  func lines() async throws {
    let (log, path) = try await snapshot()
    let all = try await log.dump(path)
    #expect(all.status == 0 && all.lines.count == 49 && all.errors == "")
    let one = try await log.dump(path, "--json", "--values", "--key", "key-9")
    #expect(
      one.output.hasPrefix("{\"seq\":10,\"epoch\":1,\"epoch_node\":\"00000000000000a1\",\"time\":"))
    #expect(one.output.contains("\"value\":\"value-9\",\"expiry\":1900000000000,\"crc\":\""))
    #expect(try await log.dump(path, "--prefix", "key-1").lines.count == 11)
    #expect(try await log.dump(path, "--from-seq", "11", "--to-seq", "20").lines.count == 10)
    #expect(try await log.dump(path, "--type", "delete").output == "")
    let stats = try await log.dump(path, "--stats", "--json")
    #expect(
      stats.output.contains("\"entries\":49,\"blocks\":1,") && stats.output.contains("\"keys\":49"))
    #expect(stats.output.contains("\"sequence\":53,"))
    let verdict = try await log.dump(path, "--verify")
    #expect(verdict.status == 0 && verdict.output.hasPrefix("\(path): clean: 49 keys in 1 block, "))
  }

  @Test("a data directory stands for its snapshots where it is verified or counted")
  func directory() async throws {
    let (log, path) = try await snapshot()
    let verdict = try await log.dump(log.path, "--verify")
    #expect(verdict.status == 0 && verdict.lines.count == 2 && verdict.lines[1].hasPrefix(path))
    #expect(try await log.dump(log.path, "--stats").output.contains("\(path)\n"))
    let plain = try await log.dump(log.path)
    #expect(plain.status == 0 && plain.output == "")
    #expect(plain.errors.contains("the log is empty") && plain.errors.contains(path))
    #expect(try await log.dump(log.path + "/snapshots").lines.count == 49)
  }

  @Test("any flipped byte is named with file and offset, exit 3")
  func flipped() async throws {
    let (log, path) = try await snapshot()
    let size = try Data(contentsOf: URL(fileURLWithPath: path)).count
    for offset in stride(from: 8, to: size, by: 61) where !(8..<12).contains(offset) {
      try log.flip(path, at: UInt64(offset))
      let outcome = try await log.dump(path, "--verify")
      #expect(outcome.status == 3, "byte \(offset): \(outcome.output) \(outcome.errors)")
      #expect(outcome.output.hasPrefix("\(path): at byte "), "byte \(offset): \(outcome.output)")
      try log.flip(path, at: UInt64(offset))
    }
    #expect(try await log.dump(path, "--verify").status == 0)
    try log.flip(path, at: 400)
    #expect(try await log.dump(log.path, "--verify").status == 3)
  }

  @Test("one that was cut short is corrupt, and a later version's is not read")
  func shortAndLater() async throws {
    let (log, path) = try await snapshot()
    let whole = try Data(contentsOf: URL(fileURLWithPath: path))
    for count in [0, 7, 40, 200, whole.count - 1] {
      let short = log.directory.path("short-\(count).snap")
      try whole.prefix(count).write(to: URL(fileURLWithPath: short))
      let outcome = try await log.dump(short)
      #expect(outcome.status == 3 && outcome.output == "", "\(count): \(outcome.errors)")
      #expect(outcome.errors.hasPrefix("\(short): at byte "))
    }
    // Whole, which its checksum shows: with one bit flipped it would be damaged.
    var later = Array(whole)
    later[8] = 2
    let count = later[12..<16].reversed().reduce(0) { $0 << 8 | Int($1) }
    let covered = Array(later[..<(count - 4)])
    let crc = Checksum.unseeded(covered.span.bytes)
    let sealed = withUnsafeBytes(of: crc.littleEndian) { Array($0) }
    later.replaceSubrange(count - 4..<count, with: sealed)
    let other = log.directory.path("later.snap")
    try Data(later).write(to: URL(fileURLWithPath: other))
    let outcome = try await log.dump(other, "--verify")
    #expect(outcome.status == 1 && outcome.errors.contains("A newer version wrote it"))
    for mode in [["--follow"], ["--diff", log.path]] {
      let outcome = try await Executable.dump.run([path] + mode, in: log.directory)
      #expect(outcome.status == 64)
    }
  }
}

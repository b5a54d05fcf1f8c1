import Foundation
import Testing
import WAL

@Suite("A writer that is killed") struct KilledWriterTests {
  /// A generator that gives the same numbers in every run.
  private struct Numbers: RandomNumberGenerator {
    var state: UInt64

    /// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014).
    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var mixed = state
      mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
      mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
      return mixed ^ (mixed >> 31)
    }
  }

  @Test("keeps everything that it acknowledged, and its log is never corrupt")
  func killedAtAnyMoment() async throws {
    let log = try LogFixture()
    var numbers = Numbers(state: 7)
    var acknowledged: [UInt64: String] = [:]
    for round in 1...15 {
      let writer = try RunningProcess(
        .writer,
        [
          "--data-dir", log.path, "--segment-bytes", "65536",
          "--batch", "\(Int.random(in: 1...20, using: &numbers))",
          "--value-bytes", "\(Int.random(in: 20...3_000, using: &numbers))",
          "--sync", ["always", "none", "interval:2"][round % 3],
          // Where nothing waits for the disk, a busy machine would fill it before the kill comes.
          "--delay-ms", round % 3 == 0 ? "0" : "1",
        ], in: log.directory)
      let wanted = Int.random(in: 0...60, using: &numbers)
      _ = try await writer.output { $0.utf8.count(where: { $0 == 10 }) >= wanted }
      writer.send(SIGKILL)
      let said = try await writer.outcome()
      #expect(said.errors == "")
      var latest: [UInt64: String] = [:]
      // A last line without an end was cut off with the process.
      for line in said.output.split(separator: "\n", omittingEmptySubsequences: false).dropLast() {
        let words = line.split(separator: " ")
        latest[try #require(UInt64(words[1]))] = String(words[2])
      }
      try await check(log, latest, "round \(round)")
      acknowledged.merge(latest) { $1 }
    }
    #expect(acknowledged.count > 100)
    try await check(log, acknowledged, "in the end")
  }

  private func check(
    _ log: LogFixture, _ acknowledged: [UInt64: String], _ moment: String
  ) async throws {
    // Killed before it had made the directory.
    guard FileManager.default.fileExists(atPath: log.log) else {
      #expect(acknowledged.isEmpty)
      return
    }
    let verdict = try await log.dump(log.path, "--verify")
    #expect([0, 2].contains(verdict.status), "\(moment): \(verdict.output)")
    guard let first = acknowledged.keys.min() else { return }
    let dump = try await log.dump(
      log.path, "--json", "--type", "put", "--from-seq", "\(first)")
    var keys: [UInt64: String] = [:]
    for line in dump.lines {
      let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
      let sequence = try #require(object?["seq"] as? UInt64)
      keys[sequence] = object?["key"] as? String
    }
    for (sequence, key) in acknowledged {
      #expect(keys[sequence] == key, "\(moment): sequence number \(sequence)")
    }
  }
}

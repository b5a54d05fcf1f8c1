import Foundation
import Testing
import WAL

@Suite("Statistics") struct StatisticsTests {
  private func fixture() throws -> LogFixture {
    let log = try LogFixture()
    try log.write(segmentBytes: 4 << 10) { writer in
      var frame = FrameBuilder()
      for index in 1...9 {
        frame.append(.put, key: bytes("key-\(index)").span.bytes, value: bytes("v").span.bytes)
      }
      try writer.commit(&frame)
      try writer.put(bytes("key-1"), [UInt8](repeating: 7, count: 3_000))
      try writer.put(bytes("key-2"), [UInt8](repeating: 7, count: 2_000))
      try writer.append(.delete, key: bytes("key-3"))
      try writer.append(
        .put, metadata: RecordMetadata(expiryMilliseconds: 1), key: bytes("key-4"))
      try writer.append(
        .put, metadata: RecordMetadata(expiryMilliseconds: 1 << 60), key: bytes("key-5"))
      try writer.startEpoch(Epoch(number: 2, node: 1), reason: .promoted)
    }
    return log
  }

  @Test("--stats counts records, frames, bytes, keys and types")
  func text() async throws {
    let log = try fixture()
    let outcome = try await log.dump(log.path, "--stats")
    let frameBytes = try log.frames().reduce(0) { $0 + $1.header.frameBytes }
    let lines = outcome.lines.dropFirst().map {
      $0.split(separator: " ").joined(separator: " ")
    }
    #expect(outcome.lines[0] == log.path)
    for line in [
      "records 17", "frames 9", "segments 2", "bytes \(frameBytes)", "records per frame 1.8",
      "keys 9", "keys live 7", "value bytes max 3000", "value bytes max seq 11", "put 13",
      "delete 1", "epoch 2", "mark 1", "purge 0", "first seq 1", "last seq 17", "epochs 2",
      "last epoch 2", "first time 2025-01-31T12:34:56.789Z",
      "last time 2025-01-31T12:34:56.789Z",
    ] {
      #expect(lines.contains(line), "\(line)")
    }
  }

  @Test("--json gives the same as an object")
  func json() async throws {
    let log = try fixture()
    let outcome = try await log.dump(log.path, "--stats", "--json")
    let object = try #require(
      try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? NSDictionary)
    #expect(object["records"] as? Int == 17)
    #expect(object["keys_live"] as? Int == 7)
    #expect(object["first_time"] as? UInt64 == LogFixture.timeMilliseconds)
  }

  @Test("filters say what is counted")
  func filtered() async throws {
    let log = try fixture()
    let outcome = try await log.dump(log.path, "--stats", "--json", "--key", "key-1")
    let object = try #require(
      try JSONSerialization.jsonObject(with: Data(outcome.output.utf8)) as? NSDictionary)
    #expect(object["records"] as? Int == 2)
    #expect(object["keys"] as? Int == 1)
    #expect(object["frames"] as? Int == 2)
  }
}

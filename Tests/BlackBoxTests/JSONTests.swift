import Foundation
import Testing
import WAL

@Suite("JSON") struct JSONTests {
  private func objects(_ outcome: Outcome) throws -> [NSDictionary] {
    try outcome.lines.map {
      try #require(try JSONSerialization.jsonObject(with: Data($0.utf8)) as? NSDictionary)
    }
  }

  @Test("every record is an object with the promised fields")
  func fields() async throws {
    let log = try LogFixture()
    try log.write { writer in
      try writer.put(bytes("a \"key\"\n\u{1}é"), bytes("value"))
      try writer.append(.delete, key: bytes("gone"))
      try writer.append(.purge, value: ShardRange(hash: 1, index: 0, count: 2).encoded)
    }
    let crcs = try log.frames().map { hexadecimal($0.header.crc) }
    let outcome = try await log.dump(log.path, "--json")
    let found = try objects(outcome)
    func common(_ sequence: Int, _ type: String, _ valueSize: Int) -> [String: Any] {
      [
        "seq": sequence, "epoch": 1, "epoch_node": "00000000000000a1",
        "time": LogFixture.timeMilliseconds, "type": type, "value_size": valueSize,
        "crc": crcs[sequence - 1],
      ]
    }
    let expected: [[String: Any]] = [
      common(1, "epoch", 24).merging(
        [
          "key": NSNull(), "reason": "created", "previous_epoch": 0,
          "previous_epoch_node": "0000000000000000",
        ], uniquingKeysWith: { $1 }),
      common(2, "put", 5).merging(["key": "a \"key\"\n\u{1}é"], uniquingKeysWith: { $1 }),
      common(3, "delete", 0).merging(["key": "gone"], uniquingKeysWith: { $1 }),
      common(4, "purge", 16).merging(
        ["key": NSNull(), "shard": 0, "shards": 2, "hash": "fnv1-64"],
        uniquingKeysWith: { $1 }),
      common(5, "mark", 0).merging(["key": NSNull()], uniquingKeysWith: { $1 }),
    ]
    #expect(found.count == expected.count)
    for (found, expected) in zip(found, expected) { #expect(found == expected as NSDictionary) }
  }

  @Test("bytes that are not UTF-8 come in base64, with a field of another name")
  func base64() async throws {
    let log = try LogFixture()
    let keys: [[UInt8]] = [[0xFF], [0x80, 0x81], [0x61, 0xFE, 0x62], [0xC3, 0x28, 0x00, 0x01]]
    try log.write { writer in
      for key in keys { try writer.put(key, key + [0x0A]) }
    }
    let outcome = try await log.dump(log.path, "--json", "--values", "--type", "put")
    for (object, key) in zip(try objects(outcome), keys) {
      #expect(object["key"] == nil)
      #expect(object["value"] == nil)
      #expect(object["key_base64"] as? String == Data(key).base64EncodedString())
      #expect(object["value_base64"] as? String == Data(key + [0x0A]).base64EncodedString())
    }
    #expect(outcome.lines.count == keys.count)
  }

  @Test("--values adds the value, and metadata is there where the record has it")
  func valuesAndMetadata() async throws {
    let log = try LogFixture()
    let value = String(repeating: "\\ü\u{0}\"", count: 30_000)
    try log.write(segmentBytes: 1 << 20) { writer in
      try writer.append(
        .put, metadata: RecordMetadata(expiryMilliseconds: 77, stamp: 1 << 60),
        clock: [ClockEntry(origin: 0xA, sequence: 3)], key: bytes("k"), value: bytes(value))
    }
    let outcome = try await log.dump(log.path, "--json", "--values", "--key", "k")
    let object = try #require(try objects(outcome).first)
    #expect(object["value"] as? String == value)
    #expect(object["expiry"] as? Int == 77)
    #expect(object["stamp"] as? Int == 1 << 60)
    #expect(object["clock"] as? [String: Int] == ["000000000000000a": 3])
  }

  @Test("several logs are told apart by a field")
  func severalLogs() async throws {
    let directory = try TemporaryDirectory()
    let logs = [try LogFixture("a", in: directory), try LogFixture("b", in: directory)]
    for log in logs { try log.put(1) }
    let outcome = try await logs[0].dump("--json", "--type", "put", logs[0].path, logs[1].path)
    #expect(try objects(outcome).map { $0["log"] as? String } == logs.map(\.path))
  }
}

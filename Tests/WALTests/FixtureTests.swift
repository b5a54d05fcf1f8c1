import Glibc
import SimulatedDisk
import Testing
import WAL

/// The repository's root, from where this file was compiled.
private let root = #filePath.split(separator: "/").dropLast(3).reduce("") { $0 + "/" + $1 }

private func contents(_ path: String) throws -> [UInt8] {
  let file = try SystemFileSystem().open(path, .readOnly)
  return try file.bytes(count: Int(try file.size()))
}

/// Every frame and record of a log in words, and what follows the last one.
private func describe(_ directory: String) throws -> [String] {
  var lines: [String] = []
  var reader = try LogReader(directory: directory)
  while true {
    switch try reader.next() {
    case .frame(let header):
      lines.append(
        "frame \(header.firstSequence)+\(header.recordCount) epoch \(header.epoch) "
          + "durable \(header.durableSequence) confirmed \(header.confirmedSequence) "
          + "time \(header.timeMilliseconds) bytes \(header.frameBytes) "
          + "previous \(hexadecimal(header.previousCRC)) crc \(hexadecimal(header.crc)) "
          + "in \(lastComponent(reader.path!)) at \(reader.frameOffset)")
      lines += try reader.withRecords { try records($0, header) }
    case .damage(let damage):
      lines.append(
        "\(damage.kind) at \(damage.offset) of \(lastComponent(damage.path)), "
          + "sequence \(damage.sequence)")
      guard try reader.resume() else { return lines }
    case .end:
      return lines + ["end at \(reader.end!.sequence)"]
    }
  }
}

private func records(_ bytes: RawSpan, _ header: FrameHeader) throws -> [String] {
  func hex(_ range: Range<Int>) -> String {
    range.map { hexadecimal(bytes.unsafeLoad(fromByteOffset: $0, as: UInt8.self)) }.joined()
  }
  var lines: [String] = []
  var cursor = RecordCursor(count: header.recordCount)
  while let record = try cursor.next(in: bytes) {
    var line = "  \(record.type) key \(hex(record.key)) value \(hex(record.value))"
    if let expiry = record.metadata.expiryMilliseconds { line += " expiry \(expiry)" }
    if let stamp = record.metadata.stamp { line += " stamp \(stamp)" }
    if !record.clock.isEmpty { line += " clock \(hex(record.clock))" }
    lines.append(line)
  }
  return lines
}

/// A log with every kind of record and every field in use.
private func writeKnownLog(_ fixture: LogFixture) throws -> LogWriter {
  let writer = try fixture.open().writer
  var frame = FrameBuilder()
  func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }
  frame.append(.put, key: bytes("party").span.bytes, value: bytes("Great").span.bytes)
  try writer.commit(&frame)
  fixture.clock.milliseconds += 5
  writer.confirmedSequence = 1
  let binary: [UInt8] = [0xFF, 0xFE, 0x00]
  frame.append(
    .put, metadata: RecordMetadata(expiryMilliseconds: 1_800_000_000_000, stamp: 77),
    clock: [ClockEntry(origin: 5, sequence: 6), ClockEntry(origin: 9, sequence: 1)],
    key: binary.span.bytes, value: binary.span.bytes)
  frame.append(
    .delete, metadata: RecordMetadata(stamp: 78), clock: [ClockEntry(origin: 5, sequence: 7)],
    key: bytes("party").span.bytes, value: RawSpan())
  frame.append(.put, key: bytes("empty").span.bytes, value: RawSpan())
  try writer.commit(&frame)
  let half = ShardRange(hash: 1, index: 1, count: 2)
  frame.append(.handoff, key: RawSpan(), value: (half.encoded + bytes("config 2")).span.bytes)
  try writer.commit(&frame)
  try writer.startEpoch(Epoch(number: 2, node: 8), reason: .handoff)
  frame.append(.purge, key: RawSpan(), value: half.encoded.span.bytes)
  try writer.commit(&frame)
  try fixture.write(1...12, valueBytes: 600, to: writer)
  return writer
}

@Suite("Format v1")
struct FixtureTests {
  /// The first three are of before there were end markers.
  private static let names = ["clean", "torn", "corrupt", "marked", "unmarked"]

  /// The frozen logs are read as they were read when they were made. `WRITE_FIXTURES` makes
  /// the one that it names, which is for a new one only: these never change.
  @Test("reads logs that were written when it was new", arguments: names)
  func frozen(name: String) throws {
    let place = root + "/Tests/Fixtures/v1/" + name
    if getenv("WRITE_FIXTURES").map({ String(cString: $0) }) == name { try write(name, to: place) }
    let expected = String(decoding: try contents(place + ".txt"), as: UTF8.self)
    #expect(try describe(place).joined(separator: "\n") + "\n" == expected)
  }

  /// And the writer of today writes the same bytes.
  @Test("writes the bytes that it wrote when it was new")
  func sameBytes() throws {
    let fixture = LogFixture()
    try writeKnownLog(fixture).close(markContent: [1, 2, 3, 4])
    for path in fixture.segments {
      let frozen = try contents(root + "/Tests/Fixtures/v1/marked/" + lastComponent(path))
      #expect(fixture.disk.contents(path) == frozen, "\(lastComponent(path))")
    }
  }

  private func write(_ name: String, to place: String) throws {
    let fixture = LogFixture()
    let writer = try writeKnownLog(fixture)
    if name == "marked" { try writer.close(markContent: [1, 2, 3, 4]) }
    if mkdir(place, 0o755) != 0, errno != EEXIST { throw WALError.setting(place) }
    for path in fixture.segments {
      var bytes = fixture.disk.contents(path)!
      if name == "unmarked", path == fixture.segments.last {
        let end = bytes.lastIndex { $0 != 0 }!
        for index in end - 20...end { bytes[index] = 0 }
      }
      let file = try SystemFileSystem().open(place + "/" + lastComponent(path), .create)
      try file.writeAll(bytes, at: 0)
    }
    let text = try describe(place).joined(separator: "\n") + "\n"
    try SystemFileSystem().open(place + ".txt", .create).writeAll(Array(text.utf8), at: 0)
  }

  /// The example of `docs/format.md`, byte for byte.
  @Test("is what the worked example in its description shows")
  func workedExample() throws {
    let fixture = LogFixture()
    let writer = try fixture.open().writer
    var frame = FrameBuilder()
    frame.append(
      .put, key: Array("party".utf8).span.bytes, value: Array("Great".utf8).span.bytes)
    try writer.commit(&frame)
    let bytes = fixture.disk.contents(fixture.segments[0])!
    let used = bytes[...bytes.lastIndex { $0 != 0 }!]
    let text = String(decoding: try contents(root + "/docs/format.md"), as: UTF8.self)
    var shown: [UInt8] = []
    // Lines of the form `  0040  53 46 …  comment`.
    for line in text.split(separator: "\n") where line.hasPrefix("    0") {
      let words = line.split(separator: " ")
      guard words[0].count == 4, Int(words[0], radix: 16) == shown.count else { continue }
      shown += words.dropFirst().prefix { $0.count == 2 }.compactMap { UInt8($0, radix: 16) }
    }
    let written = used.map { hexadecimal($0) }.joined(separator: " ")
    #expect(shown.map { hexadecimal($0) }.joined(separator: " ") == written)
  }
}

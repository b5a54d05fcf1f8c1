import SimulatedDisk
import Testing
import WAL

@Suite("A record")
struct RecordTests {
  @Test("reads back as it was written, whatever it holds")
  func roundTrip() throws {
    var random = SeededRandom(seed: 3)
    for _ in 0..<3_000 {
      let type: RecordType = random.once(in: 3) ? .delete : .put
      let key = random.bytes(1 + random.below(random.once(in: 20) ? 4_096 : 40))
      let value = type == .delete ? [] : random.bytes(random.below(200))
      var metadata = RecordMetadata()
      if type == .put, random.once(in: 2) { metadata.expiryMilliseconds = random.next() }
      if random.once(in: 2) { metadata.stamp = random.next() }
      var origin: UInt64 = 0
      let clock = (0..<random.below(4)).map { _ in
        origin += 1 + random.next() % 1_000
        return ClockEntry(origin: origin, sequence: 1 + random.next() % (1 << 61))
      }
      let size = Record.encodedBytes(
        metadata: metadata, clockEntries: clock.count, key: key.count, value: value.count)
      var bytes = [UInt8](repeating: 0xAA, count: size)
      let written = bytes.withUnsafeMutableBytes {
        Record.encode(
          type, metadata: metadata, clock: clock, key: key.span.bytes, value: value.span.bytes,
          into: $0)
      }
      #expect(written == size)
      let record = try Record(parsing: bytes.span.bytes, at: 0)
      #expect(record.type == type && record.metadata == metadata && record.end == size)
      #expect(Array(bytes[record.key]) == key && Array(bytes[record.value]) == value)
      let clockBytes = bytes.span.bytes.extracting(record.clock)
      #expect(clock.indices.map { ClockEntry(in: clockBytes, at: $0) } == clock)
      #expect(record.clock.count == clock.count * ClockEntry.encodedBytes)
    }
  }

  @Test("that is cut short anywhere is refused")
  func truncated() throws {
    let metadata = RecordMetadata(expiryMilliseconds: 5, stamp: 6)
    let clock = [ClockEntry(origin: 1, sequence: 2), ClockEntry(origin: 3, sequence: 4)]
    var bytes = [UInt8](repeating: 0, count: 100)
    let size = bytes.withUnsafeMutableBytes {
      Record.encode(
        .put, metadata: metadata, clock: clock, key: ([1, 2] as [UInt8]).span.bytes,
        value: ([3, 4, 5] as [UInt8]).span.bytes, into: $0)
    }
    _ = try Record(parsing: bytes.span.bytes.extracting(0..<size), at: 0)
    for count in 0..<size {
      #expect(throws: FormatViolation.self) {
        try Record(parsing: bytes.span.bytes.extracting(0..<count), at: 0)
      }
    }
  }

  @Test("of any bytes parses or is refused, and never reaches outside of them")
  func anyBytes() {
    var random = SeededRandom(seed: 4)
    for _ in 0..<50_000 {
      var bytes = random.bytes(random.below(80))
      if bytes.count > 8, random.once(in: 2) {
        bytes[0] = UInt8(1 + random.below(7))
        bytes[1] = UInt8(random.below(9))
        bytes[3] = 0
        bytes[5] = 0
        bytes[6] = 0
        bytes[7] = 0
      }
      var cursor = RecordCursor(count: UInt32(random.below(4)))
      do {
        while let record = try cursor.next(in: bytes.span.bytes) {
          #expect(record.end <= bytes.count)
        }
      } catch {}
    }
  }

  @Test("with content that does not fit its type is refused")
  func content() {
    func parse(_ bytes: [UInt8]) -> FormatViolation? {
      do {
        _ = try Record(parsing: bytes.span.bytes, at: 0)
        return nil
      } catch { return error }
    }
    #expect(parse([1, 0, 0, 0, 0, 0, 0, 0]) == .recordContent, "a put without a key")
    #expect(parse([2, 0, 1, 0, 1, 0, 0, 0, 9, 9]) == .recordContent, "a delete with a value")
    #expect(parse([6, 0, 1, 0, 0, 0, 0, 0, 9]) == .recordContent, "a mark with a key")
    #expect(parse([6, 0, 0, 0, 0, 0, 0, 0]) == nil, "a mark without content")
    #expect(parse([4, 0, 0, 0, 1, 0, 0, 0, 9]) == .recordContent, "an epoch without its change")
    #expect(parse([9, 0, 1, 0, 0, 0, 0, 0, 9]) == .recordType(9))
    #expect(parse([1, 8, 1, 0, 0, 0, 0, 0, 9]) == .recordFlags(8))
    #expect(parse([1, 0, 1, 16, 0, 0, 0, 0]) == .recordLength, "a key of 4,097 bytes")
    #expect(parse([1, 0, 1, 0, 1, 0, 0, 1, 9]) == .recordLength, "a value over 16 MiB")
    let clock: [UInt8] = [1, 4, 1, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]
    let entry: [UInt8] = [5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    #expect(parse(clock + entry + entry + [9]) == .recordContent, "one origin twice")
  }
}

@Suite("The content of a record")
struct RecordContentTests {
  @Test("reads back as it was written")
  func roundTrip() throws {
    let range = ShardRange(hash: 2, index: 3, count: 8)
    #expect(try ShardRange(parsing: range.encoded.span.bytes) == range)
    for reason in [1, 2, 3, 4, 5].map({ EpochChange.Reason(rawValue: $0)! }) {
      let change = EpochChange(reason: reason, previous: Epoch(number: 9, node: .max))
      #expect(try EpochChange(parsing: change.encoded.span.bytes) == change)
    }
  }

  @Test("that makes no sense is refused")
  func refused() {
    let outside = ShardRange(hash: 1, index: 4, count: 4).encoded
    #expect(throws: FormatViolation.recordContent) {
      try ShardRange(parsing: outside.span.bytes)
    }
    #expect(throws: FormatViolation.recordContent) {
      try EpochChange(parsing: [UInt8](repeating: 0, count: 24).span.bytes)
    }
  }

  @Test("names epochs as parameters do")
  func epochText() {
    let epoch = Epoch(number: 12, node: 0xAB)
    #expect(epoch.description == "12-00000000000000ab")
    #expect(Epoch("12-00000000000000ab") == epoch)
    for bad in ["", "12", "12-", "-1", "x-1", "1-2-3", "1-g"] { #expect(Epoch(bad) == nil) }
    #expect(Epoch(number: 2, node: 1) > Epoch(number: 1, node: 9))
    #expect(Epoch(number: 2, node: 2) > Epoch(number: 2, node: 1))
  }
}

@Suite("A frame header")
struct FrameHeaderTests {
  @Test("of any bytes parses or is refused")
  func anyBytes() {
    var random = SeededRandom(seed: 5)
    let checksum = Checksum(origin: 1)
    for _ in 0..<50_000 {
      var bytes = random.bytes(random.below(90))
      if bytes.count > 4 { bytes.replaceSubrange(0..<4, with: [0x53, 0x46, 0, 0]) }
      #expect(throws: FormatViolation.self) {
        try FrameHeader(parsing: bytes.span.bytes, checksum: checksum)
      }
    }
  }
}

@Suite("A segment's name")
struct SegmentNameTests {
  @Test("is its first sequence number in 20 digits")
  func names() {
    #expect(SegmentName.of(42) == "00000000000000000042.wal")
    #expect(SegmentName.firstSequence("00000000000000000042.wal") == 42)
    for other in [
      "42.wal", "0000000000000000004x.wal", "00000000000000000042.wal.bak", "spare-1",
      "99999999999999999999.wal", "+0000000000000000042.wal", "00000000000000000000.wal",
      "18446744073709551615.wal",
    ] { #expect(SegmentName.firstSequence(other) == nil) }
  }
}

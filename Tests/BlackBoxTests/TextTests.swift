import Testing
import WAL

@Suite("Text") struct TextTests {
  @Test("a known log is printed a record a line")
  func knownLog() async throws {
    let log = try LogFixture()
    try log.write { writer in
      var frame = FrameBuilder()
      frame.append(.put, key: bytes("one").span.bytes, value: bytes("first").span.bytes)
      frame.append(.put, key: bytes("two words").span.bytes, value: RawSpan())
      try writer.commit(&frame)
      try writer.append(.delete, key: bytes("one"))
      try writer.append(.purge, value: ShardRange(hash: 2, index: 1, count: 4).encoded)
      try writer.startEpoch(Epoch(number: 7, node: 0xB2), reason: .promoted)
      try writer.append(.handoff, value: ShardRange(hash: 1, index: 3, count: 4).encoded)
    }
    let crcs = try log.frames().map { hexadecimal($0.header.crc) }
    let outcome = try await log.dump(log.path)
    #expect(outcome.status == 0)
    #expect(outcome.errors == "")
    let time = "2025-01-31T12:34:56.789Z"
    let node = "00000000000000a1"
    let columns = outcome.lines.map { $0.split(separator: " ").joined(separator: " ") }
    #expect(
      columns == [
        "1 1 \(time) epoch reason=created,node=\(node),previous=0-0000000000000000 24 \(crcs[0])",
        "2 1 \(time) put \"one\" 5 \(crcs[1])",
        "3 1 \(time) put \"two words\" 0 \(crcs[1])",
        "4 1 \(time) delete \"one\" 0 \(crcs[2])",
        "5 1 \(time) purge shard=1/4,hash=fnv1-64-mix 16 \(crcs[3])",
        "6 7 \(time) epoch reason=promoted,node=00000000000000b2,previous=1-\(node) 24 \(crcs[4])",
        "7 7 \(time) handoff shard=3/4,hash=fnv1-64 16 \(crcs[5])",
        "8 7 \(time) mark - 0 \(crcs[6])",
      ])
  }

  @Test("columns stand below each other")
  func alignment() async throws {
    let log = try LogFixture()
    try log.put(12)
    let outcome = try await log.dump(log.path, "--type", "put")
    #expect(outcome.lines.count == 12)
    #expect(Set(outcome.lines.map(\.count)).count == 1)
    #expect(
      outcome.lines[0].hasPrefix(
        "       2   1 2025-01-31T12:34:56.789Z put     \"key-1\"                    20 "))
  }

  @Test("keys are quoted so that the bytes can be told from the text")
  func quoting() async throws {
    let log = try LogFixture()
    let keys: [([UInt8], String)] = [
      (bytes("a\"b\\c"), #""a\"b\\c""#),
      (bytes("line\nend\ttab\r"), #""line\nend\ttab\r""#),
      ([0x00, 0x1B, 0x7F], #""\x00\x1b\x7f""#),
      (bytes("é 漢字 🚢"), "\"é 漢字 🚢\""),
      ([0x61, 0xFF, 0xC3, 0x28], #""a\xff\xc3(""#),
      ([0xED, 0xA0, 0x80], #""\xed\xa0\x80""#),
      ([0xC0, 0xAF], #""\xc0\xaf""#),
      (bytes("\u{202E}right"), #""\xe2\x80\xaeright""#),
      (bytes("\u{85}"), #""\xc2\x85""#),
      (bytes(#"\xff"#), #""\\xff""#),
    ]
    try log.write { writer in
      for (key, _) in keys { try writer.put(key) }
    }
    let outcome = try await log.dump(log.path, "--type", "put")
    #expect(outcome.lines.count == keys.count)
    for (line, (_, quoted)) in zip(outcome.lines, keys) {
      #expect(line.contains(" put     \(quoted) "))
    }
  }

  @Test("--values adds the value, and metadata is shown where there is some")
  func valuesAndMetadata() async throws {
    let log = try LogFixture()
    try log.write { writer in
      try writer.append(
        .put,
        metadata: RecordMetadata(expiryMilliseconds: 951_782_400_001, stamp: 12),
        clock: [ClockEntry(origin: 0xA, sequence: 3), ClockEntry(origin: 0xB, sequence: 4)],
        key: bytes("k"), value: [0x76, 0x0A, 0x80])
    }
    let outcome = try await log.dump(log.path, "--type", "put", "--values")
    #expect(
      outcome.output.hasSuffix(
        " expiry=2000-02-29T00:00:00.001Z stamp=12"
          + " clock=000000000000000a:3,000000000000000b:4 \"v\\n\\x80\"\n"))
  }

  @Test("a reader that goes away ends it without a word")
  func brokenPipe() async throws {
    let log = try LogFixture()
    try log.put(3_000, segmentBytes: 1 << 20)
    let shell = "'\(Executable.dump.url.path)' '\(log.path)' | head -n 1"
    let outcome = try await Executable.shell.run(["-c", shell], in: log.directory)
    #expect(outcome.lines.count == 1)
    #expect(outcome.errors == "")
  }

  @Test("an output that is full is an error")
  func fullOutput() async throws {
    let log = try LogFixture()
    try log.put(10)
    let shell = "'\(Executable.dump.url.path)' '\(log.path)' > /dev/full"
    let outcome = try await Executable.shell.run(["-c", shell], in: log.directory)
    #expect(outcome.status == 1)
    #expect(outcome.errors.hasPrefix("wal-dump: standard output: cannot write"))
  }
}

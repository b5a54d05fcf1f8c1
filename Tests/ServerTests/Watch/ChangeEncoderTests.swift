import NIOCore
import Server
import SimulatedDisk
import Testing
import WAL

@Suite struct ChangeEncoderTests {
  private static let epoch = Epoch(number: 3, node: 0xA11CE)

  /// A frame as the log has it: read back from one.
  private struct Frame {
    var header: FrameHeader
    var bytes: [UInt8]
  }

  /// What goes into a log: each frame a list of records.
  private static func frames(
    _ fill: [(inout FrameBuilder) -> Void]
  ) throws -> [Frame] {
    let disk = SimulatedDisk(seed: 1)
    var options = LogOptions(dataDirectory: "/data", node: 0xA11CE)
    options.fileSystem = disk
    options.usesThreads = false
    let writer = try LogRecovery.open(options).writer
    var builder = FrameBuilder()
    for body in fill {
      body(&builder)
      try writer.commit(&builder)
    }
    var reader = try LogReader(directory: "/data/wal", fileSystem: disk)
    var frames: [Frame] = []
    while case .frame(let header) = try reader.next() {
      let bytes = reader.withFrame { $0.withUnsafeBytes { Array($0) } }
      frames.append(Frame(header: header, bytes: bytes))
    }
    return frames
  }

  private static func put(_ key: [UInt8], _ value: [UInt8], expiry: UInt64? = nil)
    -> (inout FrameBuilder) -> Void
  {
    {
      $0.append(
        .put, metadata: RecordMetadata(expiryMilliseconds: expiry), key: key.span.bytes,
        value: value.span.bytes)
    }
  }

  private static func delete(_ key: String) -> (inout FrameBuilder) -> Void {
    let key = Array(key.utf8)
    return { $0.append(.delete, key: key.span.bytes, value: RawSpan()) }
  }

  private static func purge(_ range: ShardRange) -> (inout FrameBuilder) -> Void {
    let value = range.encoded
    return { $0.append(.purge, key: RawSpan(), value: value.span.bytes) }
  }

  /// All that the encoder says of the frames, and the pieces it says it in.
  private static func encode(
    _ frames: [Frame], _ encoder: ChangeEncoder, bytesMax: Int = 1 << 30
  ) -> (text: [UInt8], pieces: [Int]) {
    var encoder = encoder
    var text: [UInt8] = []
    var pieces: [Int] = []
    for frame in frames {
      var isWhole = false
      while !isWhole {
        var buffer = ByteBuffer()
        isWhole = frame.bytes.withUnsafeBytes {
          encoder.encode(frame.header, $0, into: &buffer, bytesMax: bytesMax)
        }
        text += buffer.readableBytesView
        pieces.append(buffer.readableBytes)
        #expect(encoder.isBetween == (text.last ?? 10 == 10))
      }
    }
    return (text, pieces)
  }

  private static func lines(_ frames: [Frame], _ encoder: ChangeEncoder) -> [Substring] {
    let text = String(decoding: encode(frames, encoder).text, as: UTF8.self)
    #expect(text.isEmpty || text.hasSuffix("\n"))
    return text.split(separator: "\n")
  }

  @Test func eachKindOfRecordHasItsLine() throws {
    let frames = try Self.frames([
      Self.put(Array("a \"quoted\"\n".utf8), Array("é\u{1}".utf8)),
      Self.put([0xFF], [0, 1, 0xFE]), Self.put(Array("e".utf8), [], expiry: 1_700_000_000_123),
      Self.delete("a"), Self.purge(ShardRange(hash: 2, index: 1, count: 4)),
    ])
    // The first record begins an epoch that the reader knows of.
    #expect(
      Self.lines(frames, ChangeEncoder(from: 1, prefix: [], epoch: Self.epoch)) == [
        #"{"seq":2,"op":"put","key":"a \"quoted\"\n","value":"é\u0001"}"#,
        #"{"seq":3,"op":"put","key_base64":"/w==","value_base64":"AAH+"}"#,
        #"{"seq":4,"op":"put","key":"e","expires_ms":1700000000123,"value":""}"#,
        #"{"seq":5,"op":"delete","key":"a"}"#,
        #"{"seq":6,"op":"purge","hash":"fnv1-64-mix","index":1,"count":4}"#,
      ])
    // With a prefix, what is about all keys is told all the same.
    #expect(
      Self.lines(frames, ChangeEncoder(from: 3, prefix: [0xFF], epoch: Self.epoch)) == [
        #"{"seq":3,"op":"put","key_base64":"/w==","value_base64":"AAH+"}"#,
        #"{"seq":6,"op":"purge","hash":"fnv1-64-mix","index":1,"count":4}"#,
      ])
    #expect(
      Self.lines(frames, ChangeEncoder(from: 5, prefix: Array("ab".utf8), epoch: Self.epoch)) == [
        #"{"seq":6,"op":"purge","hash":"fnv1-64-mix","index":1,"count":4}"#
      ])
  }

  @Test func anEpochThatTheReaderDoesNotKnowIsAnnounced() throws {
    let frames = try Self.frames([Self.delete("a")])
    let old = Epoch(number: 0, node: 0)
    #expect(
      Self.lines(frames, ChangeEncoder(from: 1, prefix: [], epoch: old)) == [
        #"{"seq":1,"op":"epoch","epoch":"1-00000000000a11ce"}"#,
        #"{"seq":2,"op":"delete","key":"a"}"#,
      ])
  }

  @Test func anEncoderThatBeginsNothingFinishesItsLine() throws {
    let value = [UInt8](repeating: 65, count: 100_000)
    let frames = try Self.frames([Self.put([65], value), Self.delete("b")])
    var encoder = ChangeEncoder(from: 2, prefix: [], epoch: Self.epoch)
    var buffer = ByteBuffer()
    let encode = { (number: Int, most: Int) in
      frames[number].bytes.withUnsafeBytes {
        encoder.encode(frames[number].header, $0, into: &buffer, bytesMax: most)
      }
    }
    #expect(!encode(1, 10))
    encoder.beginsNothing = true
    #expect(encode(1, 1 << 20))
    #expect(!encode(2, 1 << 20))
    let text = String(buffer: buffer)
    #expect(text.hasSuffix("A\"}\n") && text.split(separator: "\n").count == 1)
  }

  @Test func aFrameInPiecesIsTheSameAsAtOnce() throws {
    var random = SeededRandom(seed: 7)
    let text = (0..<200_000).map { _ in UInt8(random.below(128)) }
    let wide = Array(String(repeating: "é€😀", count: 20_000).utf8)
    let many: (inout FrameBuilder) -> Void = { builder in
      for number in 0..<300 {
        let key = Array("key-\(number)".utf8)
        let value = random.bytes(random.below(200))
        builder.append(.put, key: key.span.bytes, value: value.span.bytes)
      }
    }
    let frames = try Self.frames([
      many, Self.put([65], text), Self.put([66], wide), Self.put([67], random.bytes(150_001)),
      Self.put([68], text + [0xFF]),
    ])
    for from in [1, 100, 301, 302, 303, 306] as [UInt64] {
      let encoder = ChangeEncoder(from: from, prefix: [], epoch: Self.epoch)
      let whole = Self.encode(frames, encoder)
      for bytesMax in [1, 1_000, 60_000, 200_000] {
        let pieces = Self.encode(frames, encoder, bytesMax: bytesMax)
        #expect(pieces.text == whole.text)
        #expect(pieces.pieces.max()! <= bytesMax + ChangeEncoder.stepBytesMax)
      }
    }
  }
}

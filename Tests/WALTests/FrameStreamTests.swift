import CChecksum
import Testing
import WAL

@Suite("A frame stream")
struct FrameStreamTests {
  /// Three segments of one put a frame, of a log that was closed in order.
  struct Sample {
    var bytes: [UInt8] = []
    /// Where each frame begins and ends in the stream.
    var frames: [(range: Range<Int>, sequence: UInt64)] = []
    /// Where each segment begins.
    var segments: [Int] = []

    init(_ count: Int = 45, origin: UInt64 = 0x0123_4567_89AB_CDEF) throws {
      let log = LogFixture(origin: origin)
      let (writer, _) = try log.open()
      try log.write(1...count, valueBytes: 120, to: writer)
      try writer.close()
      for path in log.segments {
        segments.append(bytes.count)
        let file = try log.disk.open(path, .readOnly)
        var reader = LogReader(
          files: [SegmentFile(path: path, firstSequence: nil)], fileSystem: log.disk)
        while case .frame(let header) = try reader.next() {
          let start = bytes.count + Int(reader.frameOffset)
          frames.append((start..<start + header.frameBytes, header.firstSequence))
        }
        bytes += try file.bytes(count: Int(try file.size()))
      }
    }
  }

  /// What came out of a stream.
  struct Found {
    var frames: [FrameHeader] = []
    var frameBytes: [UInt8] = []
    var heartbeats: [FrameHeader] = []
    var segments: [SegmentHeader] = []
    var damage: [Damage] = []
    var unusedBytes: UInt64 = 0
  }

  /// Decodes everything, going on behind damage.
  static func decode(_ bytes: [UInt8], chunkBytes: Int = 4_096) -> Found {
    var stream = FrameStream()
    var found = Found()
    var offset = 0
    func feed() {
      guard offset < bytes.count else { return stream.finish() }
      let end = min(offset + chunkBytes, bytes.count)
      bytes[offset..<end].withUnsafeBytes { stream.feed($0) }
      offset = end
    }
    var isAtEnd = false
    while true {
      do throws(FrameStream.Failure) {
        switch try stream.next() {
        case .segment(let header): found.segments.append(header)
        case .heartbeat(let header): found.heartbeats.append(header)
        case .frame(let header):
          found.frames.append(header)
          stream.withFrame { frame in
            frame.withUnsafeBytes { found.frameBytes += Array($0) }
          }
        case nil:
          if isAtEnd {
            found.unusedBytes = stream.unusedBytes
            return found
          }
          isAtEnd = offset == bytes.count
          feed()
        }
      } catch {
        while !stream.findEvidence() {
          isAtEnd = offset == bytes.count
          feed()
        }
        guard let damage = stream.verdict(path: "stream") else { continue }
        found.damage.append(damage)
        if damage.continuation == nil { return found }
      }
    }
  }

  @Test(
    "gives the frames of the log, whatever pieces it comes in", arguments: [1, 7, 71, 64 << 10])
  func pieces(chunkBytes: Int) throws {
    let sample = try Sample()
    let found = Self.decode(sample.bytes, chunkBytes: chunkBytes)
    #expect(found.damage == [])
    #expect(found.frames.map(\.firstSequence) == sample.frames.map(\.sequence))
    #expect(found.frameBytes == sample.frames.flatMap { sample.bytes[$0.range] })
    #expect(found.segments.count == sample.segments.count)
    let used = sample.frames.reduce(sample.segments.count * Format.segmentHeaderBytes) {
      $0 + $1.range.count
    }
    #expect(Int(found.unusedBytes) + used == sample.bytes.count)
  }

  @Test("gives a frame of the largest size, fed in pieces")
  func largeFrame() throws {
    let log = LogFixture()
    let (writer, _) = try log.open()
    var frame = FrameBuilder()
    let value = [UInt8](repeating: 7, count: Format.valueBytesMax - 64)
    for key in ["a", "b"] {
      frame.append(.put, key: Array(key.utf8).span.bytes, value: value.span.bytes)
    }
    try writer.commit(&frame)
    let path = try #require(log.segments.last)
    let file = try log.disk.open(path, .readOnly)
    let first = try log.disk.open(log.segments[0], .readOnly)
    let bytes =
      (log.segments.count > 1 ? try first.bytes(count: Int(try first.size())) : [])
      + (try file.bytes(count: Int(try file.size())))
    let found = Self.decode(bytes, chunkBytes: 256 << 10)
    #expect(found.damage == [])
    #expect(found.frames.last?.recordCount == 2)
  }

  @Test("takes any one changed bit for what it is, and loses one frame at most")
  func changedBits() throws {
    let sample = try Sample()
    let sequences = sample.frames.map(\.sequence)
    let last = try #require(sample.frames.last)
    for index in Format.segmentHeaderBytes..<sample.bytes.count {
      let changed = sample.bytes.with(sample.bytes[index] ^ 1 << UInt8(index % 8), at: index)
      let found = Self.decode(changed)
      let delivered = found.frames.map(\.firstSequence)
      if index < last.range.lowerBound {
        let isUsed =
          sample.frames.contains { $0.range.contains(index) }
          || sample.segments.contains { ($0..<$0 + Format.segmentHeaderBytes).contains(index) }
        #expect(found.damage.map(\.kind) == (isUsed ? [.corrupt] : []), "byte \(index)")
        #expect(sequences.count - delivered.count <= (isUsed ? 1 : 0), "byte \(index)")
      } else {
        // Nothing behind the last frame knows of it; behind the end marker nothing counts.
        let isEnd = index < last.range.upperBound + Format.endMarkerBytes
        #expect(found.damage.map(\.kind) == (isEnd ? [.torn] : []), "byte \(index)")
        let isLost = last.range.contains(index)
        #expect(delivered.count == sequences.count - (isLost ? 1 : 0), "byte \(index)")
      }
      if let frame = sample.frames.first(where: { $0.range.contains(index) }) {
        #expect(found.damage.first?.sequence == frame.sequence, "byte \(index)")
        #expect(found.damage.first?.offset == UInt64(frame.range.lowerBound), "byte \(index)")
        #expect(delivered == sequences.filter { $0 != frame.sequence }, "byte \(index)")
      }
    }
  }

  @Test("that ends anywhere gives the whole frames before that, and a torn one at most")
  func cutAnywhere() throws {
    let sample = try Sample(8)
    for count in Format.segmentHeaderBytes...sample.bytes.count {
      let found = Self.decode(Array(sample.bytes[..<count]))
      let whole = sample.frames.filter { $0.range.upperBound <= count }
      let isWhole = count >= sample.frames.last!.range.upperBound + Format.endMarkerBytes
      #expect(found.frames.map(\.firstSequence) == whole.map(\.sequence), "\(count) bytes")
      #expect(found.damage.map(\.kind) == (isWhole ? [] : [.torn]), "\(count) bytes")
    }
  }

  @Test("that is empty is no failure, and one that begins with anything else is")
  func beginning() throws {
    #expect(Self.decode([]).damage == [])
    let text = Array("not a log, but long enough to be taken for the header of a segment".utf8)
    let found = Self.decode(text)
    #expect(found.damage.map(\.finding) == [.violation(.segmentMagic)])
    #expect(found.frames.isEmpty)
  }

  @Test("without one of its segments is corrupt there, and goes on")
  func missingSegment() throws {
    let sample = try Sample()
    let (start, end) = (sample.segments[1], sample.segments[2])
    let found = Self.decode(Array(sample.bytes[..<start] + sample.bytes[end...]))
    let lost = sample.frames.filter { (start..<end).contains($0.range.lowerBound) }
    #expect(found.damage.count == 1)
    #expect(found.damage.first?.kind == .corrupt)
    #expect(found.damage.first?.sequence == lost.first?.sequence)
    #expect(found.damage.first?.finding == .missing(through: try #require(lost.last).sequence))
    #expect(found.frames.count == sample.frames.count - lost.count)
  }

  @Test("does not take a segment of another log, nor one that it has had")
  func foreignSegment() throws {
    let sample = try Sample()
    let other = try Sample(origin: 99)
    let (start, end) = (sample.segments[1], sample.segments[2])
    let foreign = Self.decode(
      Array(sample.bytes[..<start] + other.bytes[start..<end] + sample.bytes[end...]))
    #expect(foreign.damage.map(\.kind) == [.corrupt])
    #expect(foreign.damage.map(\.finding) == [.origin])
    #expect(foreign.frames.last?.firstSequence == sample.frames.last?.sequence)

    let twice = Self.decode(Array(sample.bytes[..<end] + sample.bytes[start...]))
    #expect(twice.damage.map(\.kind) == [.corrupt])
    let again = try #require(sample.frames.first { $0.range.lowerBound > start })
    #expect(twice.damage.map(\.finding) == [.segmentStart(found: again.sequence)])
  }

  @Test("never waits for a length whose header is not proven")
  func lyingLength() throws {
    let sample = try Sample(3)
    let start = sample.frames[1].range.lowerBound
    var bytes = Array(sample.bytes[..<(start + Format.frameHeaderBytes)])
    bytes[start + 7] = 1
    var stream = FrameStream()
    bytes.withUnsafeBytes { stream.feed($0) }
    #expect(try stream.next() != nil)
    #expect(try stream.next() != nil)
    // And it stays there.
    for _ in 0..<2 {
      let failure = #expect(throws: FrameStream.Failure.self) { _ = try stream.next() }
      #expect(failure?.offset == UInt64(start))
      #expect(failure?.sequence == sample.frames[1].sequence)
      #expect(failure?.finding == .violation(.frameHeaderChecksum))
    }
  }

  @Test("does not search the records of a damaged frame, which may be a log themselves")
  func logInAValue() throws {
    let log = LogFixture()
    let (writer, _) = try log.open()
    try log.write(1...3, to: writer)
    let inner = try log.disk.open(log.segments[0], .readOnly).bytes(count: 1_024)
    var frame = FrameBuilder()
    frame.append(.put, key: Array("copy".utf8).span.bytes, value: inner.span.bytes)
    let position = try writer.commit(&frame)
    try log.write(4...6, to: writer)
    try writer.close()
    var bytes: [UInt8] = []
    for path in log.segments {
      let file = try log.disk.open(path, .readOnly)
      bytes += try file.bytes(count: Int(try file.size()))
    }
    let whole = Self.decode(bytes)
    #expect(whole.damage == [])
    // The last byte of the copied value.
    let start = try #require(bytes.indices.first { bytes[$0...].starts(with: "copy".utf8) })
    bytes[start + 900] ^= 1
    let found = Self.decode(bytes)
    #expect(found.damage.map(\.sequence) == [position.sequence])
    #expect(found.damage.first?.kind == .corrupt)
    #expect(found.frames.count == whole.frames.count - 1)
  }

  // MARK: - Heartbeats

  /// A frame without records that stands behind `position`.
  private func heartbeat(
    behind frame: FrameHeader, content: [UInt8], origin: UInt64 = 0x0123_4567_89AB_CDEF
  ) -> [UInt8] {
    func checksum(_ bytes: [UInt8]) -> UInt32 {
      let seed = withUnsafeBytes(of: origin.littleEndian) {
        shiplog_crc32c(0, $0.baseAddress, $0.count)
      }
      return bytes.withUnsafeBytes { shiplog_crc32c(seed, $0.baseAddress, $0.count) }
    }
    var header: [UInt8] = []
    func add<T: FixedWidthInteger>(_ number: T) {
      withUnsafeBytes(of: number.littleEndian) { header += Array($0) }
    }
    add(Format.frameMagic)
    add(UInt16(0))
    add(UInt32(content.count))
    add(UInt32(0))
    add(frame.crc)
    add(frame.epoch.number)
    add(frame.epoch.node)
    add(frame.lastSequence + 1)
    add(frame.lastSequence)
    add(UInt64(0))
    add(UInt64(1))
    add(checksum(content))
    add(checksum(header))
    return header + content
  }

  @Test("gives heartbeats with what they carry, and the chain goes on as if there were none")
  func heartbeats() throws {
    let sample = try Sample(3)
    let first = try #require(Self.decode(sample.bytes).frames.first)
    let beat = heartbeat(behind: first, content: [1, 2, 3, 4, 5, 6, 7, 8])
    let empty = heartbeat(behind: first, content: [])
    let end = sample.frames[0].range.upperBound
    let bytes = Array(sample.bytes[..<end] + beat + empty + sample.bytes[end...])
    let found = Self.decode(bytes, chunkBytes: 5)
    #expect(found.damage == [])
    #expect(found.heartbeats.map(\.recordsBytes) == [8, 0])
    #expect(found.frames.count == sample.frames.count)

    var stream = FrameStream()
    bytes.withUnsafeBytes { stream.feed($0) }
    for _ in 0..<3 { _ = try stream.next() }
    let content = stream.withRecords { $0.withUnsafeBytes { Array($0) } }
    #expect(content == [1, 2, 3, 4, 5, 6, 7, 8])
    #expect(stream.withFrame { $0.byteCount } == beat.count)
  }

  @Test("fails at a heartbeat of another position, or one whose content is damaged")
  func wrongHeartbeats() throws {
    let sample = try Sample(3)
    let frames = Self.decode(sample.bytes).frames
    let end = sample.frames[0].range.upperBound
    let late = heartbeat(behind: frames[1], content: [])
    let chain = Self.decode(Array(sample.bytes[..<end] + late))
    #expect(chain.damage.map(\.finding) == [.chain(found: frames[1].lastSequence + 1)])
    var damaged = heartbeat(behind: frames[0], content: [UInt8](repeating: 1, count: 8))
    damaged[75] ^= 1
    let content = Self.decode(Array(sample.bytes[..<end] + damaged))
    #expect(content.damage.map(\.finding) == [.violation(.recordsChecksum)])
  }
}

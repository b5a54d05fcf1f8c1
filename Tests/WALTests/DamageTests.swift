import CChecksum
import SimulatedDisk
import Testing
import WAL

/// What is known of one frame of an undamaged log.
private struct Frame {
  var path: String
  var header: FrameHeader
  var offset: Int
  var end: Int { offset + header.frameBytes }
}

/// A closed log of three segments and all that is known of it.
private struct KnownLog {
  let fixture: LogFixture
  var frames: [Frame] = []
  var files: [String: [UInt8]] = [:]
  var sequences: [UInt64] = []

  init(isClosed: Bool = true) throws {
    fixture = LogFixture()
    let writer = try fixture.open().writer
    try fixture.write(1...24, valueBytes: 330, to: writer)
    if isClosed { try writer.close(markContent: [7, 7, 7]) }
    for path in fixture.segments { files[path] = fixture.disk.contents(path)! }
    var reader = try LogReader(directory: "/data/wal", fileSystem: fixture.disk)
    reading: while true {
      switch try reader.next() {
      case .frame(let header):
        frames.append(Frame(path: reader.path!, header: header, offset: Int(reader.frameOffset)))
        sequences += Array(header.firstSequence...header.lastSequence)
      case .end: break reading
      case .damage(let damage): throw WALError.damaged(damage)
      }
    }
    #expect(files.count == 3)
  }

  func frame(at offset: Int, of path: String) -> Frame? {
    frames.first { $0.path == path && $0.offset <= offset && offset < $0.end }
  }

  func isProven(_ frame: Frame) -> Bool {
    frames.contains { $0.header.durableSequence >= frame.header.firstSequence }
  }

  func end(of path: String) -> Int { frames.last { $0.path == path }!.end }
  var lastPath: String { files.keys.max()! }

  func restore() {
    for (path, bytes) in files { fixture.disk.put(path, bytes) }
  }
}

@Suite("Damage")
struct DamageTests {
  @Test("of any one bit is found, placed, told torn from corrupt, and costs one frame at most")
  func everyBit() throws {
    let log = try KnownLog()
    for (path, bytes) in log.files.sorted(by: { $0.key < $1.key }) {
      for bit in 0..<bytes.count * 8 {
        let index = bit / 8
        // The rest of the file means nothing: some of its bits stand for all.
        if index > log.end(of: path) + 200, bit % 61 != 0 { continue }
        log.fixture.disk.put(path, bytes.with(bytes[index] ^ (1 << UInt8(bit % 8)), at: index))
        let (_, sequences, damage) = try log.fixture.read(resuming: true)
        try check(log, path, index, sequences, damage)
      }
      log.restore()
    }
  }

  /// What reading must give when one byte at `index` is not what it was.
  private func check(
    _ log: KnownLog, _ path: String, _ index: Int, _ sequences: [UInt64], _ damage: [Damage]
  ) throws {
    if index < Format.segmentHeaderBytes {
      try #require(damage.count == 1 && damage[0].kind == .corrupt && damage[0].path == path)
      // The first segment's header is the only one that says what the log's origin is.
      try #require(sequences == (path == log.frames[0].path ? [] : log.sequences))
    } else if let frame = log.frame(at: index, of: path) {
      try #require(damage.count == 1, "byte \(index)")
      try #require(damage[0].kind == (log.isProven(frame) ? .corrupt : .torn), "byte \(index)")
      try #require(damage[0].path == path && damage[0].offset == UInt64(frame.offset))
      try #require(damage[0].sequence == frame.header.firstSequence)
      try #require(sequences == log.sequences.filter { $0 != frame.header.firstSequence })
    } else {
      // Nothing is missing; without its end marker the last segment could have ended in a torn write.
      let isMarker = path == log.lastPath && index < log.end(of: path) + Format.endMarkerBytes
      try #require(sequences == log.sequences)
      try #require(damage.map(\.kind) == (isMarker ? [.torn] : []), "byte \(index)")
    }
  }

  @Test("that cuts the last segment at any byte leaves exactly the whole frames before it")
  func cutAtEveryByte() throws {
    let log = try KnownLog(isClosed: false)
    let path = log.lastPath
    let bytes = log.files[path]!
    for isZeroed in [true, false] {
      for cut in 0..<log.end(of: path) + Format.endMarkerBytes {
        let tail = [UInt8](repeating: 0, count: isZeroed ? bytes.count - cut : 0)
        log.fixture.disk.put(path, bytes[..<cut] + tail)
        // No crash makes a file shorter than it was when it got its name.
        guard cut >= Format.segmentHeaderBytes, isZeroed else {
          let error = #expect(throws: WALError.self) { try log.fixture.open() }
          guard case .damaged = error else { throw error! }
          continue
        }
        let whole = log.frames.filter { $0.path != path || $0.end <= cut }
        let (writer, report) = try log.fixture.open()
        try #require(report.position == whole.last!.header.position, "cut at \(cut)")
        // Even between two frames the end marker is missing.
        try #require(report.cut != nil, "cut at \(cut)")
        // The log goes on from there, and reads as if nothing had happened.
        if report.needsNewEpoch {
          try writer.startEpoch(Epoch(number: 2, node: 7), reason: .recovered)
        }
        try log.fixture.write(100...100, to: writer)
        let after = try log.fixture.read()
        try #require(after.damage.isEmpty && after.keys.last == "key-100")
        for name in log.fixture.disk.paths where !log.files.keys.contains(name) {
          log.fixture.disk.delete(name)
        }
        log.restore()
      }
    }
  }

  @Test("of any sector, zeroed, never yields a wrong record")
  func everySector() throws {
    let log = try KnownLog()
    for (path, bytes) in log.files {
      for start in stride(from: 0, to: bytes.count, by: 512) {
        let zeroed = bytes[..<start] + [UInt8](repeating: 0, count: 512) + bytes[(start + 512)...]
        guard Array(zeroed) != bytes else { continue }
        log.fixture.disk.put(path, Array(zeroed))
        let (_, sequences, damage) = try log.fixture.read(resuming: true)
        let hit = log.frames.filter {
          $0.path == path && $0.offset < start + 512 && $0.end > start
            && Array(zeroed[$0.offset..<$0.end]) != Array(bytes[$0.offset..<$0.end])
        }
        let isHeaderHit = start == 0
        if hit.isEmpty, !isHeaderHit, path != log.lastPath {
          // The end marker of a segment from which the next one goes on.
          try #require(damage.isEmpty && sequences == log.sequences)
          continue
        }
        try #require(!damage.isEmpty, "\(path) sector at \(start)")
        let isProven = isHeaderHit || hit.contains(where: log.isProven)
        try #require(damage[0].kind == (isProven ? .corrupt : .torn))
        if !(isHeaderHit && path == log.frames[0].path) {
          let lost = Set(hit.map(\.header.firstSequence))
          try #require(sequences == log.sequences.filter { !lost.contains($0) })
        }
      }
      log.restore()
    }
  }

  @Test("of a length field, zeroed, is corruption with its place")
  func zeroedLength() throws {
    let log = try KnownLog()
    for frame in log.frames.dropLast() {
      var bytes = log.files[frame.path]!
      for index in 4..<8 { bytes[frame.offset + index] = 0 }
      log.fixture.disk.put(frame.path, bytes)
      let (_, sequences, damage) = try log.fixture.read(resuming: true)
      #expect(damage.map(\.kind) == [.corrupt])
      #expect(damage.first?.offset == UInt64(frame.offset))
      #expect(sequences.count == log.sequences.count - 1)
      log.restore()
    }
  }

  @Test("to acknowledged data keeps the log from opening, and nothing is changed")
  func refusal() throws {
    let log = try KnownLog()
    for frame in log.frames {
      let bytes = log.files[frame.path]!
      let index = frame.offset + Format.frameHeaderBytes + 3
      log.fixture.disk.put(frame.path, bytes.with(bytes[index] ^ 0x10, at: index))
      let before = log.fixture.disk.paths.map { log.fixture.disk.contents($0) }
      // The last frame too: that the log was closed behind it is known.
      let error = #expect(throws: WALError.self) { try log.fixture.open() }
      guard case .damaged(let damage) = error else {
        Issue.record("\(String(describing: error))")
        continue
      }
      #expect(damage.kind == .corrupt && damage.sequence == frame.header.firstSequence)
      #expect("\(WALError.damaged(damage))".contains(frame.path))
      #expect(log.fixture.disk.paths.map { log.fixture.disk.contents($0) } == before)
      log.restore()
    }
  }

  @Test("to the format version is told from damage")
  func otherVersion() throws {
    let log = try KnownLog()
    var header = log.files[log.lastPath]!
    header[8] = 2
    let crc = shiplog_crc32c(0, header, 60)
    header.withUnsafeMutableBytes { $0.storeBytes(of: crc, toByteOffset: 60, as: UInt32.self) }
    log.fixture.disk.put(log.lastPath, header)
    #expect(
      throws: WALError.unsupported(path: log.lastPath, offset: 0, .segmentVersion(2))
    ) { try log.fixture.open() }
  }
}

extension Frame {
  /// Where the frame ends in that segment: its header, if the frame is in another one.
  fileprivate func end(in path: String) -> Int {
    self.path == path ? end : Format.segmentHeaderBytes
  }
}

@Suite("A segment")
struct SegmentDamageTests {
  @Test("that is missing is corruption, and the rest is still readable")
  func removed() throws {
    for index in 0..<2 {
      let log = try KnownLog()
      let path = log.files.keys.sorted()[index]
      log.fixture.disk.delete(path)
      #expect(throws: WALError.self) { try log.fixture.open() }
      let (_, sequences, damage) = try log.fixture.read(resuming: true)
      let lost = Set(log.frames.filter { $0.path == path }.map(\.header.firstSequence))
      #expect(sequences == log.sequences.filter { !lost.contains($0) })
      // A reader that is not told where the log begins cannot miss its first segment.
      #expect(damage.map(\.kind) == (index == 0 ? [] : [.corrupt]))
    }
  }

  @Test("that is missing at the end of a closed log is corruption")
  func lastRemoved() throws {
    let log = try KnownLog()
    log.fixture.disk.delete(log.lastPath)
    let error = #expect(throws: WALError.self) { try log.fixture.open() }
    #expect("\(error!)".contains("the log ends here"))
  }

  @Test("that stands under another name is corruption", arguments: [false, true])
  func doubled(isSwapped: Bool) throws {
    let log = try KnownLog()
    let paths = log.files.keys.sorted()
    log.fixture.disk.put(paths[1], log.files[paths[0]]!)
    if isSwapped { log.fixture.disk.put(paths[0], log.files[paths[1]]!) }
    #expect(throws: WALError.self) { try log.fixture.open() }
    let damage = try log.fixture.read(resuming: true).damage
    #expect(damage.contains { $0.kind == .corrupt })
    #expect(damage[0].path == paths[isSwapped ? 0 : 1])
  }

  @Test("that does not fit its name is never behind a torn write")
  func misnamedBehindHole() throws {
    let log = try KnownLog(isClosed: false)
    let paths = log.files.keys.sorted()
    log.fixture.disk.delete(paths[1])
    log.fixture.disk.put(paths[2], log.files[paths[0]]!)
    let (_, _, damage) = try log.fixture.read()
    #expect(damage.map(\.kind) == [.corrupt])
    #expect(throws: WALError.self) { try log.fixture.open() }
  }

  @Test("that was copied to a number inside another one is corruption")
  func inserted() throws {
    let log = try KnownLog()
    log.fixture.disk.put("/data/wal/00000000000000000005.wal", log.files.values.first!)
    let error = #expect(throws: WALError.self) { try log.fixture.open() }
    #expect("\(error!)".contains("00000000000000000005.wal"))
  }

  @Test("that was replaced by an older copy of itself is corruption")
  func stale() throws {
    let log = try KnownLog()
    for path in log.files.keys.sorted() {
      let last = log.frames.last { $0.path == path }!
      let bytes = log.files[path]!
      let older =
        bytes[..<last.offset] + [UInt8](repeating: 0, count: bytes.count - last.offset)
      log.fixture.disk.put(path, Array(older))
      let error = #expect(throws: WALError.self) { try log.fixture.open() }
      #expect("\(error!)".contains(path), "\(error!)")
      log.restore()
    }
  }

  @Test("of another log is corruption, whatever its frames say")
  func foreign() throws {
    let log = try KnownLog()
    let other = LogFixture(origin: 99)
    let writer = try other.open().writer
    try other.write(1...24, valueBytes: 330, to: writer)
    let path = log.files.keys.sorted()[1]
    log.fixture.disk.put(path, other.disk.contents(path)!)
    let (_, _, damage) = try log.fixture.read(resuming: true)
    #expect(damage.first?.kind == .corrupt && damage.first?.finding == .origin)
    #expect(throws: WALError.self) { try log.fixture.open() }
  }

  @Test("that was used before proves nothing with its old frames", arguments: [true, false])
  func staleTail(isMarked: Bool) throws {
    let log = try KnownLog(isClosed: false)
    let paths = log.files.keys.sorted()
    let end = log.end(of: log.lastPath)
    var bytes = log.files[log.lastPath]!
    // The frames of the first segment, as they would stand there if it had become this one.
    let behind = end + (isMarked ? Format.endMarkerBytes : 0)
    bytes.replaceSubrange(behind..., with: log.files[paths[0]]![behind...])
    log.fixture.disk.put(log.lastPath, bytes)
    let (_, sequences, damage) = try log.fixture.read(resuming: true)
    #expect(sequences == log.sequences && damage.map(\.kind) == (isMarked ? [] : [.torn]))
    let (writer, report) = try log.fixture.open()
    #expect(report.position.sequence == log.sequences.last && (report.cut == nil) == isMarked)
    if !isMarked { try writer.startEpoch(Epoch(number: 2, node: 7), reason: .recovered) }
    try log.fixture.write(100...100, to: writer)
    #expect(try log.fixture.read().damage.isEmpty)
    #expect(try log.fixture.read().keys.last == "key-100")
  }

  @Test("is zeroed behind a cut, so that what was cut can never come back")
  func zeroedBehindCut() throws {
    let log = try KnownLog(isClosed: false)
    let last = log.frames.last!
    let bytes = log.files[last.path]!
    // The header is damaged; the rest of the frame is as it was.
    log.fixture.disk.put(last.path, bytes.with(0xFF, at: last.offset + 20))
    let report = try log.fixture.open().report
    #expect(report.cut?.damage.offset == UInt64(last.offset))
    let rest = log.fixture.disk.durableContents(last.path)![last.offset...]
    let end = EndMarker(report.position).encoded(Checksum(origin: report.origin))
    #expect(Array(rest.prefix(end.count)) == end)
    #expect(rest.dropFirst(end.count).allSatisfy { $0 == 0 })
    // What was cut is kept, and can be looked at.
    let saved = try #require(report.cut?.saved.first)
    let kept = log.fixture.disk.durableContents(saved)!
    #expect(Array(kept[(64 + 21)...]) == Array(bytes[(last.offset + 21)...]).trimmed)
    var reader = LogReader(
      files: [SegmentFile(path: saved, firstSequence: nil)], fileSystem: log.fixture.disk)
    guard case .damage(let damage) = try reader.next() else { throw WALError.setting("whole?") }
    #expect(damage.kind == .torn && damage.sequence == last.header.firstSequence)
  }

  @Test("that holds a copy of its own log as a value is not confused by it")
  func logInsideItself() throws {
    let fixture = LogFixture(segmentBytes: 65_536)
    let writer = try fixture.open().writer
    try fixture.write(1...30, valueBytes: 100, to: writer)
    let copy = fixture.disk.contents(fixture.segments[0])!
    var frame = FrameBuilder()
    frame.append(.put, key: [1], value: Array(copy[..<8_000]).span.bytes)
    let position = try writer.commit(&frame)
    // Nothing is behind that frame, and its header is damaged: its value is searched, and is full
    // of whole frames, none of which says anything about it.
    let path = fixture.segments[0]
    let bytes = fixture.disk.contents(path)!
    var reader = try LogReader(directory: "/data/wal", fileSystem: fixture.disk)
    while case .frame(let header) = try reader.next(), header.position != position {}
    fixture.disk.put(path, bytes.with(0, at: Int(reader.frameOffset)))
    let (keys, _, damage) = try fixture.read()
    #expect(keys.count == 30)
    #expect(damage.map(\.kind) == [.torn])
    let report = try fixture.open().report
    #expect(report.position.sequence == position.sequence - 1)
  }
}

extension [UInt8] {
  /// Without the zeros at the end.
  fileprivate var trimmed: [UInt8] { Array(self[...(lastIndex { $0 != 0 } ?? -1)]) }
}

extension FrameBuilder {
  fileprivate mutating func append(_ type: RecordType, key: [UInt8], value: RawSpan) {
    append(type, key: key.span.bytes, value: value)
  }
}

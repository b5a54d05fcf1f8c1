import Glibc
import SimulatedDisk
import Testing
import WAL

/// A writer and a reader of one log on one disk, stepped in every order that a seed makes: either one
/// moves between any two calls of the other.
private final class SideBySide {
  let fixture: LogFixture
  let writer: LogWriter
  private var random: SeededRandom
  private var isNested = false
  private var frame = FrameBuilder()
  private var delivered: UInt64 = 0
  private(set) var problems: [String] = []
  private let isLimited: Bool
  private var reader: LogReader

  init(seed: UInt64, isLimited: Bool) throws {
    fixture = LogFixture(seed: seed, segmentBytes: [4_096, 8_192][Int(seed % 2)])
    random = SeededRandom(seed: seed)
    self.isLimited = isLimited
    writer = try fixture.open().writer
    reader = try LogReader(directory: "/data/wal", from: 1, fileSystem: fixture.disk)
  }

  private func stepWriter() throws {
    switch random.below(8) {
    case 0...4:
      frame.removeAll()
      for _ in 0...random.below(3) {
        let value = LogFixture.value(Int(writer.position.sequence), random.below(700))
        frame.append(.put, key: fixture.options.directory.utf8.span.bytes, value: value.span.bytes)
      }
      try writer.commit(&frame)
    case 5: writer.retire(through: delivered > 10 ? delivered - 10 : 0)
    default: _ = writer.backgroundStep()
    }
  }

  private func read(_ count: Int) throws {
    for _ in 0..<count {
      if isLimited { reader.limit = writer.progress.durable }
      switch try reader.next() {
      case .frame(let header):
        if header.firstSequence != delivered + 1 {
          problems.append("\(header.firstSequence) follows \(delivered)")
        }
        delivered = header.lastSequence
      case .damage(let damage):
        // Half a frame, just being written, is all that may look torn; and only without a limit.
        if damage.kind == .corrupt || isLimited { problems.append("\(damage)") }
        return
      case .end:
        if isLimited, reader.limit > delivered { problems.append("an end before the limit") }
        return
      }
    }
  }

  /// Writes in pieces, and between any two calls of the writer the reader looks.
  func writeWatched() throws {
    fixture.disk.fault = { [unowned self] call, _ in
      guard !isNested else { return nil }
      isNested = true
      defer { isNested = false }
      if random.once(in: 3) {
        do { try read(2) } catch { problems.append("the reader failed: \(error)") }
      }
      return call == .write && random.once(in: 3) ? .short : nil
    }
    defer { fixture.disk.fault = { _, _ in nil } }
    try stepWriter()
  }

  /// Reads, and between any two calls of the reader the writer goes on.
  func readWatched() throws {
    fixture.disk.fault = { [unowned self] _, _ in
      guard !isNested, random.once(in: 3) else { return nil }
      isNested = true
      defer { isNested = false }
      do { try stepWriter() } catch { problems.append("the writer failed: \(error)") }
      return nil
    }
    defer { fixture.disk.fault = { _, _ in nil } }
    try read(4)
  }
}

@Suite("A reader beside the writer")
struct ReaderBesideWriterTests {
  @Test(
    "gets every frame in order and never sees damage, whatever comes between two of its calls",
    arguments: [true, false])
  func interleaved(isLimited: Bool) throws {
    for seed in 0..<400 as Range<UInt64> {
      let pair = try SideBySide(seed: seed, isLimited: isLimited)
      for _ in 0..<60 {
        try pair.writeWatched()
        try pair.readWatched()
        try #require(pair.problems.isEmpty, "seed \(seed): \(pair.problems[0])")
      }
    }
  }

  @Test("does not take a frame that was finished during its search for a damaged one")
  func finishedMeanwhile() throws {
    // Frames larger than what the reader keeps in memory, so that its search reads anew.
    let fixture = LogFixture(segmentBytes: 4 << 20)
    let writer = try fixture.open().writer
    try fixture.write(1...3, valueBytes: 300_000, to: writer)
    let path = fixture.segments[0]
    let before = fixture.disk.contents(path)!
    try fixture.write(4...4, valueBytes: 300_000, to: writer)
    let end = fixture.disk.contents(path)!.lastIndex { $0 != 0 }!
    try fixture.write(5...6, valueBytes: 300_000, to: writer)
    let whole = fixture.disk.contents(path)!
    let half = Array(whole[...(end - 100)]) + before[(end - 99)...]
    // The moment at which the writer goes on: any call of the reader's.
    for moment in 1...40 {
      fixture.disk.overwrite(path, half)
      var reader = try LogReader(directory: "/data/wal", fileSystem: fixture.disk)
      let start = fixture.disk.calls
      let disk = fixture.disk
      disk.fault = { _, _ in
        if disk.calls == start + moment { disk.overwrite(path, whole) }
        return nil
      }
      let (keys, _, damage) = try LogFixture.read(&reader)
      disk.fault = { _, _ in nil }
      #expect(damage.allSatisfy { $0.kind == .torn }, "call \(moment): \(damage)")
      #expect(damage.count == 1 || keys.count == 6)
    }
  }

  @Test("asked for numbers that were retired before it began, says so, also of an empty log")
  func retiredBefore() throws {
    var fixture = LogFixture()
    fixture.disk.put("/data/wal/x", [])
    _ = try fixture.disk.makeDirectory("/data/wal")
    var reader = try LogReader(directory: "/data/wal", from: 5, fileSystem: fixture.disk)
    guard case .end = try reader.next() else { throw WALError.setting("something in nothing") }
    fixture.options.base = LogBase(
      origin: 3,
      position: LogPosition(epoch: Epoch(number: 1, node: 7), sequence: 1_000, crc: 5))
    let writer = try fixture.open().writer
    // There is nothing behind the base that would say how the last stop was.
    try writer.startEpoch(Epoch(number: 2, node: 7), reason: .recovered)
    try fixture.write(1...1, to: writer)
    for _ in 0..<2 {
      #expect(throws: WALError.notRetained(sequence: 5, oldest: 1_001)) { try reader.next() }
    }
    for path in fixture.segments { fixture.disk.delete(path) }
    guard case .end = try reader.next() else { throw WALError.setting("something in nothing") }
  }

  @Test("that falls behind what is retained says so, and does not call it damage")
  func fallenBehind() throws {
    let fixture = LogFixture()
    let writer = try fixture.open().writer
    try fixture.write(1...5, valueBytes: 500, to: writer)
    var reader = try LogReader(directory: "/data/wal", fileSystem: fixture.disk)
    while case .frame = try reader.next() {}
    let end = reader.end!.sequence
    try fixture.write(6...60, valueBytes: 500, to: writer)
    writer.retire(through: 50)
    while writer.backgroundStep() {}
    var sequence = end
    let error = #expect(throws: WALError.self) {
      while case .frame(let header) = try reader.next() { sequence = header.lastSequence }
    }
    #expect(
      error == .notRetained(sequence: sequence + 1, oldest: writer.oldestSequence))
  }

  @Test("gives up on a segment that somebody keeps locked, and says which")
  func locked() throws {
    let fixture = LogFixture()
    let writer = try fixture.open().writer
    try fixture.write(1...2, to: writer)
    let path = fixture.segments[0]
    let holder = try fixture.disk.open(path, .readWrite)
    #expect(try holder.tryLock(exclusive: true))
    var reader = try LogReader(directory: "/data/wal", fileSystem: fixture.disk)
    let error = #expect(throws: WALError.self) { try reader.next() }
    #expect("\(error!)".contains(path))
    try holder.unlock()
    guard case .frame = try reader.next() else { throw WALError.setting("no frame") }
  }
}

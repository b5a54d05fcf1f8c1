import SimulatedDisk
import WAL

/// A small log on a simulated disk, with known content and known times.
struct LogFixture {
  let disk: SimulatedDisk
  var options: LogOptions
  let clock: FixedClock

  final class FixedClock: @unchecked Sendable {
    // Only touched by the test that owns it.
    var milliseconds: UInt64 = 1_700_000_000_000
  }

  init(seed: UInt64 = 1, segmentBytes: UInt64 = 4_096, origin: UInt64 = 0x0123_4567_89AB_CDEF) {
    disk = SimulatedDisk(seed: seed)
    let clock = FixedClock()
    self.clock = clock
    options = LogOptions(dataDirectory: "/data", node: 7)
    options.fileSystem = disk
    options.clock = LogClock(
      wallMilliseconds: { clock.milliseconds },
      monotonicNanoseconds: { clock.milliseconds * 1_000_000 })
    options.usesThreads = false
    options.segmentBytes = segmentBytes
    options.origin = origin
  }

  func open(
    replay: (FrameHeader, RawSpan) throws(WALError) -> Void = { _, _ in }
  ) throws(WALError) -> (writer: LogWriter, report: RecoveryReport) {
    try LogRecovery.open(options, replay: replay)
  }

  /// Writes one put a frame, `key-<n>` = `value-<n>` padded to that length.
  @discardableResult
  func write(
    _ numbers: ClosedRange<Int>, valueBytes: Int = 20, to writer: LogWriter
  ) throws(WALError) -> LogPosition {
    var frame = FrameBuilder(capacityBytes: 256)
    for number in numbers {
      let value = Self.value(number, valueBytes)
      frame.append(
        .put, key: Array("key-\(number)".utf8).span.bytes, value: value.span.bytes)
      try writer.commit(&frame)
      clock.milliseconds += 1
      while writer.backgroundStep() {}
    }
    return writer.position
  }

  static func value(_ number: Int, _ count: Int) -> [UInt8] {
    let text = Array("value-\(number)".utf8)
    return Array((text + [UInt8](repeating: UInt8(ascii: "."), count: count)).prefix(count))
  }

  /// What a reader makes of the log: the keys of the puts, and the damage it ends with.
  func read(
    from: UInt64? = nil, resuming: Bool = false
  ) throws(WALError) -> (keys: [String], sequences: [UInt64], damage: [Damage]) {
    var reader = try LogReader(directory: options.directory, from: from, fileSystem: disk)
    return try Self.read(&reader, resuming: resuming)
  }

  static func read(
    _ reader: inout LogReader, resuming: Bool = false
  ) throws(WALError) -> (keys: [String], sequences: [UInt64], damage: [Damage]) {
    var keys: [String] = []
    var sequences: [UInt64] = []
    var damage: [Damage] = []
    while true {
      switch try reader.next() {
      case .frame(let header):
        try reader.withRecords { (records) throws(WALError) in
          var cursor = RecordCursor(count: header.recordCount)
          var sequence = header.firstSequence
          do {
            while let record = try cursor.next(in: records) {
              if record.type == .put { keys.append(text(records, record.key)) }
              sequences.append(sequence)
              sequence += 1
            }
          } catch { throw .setting("\(error)") }
        }
      case .damage(let found):
        damage.append(found)
        guard resuming, try reader.resume() else { return (keys, sequences, damage) }
      case .end:
        return (keys, sequences, damage)
      }
    }
  }

  static func text(_ bytes: RawSpan, _ range: Range<Int>) -> String {
    bytes.extracting(range).withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
  }

  var segments: [String] { disk.paths.filter { $0.hasSuffix(".wal") && $0.hasPrefix("/data/wal") } }
}

extension [UInt8] {
  /// Changed at one place.
  func with(_ byte: UInt8, at index: Int) -> [UInt8] {
    var copy = self
    copy[index] = byte
    return copy
  }
}

import Glibc
import SimulatedDisk
import WAL

/// One random life story of a log: writes, faults, crashes, starts, again and again; and the check
/// that nothing which must be there is missing and nothing is there that was never written.
///
/// Everything follows from the seed.
struct CrashRun {
  struct Failure: Error, CustomStringConvertible {
    var seed: UInt64
    var message: String
    var story: [String]
    var description: String {
      "seed \(seed): \(message)\n  " + story.suffix(40).joined(separator: "\n  ")
    }
  }

  /// A record as it was written, or as it was read back.
  struct Entry: Hashable {
    var sequence: UInt64
    var type: RecordType
    var key: [UInt8]
    var value: [UInt8]
    /// A frame is all or nothing: the last sequence number of this record's frame.
    var frameEnd: UInt64
  }

  private let seed: UInt64
  private var random: SeededRandom
  private let disk: SimulatedDisk
  private let clock: Ticker
  private var options: LogOptions
  private var story: [String] = []

  /// Everything written in the history that is now valid, whether or not it was acknowledged.
  private var written: [Entry] = []
  private var positions: [UInt64: LogPosition] = [:]
  /// Must survive anything that a disk can do to unsynced writes.
  private var promised: UInt64 = 0
  /// Must survive the end of the process.
  private var handedToSystem: UInt64 = 0
  private var origin: UInt64?
  /// What the next start must say about a new epoch; nil when it may say either.
  private var owesEpoch: Bool? = false
  private(set) var crashes = 0
  private(set) var cuts = 0

  /// Simulated time.
  final class Ticker: @unchecked Sendable {
    var nanoseconds: UInt64 = 1_700_000_000_000_000_000
  }

  init(seed: UInt64, mutations: Set<SimulatedDisk.Mutation> = []) {
    self.seed = seed
    random = SeededRandom(seed: seed)
    disk = SimulatedDisk(seed: seed &+ 1)
    disk.mutations = mutations
    disk.reservesSpace = !random.once(in: 4)
    let clock = Ticker()
    self.clock = clock
    options = LogOptions(dataDirectory: "/data", node: 7)
    options.fileSystem = disk
    options.clock = LogClock(
      wallMilliseconds: { clock.nanoseconds / 1_000_000 },
      monotonicNanoseconds: { clock.nanoseconds })
    options.usesThreads = false
    options.segmentBytes = [4_096, 8_192, 16_384][random.below(3)]
    options.origin = random.next() | 1
  }

  /// Runs some lives of the log.
  mutating func run(lives: Int = 6) throws(Failure) {
    for _ in 0..<lives {
      options.syncPolicy = [.always, .always, .interval(milliseconds: 20), .none][random.below(4)]
      try live()
    }
    disk.fault = { _, _ in nil }
    disk.capacityBytes = nil
    try check(open())
  }

  private func failure(_ message: String) -> Failure {
    Failure(seed: seed, message: message, story: story)
  }

  // MARK: - A life

  private mutating func live() throws(Failure) {
    story.append("start, \(options.syncPolicy)")
    let chance = [0, 0, 60, 200][random.below(4)]
    if chance > 0 { dieAt(call: 1 + random.below(chance)) }
    var writer: LogWriter? = try open()
    if disk.isDead { return crash(&writer) }
    guard let log = writer else { throw failure("no writer, and nobody died") }
    try check(log)
    if log.owesEpoch {
      // Stopped before the new epoch could begin, in order or not.
      if random.once(in: 2) { do { try log.close() } catch { story.append("stopped: \(error)") } }
      return crash(&writer)
    }
    owesEpoch = options.syncPolicy != .always
    if random.once(in: 3) { dieAt(call: 1 + random.below(40)) }
    if random.once(in: 8) { failAt(call: 1 + random.below(40)) }
    if random.once(in: 6) { disk.capacityBytes = disk.usedBytes + random.below(3 * 16_384) }
    do {
      try work(log)
      if random.once(in: 3) {
        attempted(.mark, [1, 2, 3], after: log.position)
        owesEpoch = nil
        try log.close(markContent: [1, 2, 3])
        // What was closed in order is on the disk, whatever the policy.
        noteEnd(log, isPromise: true)
        owesEpoch = false
        story.append("closed at \(log.position.sequence)")
      }
    } catch {
      story.append("stopped: \(error)")
    }
    disk.capacityBytes = nil
    crash(&writer)
  }

  private func dieAt(call: Int) {
    let disk = disk
    let target = disk.calls + call
    disk.fault = { _, _ in disk.calls >= target ? .die : nil }
  }

  private mutating func failAt(call: Int) {
    let disk = disk
    let target = disk.calls + call
    let code = [EIO, ENOSPC][random.below(2)]
    let isShort = random.once(in: 3)
    disk.fault = { call, _ in
      guard disk.calls == target else { return nil }
      return isShort && call == .write ? .short : .fail(code)
    }
  }

  private mutating func crash(_ writer: inout LogWriter?) {
    if let log = writer, disk.fault(.write, "") == nil || !disk.isDead { noteSystem(log) }
    writer = nil
    crashes += 1
    // After a failed sync the system may show what is on the disk, and not what it was given.
    if disk.failedSyncs > 0 { handedToSystem = promised }
    if random.once(in: 3) {
      story.append("process killed")
      disk.restartProcess()
    } else {
      story.append("power lost")
      handedToSystem = promised
      disk.losePower()
    }
  }

  private mutating func noteSystem(_ log: LogWriter) {
    handedToSystem = max(handedToSystem, log.position.sequence)
  }

  private mutating func noteEnd(_ log: LogWriter, isPromise: Bool) {
    handedToSystem = max(handedToSystem, log.position.sequence)
    promised = max(promised, isPromise ? log.position.sequence : log.progress.durable)
  }

  // MARK: - Work

  private mutating func work(_ log: LogWriter) throws(WALError) {
    for _ in 0..<(5 + random.below(40)) {
      switch random.below(12) {
      case 0...6: try commit(log)
      case 7: while log.backgroundStep() && !random.once(in: 6) {}
      case 8, 9:
        clock.nanoseconds += UInt64(random.below(200)) * 1_000_000
        let before = log.position
        do {
          _ = try log.tick(markContent: { [9, 9, 9, 9] })
        } catch {
          attempted(.mark, [9, 9, 9, 9], after: before)
          throw error
        }
        if log.position != before { attempted(.mark, [9, 9, 9, 9], after: before) }
        noteEnd(log, isPromise: false)
      case 10: retire(log)
      default: _ = log.backgroundStep()
      }
    }
  }

  /// Something was or may have been written.
  private mutating func attempted(
    _ type: RecordType, _ value: [UInt8] = [], after position: LogPosition
  ) {
    let sequence = position.sequence + 1
    written.append(
      Entry(sequence: sequence, type: type, key: [], value: value, frameEnd: sequence))
  }

  private mutating func commit(_ log: LogWriter) throws(WALError) {
    var frame = FrameBuilder(capacityBytes: 256)
    let count = 1 + random.below(random.once(in: 4) ? 12 : 2)
    let first = log.position.sequence + 1
    var entries: [Entry] = []
    for index in 0..<count {
      let key = random.bytes(1 + random.below(12))
      let isDelete = random.once(in: 5)
      let size = random.once(in: 12) ? random.below(9_000) : random.below(90)
      let value = isDelete ? [] : random.bytes(size)
      frame.append(isDelete ? .delete : .put, key: key.span.bytes, value: value.span.bytes)
      entries.append(
        Entry(
          sequence: first + UInt64(index), type: isDelete ? .delete : .put, key: key,
          value: value, frameEnd: first + UInt64(count) - 1))
    }
    do {
      let position = try log.commit(&frame)
      written += entries
      positions[position.sequence] = position
      // The acknowledgement: under `always` a promise against anything.
      noteEnd(log, isPromise: options.syncPolicy == .always)
    } catch .diskFull {
      // Nothing was written, and the log goes on.
      story.append("disk full at \(first)")
      if random.once(in: 2) {
        disk.capacityBytes = nil
        if random.once(in: 2) { try commit(log) }
      }
    } catch {
      // It may be there or not.
      written += entries
      throw error
    }
  }

  private mutating func retire(_ log: LogWriter) {
    let durable = log.progress.durable
    let candidates = positions.keys.filter { $0 <= min(durable, promised) }
    guard let sequence = candidates.sorted().dropLast(3).last, random.once(in: 3) else { return }
    options.base = LogBase(origin: log.origin, position: positions[sequence]!)
    log.retire(through: sequence, expecting: 2 * options.segmentBytes)
    story.append("retired through \(sequence)")
  }

  // MARK: - Start and check

  private mutating func open() throws(Failure) -> LogWriter? {
    var read: [Entry] = []
    var ends: [UInt64: LogPosition] = [:]
    let base = options.base?.position.sequence ?? 0
    let result: (writer: LogWriter, report: RecoveryReport)
    do {
      result = try LogRecovery.open(options) { (header, records) throws(WALError) in
        ends[header.lastSequence] = header.position
        var cursor = RecordCursor(count: header.recordCount)
        var sequence = header.firstSequence
        do {
          while let record = try cursor.next(in: records) {
            read.append(
              Entry(
                sequence: sequence, type: record.type, key: Self.array(records, record.key),
                value: record.type == .epoch ? [] : Self.array(records, record.value),
                frameEnd: header.lastSequence))
            sequence += 1
          }
        } catch { throw .setting("records that were checked do not parse: \(error)") }
      }
    } catch {
      if disk.isDead { return nil }
      throw failure("the start was refused: \(error)")
    }
    if let cut = result.report.cut {
      cuts += 1
      // Where only the end marker is missing, and zeros are in its place, there is nothing to keep.
      let isNothing = cut.damage.finding == .violation(.endMarker)
      guard isNothing || !cut.saved.isEmpty,
        cut.saved.allSatisfy({ disk.durableContents($0) != nil })
      else {
        throw failure("what was cut is not kept: \(cut)")
      }
    }
    guard result.report.needsNewEpoch || owesEpoch != true else {
      throw failure("a new epoch is due, and nobody says so")
    }
    owesEpoch = result.report.needsNewEpoch
    story.append(
      "recovered \(result.report.firstSequence)...\(result.report.position.sequence), "
        + "clean \(result.report.wasClean), cut \(result.report.cut?.damage.sequence ?? 0)")
    try compare(read, base: base, result.report)
    positions.merge(ends) { $1 }
    origin = result.report.origin
    let log = result.writer
    // What was recovered may be served, and must not disappear any more.
    promised = max(promised, result.report.position.sequence)
    if written.isEmpty && base == 0 { noteEpoch(log) }
    if result.report.needsNewEpoch, !random.once(in: 4) {
      owesEpoch = nil
      let next = Epoch(number: log.epoch.number + 1, node: options.node)
      do {
        try log.startEpoch(next, reason: .recovered)
        owesEpoch = false
        noteEpoch(log)
      } catch {
        attempted(.epoch, after: result.report.position)
        if disk.isDead { return nil }
        throw failure("no new epoch: \(error)")
      }
    }
    return log
  }

  private mutating func noteEpoch(_ log: LogWriter) {
    let sequence = log.position.sequence
    written.removeAll { $0.sequence >= sequence }
    written.append(
      Entry(sequence: sequence, type: .epoch, key: [], value: [], frameEnd: sequence))
    positions[sequence] = log.position
    promised = max(promised, sequence)
    handedToSystem = max(handedToSystem, sequence)
  }

  private static func array(_ bytes: RawSpan, _ range: Range<Int>) -> [UInt8] {
    bytes.extracting(range).withUnsafeBytes { Array($0) }
  }

  /// What was read must be a beginning of what was written, whole frames, and long enough.
  private mutating func compare(
    _ read: [Entry], base: UInt64, _ report: RecoveryReport
  ) throws(Failure) {
    if let origin, origin != report.origin { throw failure("the origin changed") }
    let expected = written.filter { $0.frameEnd > base }
    var read = read
    if expected.isEmpty, base == 0, let first = read.first {
      // A first start that was interrupted behind its epoch record.
      guard first.type == .epoch, read.count == 1 else { throw failure("records from nowhere") }
      written = read
      read = []
    }
    for (index, entry) in read.enumerated() {
      guard index < expected.count else {
        throw failure("\(entry.type) at \(entry.sequence) was never written")
      }
      guard entry == expected[index] else {
        throw failure(
          "at \(entry.sequence): \(entry.type) of \(entry.value.count) bytes, not "
            + "\(expected[index].type) at \(expected[index].sequence) "
            + "of \(expected[index].value.count)")
      }
    }
    let end = report.position.sequence
    let needed = max(promised, handedToSystem)
    guard end >= needed else { throw failure("the log ends at \(end), promised was \(needed)") }
    if let last = read.last, last.frameEnd != last.sequence {
      throw failure("half a frame at \(last.sequence)")
    }
    written.removeAll { $0.sequence > end }
    positions = positions.filter { $0.key <= end }
    handedToSystem = end
  }

  /// What is true of every log that was just opened.
  private func check(_ log: LogWriter?) throws(Failure) {
    guard let log, let last = log.segmentFiles.last?.path else { return }
    // Behind the last frame the end is marked: what is behind that proves nothing.
    for bytes in [disk.contents(last), disk.durableContents(last)] {
      guard let bytes, bytes.count > Format.segmentHeaderBytes else {
        throw failure("\(last) is not on the disk")
      }
      var end = Format.segmentHeaderBytes
      let checksum = Checksum(origin: log.origin)
      while let header = try? FrameHeader(
        parsing: bytes.span.bytes.extracting(end..<bytes.count), checksum: checksum),
        header.lastSequence <= log.position.sequence
      {
        end += header.frameBytes
      }
      let behind = bytes.span.bytes.extracting(end..<bytes.count)
      guard EndMarker(parsing: behind, checksum: checksum) == EndMarker(log.position) else {
        throw failure("\(last) has no end marker behind its end, byte \(end)")
      }
    }
  }
}

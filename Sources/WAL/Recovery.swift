/// What a start found and did.
public struct RecoveryReport: Sendable {
  public var origin: UInt64
  /// The first sequence number in the log.
  public var firstSequence: UInt64
  /// The log's end.
  public var position: LogPosition
  public var frames: UInt64 = 0
  public var records: UInt64 = 0
  public var bytes: UInt64 = 0
  /// True when the log was made by this start.
  public var isNew = false
  /// True when the last stop was in order.
  public var wasClean = false
  /// Damage in what the base covers: nothing is lost by it.
  public var covered: [Damage] = []
  /// Segments that were moved to `quarantine/`: the base covers them, and the log cannot go on from
  /// them. Where they are now.
  public var quarantined: [String] = []
  /// The torn write that was cut off, and where its bytes were saved.
  public var cut: (damage: Damage, saved: [String])?
  /// True when this node may have acknowledged what it no longer has: after a cut, or after an
  /// unclean stop under `interval` or `none`. A leader then begins a new epoch before it
  /// acknowledges anything, once it has what other members have more of.
  public var needsNewEpoch = false
}

/// Opening a log: the way from whatever is on the disk to a writer.
///
/// 1. After an unclean stop: write the last segments again, as they are, and sync them. After a sync
///    that failed the page cache can hold what the disk does not; what is read from here on is there.
/// 2. Read everything, check everything, hand every frame to the caller.
/// 3. Damage to what was durable: refuse, and change nothing.
/// 4. A torn tail: note it, save it, cut it off.
///
/// Every step can be interrupted and is then done again by the next start.
public struct LogRecovery: ~Copyable {
  private let options: LogOptions
  private let notes: LogNote
  private var report: RecoveryReport
  private var endsWithMark = false
  private var isBaseMatched = false

  /// Opens the log of `options`, making one when there is none.
  ///
  /// - Parameter replay: gets every frame behind the base, in order, with its records.
  /// - Returns: the writer, at the log's end, and what was done.
  /// - Throws: `damaged` when acknowledged data is; whatever `replay` throws.
  public static func open(
    _ options: LogOptions,
    replay: (FrameHeader, RawSpan) throws(WALError) -> Void = { _, _ in }
  ) throws(WALError) -> (writer: LogWriter, report: RecoveryReport) {
    try options.validate()
    var recovery = LogRecovery(options)
    let writer = try recovery.run(replay)
    return (writer, recovery.report)
  }

  private init(_ options: LogOptions) {
    self.options = options
    notes = LogNote(directory: options.directory, fileSystem: options.fileSystem)
    let position = options.base?.position ?? .start
    report = RecoveryReport(
      origin: options.base?.origin ?? options.origin ?? UInt64.random(in: 1 ... .max),
      firstSequence: position.sequence + 1, position: position)
  }

  private mutating func run(
    _ replay: (FrameHeader, RawSpan) throws(WALError) -> Void
  ) throws(WALError) -> LogWriter {
    let fileSystem = options.fileSystem
    try fileSystem.makeDirectory(options.directory)
    try fileSystem.syncDirectory(parentDirectory(options.directory))
    guard try notes.read(.rewind) == nil else {
      throw .setting(
        "\(options.directory): the end of this log was being taken off when that was interrupted. A start "
          + "of its node finishes it")
    }
    let clean = try notes.read(.clean).flatMap { CleanStop($0) }
    let isEpochDue = try notes.read(.epochDue) != nil
    let wasRelaxed = try notes.read(.relaxed) != nil
    let found = try SegmentFile.list(options.directory, in: fileSystem)
    guard let first = found.first else { return try begin(clean, isEpochDue: isEpochDue) }
    try checkStart(first)
    if clean == nil { try rewrite(found) }
    var reader = try LogReader(
      directory: options.directory, segmentOf: options.base.map { $0.position.sequence + 1 },
      origin: options.base?.origin, fileSystem: fileSystem)
    reader.knownDurable = max(
      clean?.position.sequence ?? 0, options.base?.position.sequence ?? 0)
    let damage: Damage?
    switch try read(&reader, progress(found), replay) {
    case .end: damage = nil
    case .torn(let torn): damage = torn
    case .beforeBase: return try beginBehindBase(found, clean, isEpochDue: isEpochDue)
    }
    options.progress?.begin(.finishing)
    try checkEnd(reader, clean)
    try removeLeftovers()
    report.wasClean = damage == nil && clean?.position == report.position
    report.needsNewEpoch = isEpochDue || damage != nil || (wasRelaxed && !report.wasClean)
    if report.needsNewEpoch, !isEpochDue {
      try notes.write(.epochDue, damage.map { "\($0)" } ?? "unclean stop before a sync")
    }
    if let damage { try cut(damage, reader) }

    let segments = try SegmentFile.list(options.directory, in: fileSystem)
    try forgetCleanStop(isRelaxedNoted: wasRelaxed)
    let path = reader.path!
    let file = try fileSystem.open(path, .readWrite)
    let writer = LogWriter(
      options: options, origin: report.origin, position: report.position, segments: segments,
      active: LogWriter.ActiveSegment(
        file: file, path: path, bytes: try file.size(), end: reader.nextOffset,
        isShipped: reader.segmentHeader!.isShipped),
      endsWithMark: endsWithMark, owesEpoch: report.needsNewEpoch)
    try start(writer)
    return writer
  }

  /// Removes what was being made for later when the last life of this directory ended.
  private func removeLeftovers() throws(WALError) {
    for name in try options.fileSystem.list(options.directory)
    where name.hasPrefix(SegmentName.sparePrefix) || name.hasSuffix(".tmp") {
      try options.fileSystem.remove(options.directory + "/" + name)
    }
  }

  /// A log that has no segment yet.
  private mutating func begin(
    _ clean: CleanStop?, isEpochDue: Bool
  ) throws(WALError) -> LogWriter {
    if let clean, clean.position.sequence > report.position.sequence {
      throw .damaged(
        Damage(
          kind: .corrupt, path: options.directory, offset: 0,
          sequence: report.position.sequence + 1,
          finding: .ends(beforeDurable: clean.position.sequence)))
    }
    try removeLeftovers()
    report.isNew = options.base == nil
    // Without a log, only the note of a clean stop says that nothing came behind the base.
    report.wasClean = options.base == nil || clean?.position == report.position
    report.needsNewEpoch = isEpochDue || !report.wasClean
    if report.needsNewEpoch, !isEpochDue { try notes.write(.epochDue, "no log behind a snapshot") }
    try forgetCleanStop(isRelaxedNoted: false)
    let writer = LogWriter(
      options: options, origin: report.origin, position: report.position, segments: [],
      active: nil, endsWithMark: true, owesEpoch: report.needsNewEpoch)
    try start(writer)
    return writer
  }

  /// A log that ends before its base: all of it is covered, and a gap would follow. It is put away, and
  /// the log begins anew behind the base.
  private mutating func beginBehindBase(
    _ segments: [SegmentFile], _ clean: CleanStop?, isEpochDue: Bool
  ) throws(WALError) -> LogWriter {
    let base = options.base!
    if let clean, clean.position.sequence > base.position.sequence {
      throw .damaged(
        Damage(
          kind: .corrupt, path: segments.last!.path, offset: 0,
          sequence: base.position.sequence + 1,
          finding: .ends(beforeDurable: clean.position.sequence)))
    }
    // Then the log went on behind the base, and nothing of that can be read.
    if let last = segments.last, last.firstSequence! > base.position.sequence + 1 {
      throw .damaged(
        report.covered.last
          ?? Damage(
            kind: .corrupt, path: last.path, offset: 0, sequence: base.position.sequence + 1,
            finding: .missing(through: last.firstSequence! - 1)))
    }
    // Oldest first: what an interruption leaves has no hole.
    for segment in segments { try quarantine(segment) }
    report.origin = base.origin
    report.position = base.position
    report.firstSequence = base.position.sequence + 1
    return try begin(clean, isEpochDue: isEpochDue)
  }

  private mutating func quarantine(_ segment: SegmentFile) throws(WALError) {
    report.quarantined.append(
      try Quarantine(options.quarantineDirectory, fileSystem: options.fileSystem).take(segment.path)
    )
  }

  /// A log that nothing precedes begins with the record of its first epoch, which a copy is sent. A
  /// crash can have come between its first segment and that.
  private mutating func start(_ writer: LogWriter) throws(WALError) {
    if writer.position.sequence == 0, !options.isCopy {
      try writer.startEpoch(Epoch(number: 1, node: options.node), reason: .created)
      report.position = writer.position
      report.needsNewEpoch = false
    }
    writer.startThreads()
  }

  /// Before the first write: the log is not cleanly stopped any more, and is relaxed or not.
  private func forgetCleanStop(isRelaxedNoted: Bool) throws(WALError) {
    if options.syncPolicy != .always, !isRelaxedNoted { try notes.write(.relaxed, "1") }
    let isForgotten = report.wasClean && options.syncPolicy == .always
    try notes.remove(isForgotten ? [.clean, .relaxed] : [.clean])
    // Names that a failed sync left undurable, in an earlier life of this directory.
    try options.fileSystem.syncDirectory(options.directory)
  }

  // MARK: - Reading

  private mutating func checkStart(_ first: SegmentFile) throws(WALError) {
    let base = options.base?.position.sequence ?? 0
    guard let found = first.firstSequence, found > base + 1 else { return }
    throw .damaged(
      Damage(
        kind: .corrupt, path: first.path, offset: 0, sequence: base + 1,
        finding: .missing(through: found - 1)))
  }

  private func progress(_ segments: [SegmentFile]) throws(WALError) -> ReplayProgress? {
    guard let progress = options.progress else { return nil }
    return try ReplayProgress(
      progress, segments, from: (options.base?.position.sequence ?? 0) + 1,
      fileSystem: options.fileSystem)
  }

  /// How reading the log ended.
  private enum Ending {
    case end
    case torn(Damage)
    /// Nothing of it is behind the base.
    case beforeBase
  }

  private mutating func read(
    _ reader: inout LogReader, _ progress: ReplayProgress?,
    _ replay: (FrameHeader, RawSpan) throws(WALError) -> Void
  ) throws(WALError) -> Ending {
    let base = options.base
    var progress = progress
    var isFirst = true
    while true {
      let event = try reader.next()
      try progress?.passed(reader)
      if isFirst, let header = reader.segmentHeader {
        isFirst = false
        report.firstSequence = header.firstSequence
        report.origin = header.origin
        report.position = header.previous
        try checkBase(reader, header.previous)
      }
      switch event {
      case .frame(let header):
        report.frames += 1
        report.records += UInt64(header.recordCount)
        report.bytes += UInt64(header.frameBytes)
        report.position = header.position
        try checkBase(reader, header.position)
        try reader.withRecords { (records) throws(WALError) in
          endsWithMark =
            header.recordCount == 1
            && records.number(at: 0, as: UInt8.self)
              == RecordType.mark.rawValue
          if header.lastSequence > base?.position.sequence ?? 0 { try replay(header, records) }
        }
      case .damage(let damage):
        if let base, damage.sequence <= base.position.sequence {
          // A log of something else is not a damaged one.
          if case .origin = damage.finding { throw .damaged(damage) }
          report.covered.append(damage)
          guard try skip(damage, base.position, &reader) else { return .beforeBase }
          continue
        }
        guard damage.kind == .torn, reader.segmentHeader != nil else { throw .damaged(damage) }
        try checkBaseWasMatched(reader)
        return .torn(damage)
      case .end:
        if let base, report.position.sequence < base.position.sequence { return .beforeBase }
        try checkBaseWasMatched(reader)
        return .end
      }
    }
  }

  /// Goes on behind damage that the base covers.
  ///
  /// - Returns: false when nothing whole is behind it.
  /// - Throws: `damaged` when records behind the base are missing, too.
  private mutating func skip(
    _ damage: Damage, _ base: LogPosition, _ reader: inout LogReader
  ) throws(WALError) -> Bool {
    guard try reader.resume(), let found = reader.end else {
      if let proof = damage.proof, proof.durableSequence > base.sequence { throw .damaged(damage) }
      return false
    }
    guard found.sequence <= base.sequence else { throw .damaged(damage) }
    if found.sequence == base.sequence {
      guard found.crc == base.crc else { throw .damaged(damage) }
      isBaseMatched = true
    }
    report.position = found
    return true
  }

  /// The base and the log must be of one history: where the base ends, a frame ends.
  private mutating func checkBase(
    _ reader: borrowing LogReader, _ position: LogPosition
  ) throws(WALError) {
    guard let base = options.base, position.sequence == base.position.sequence else { return }
    guard position == base.position, reader.origin == base.origin else {
      throw .damaged(baseDamage(reader, base))
    }
    isBaseMatched = true
  }

  private func checkBaseWasMatched(_ reader: borrowing LogReader) throws(WALError) {
    guard let base = options.base, !isBaseMatched else { return }
    throw .damaged(baseDamage(reader, base))
  }

  private func baseDamage(_ reader: borrowing LogReader, _ base: LogBase) -> Damage {
    Damage(
      kind: .corrupt, path: reader.path ?? options.directory, offset: reader.frameOffset,
      sequence: base.position.sequence, finding: .chain(found: base.position.sequence))
  }

  /// A clean stop says exactly where the log ends.
  private func checkEnd(
    _ reader: borrowing LogReader, _ clean: CleanStop?
  ) throws(WALError) {
    guard let clean, clean.position.sequence == report.position.sequence,
      clean != CleanStop(origin: report.origin, position: report.position)
    else { return }
    throw .damaged(
      Damage(
        kind: .corrupt, path: reader.path!, offset: reader.nextOffset,
        sequence: clean.position.sequence, finding: .chain(found: clean.position.sequence)))
  }

  // MARK: - Cutting

  /// Saves and removes everything from the torn write on. That a new epoch is due is noted already.
  private mutating func cut(_ damage: Damage, _ reader: borrowing LogReader) throws(WALError) {
    let fileSystem = options.fileSystem
    try fileSystem.makeDirectory(options.divergedDirectory)
    try fileSystem.syncDirectory(parentDirectory(options.divergedDirectory))
    var saved: [String] = []
    let last = reader.path!
    let file = try fileSystem.open(last, .readWrite)
    let size = try file.size()
    let tail = try file.bytes(at: reader.nextOffset, count: Int(size - reader.nextOffset))
    let used = tail.span.bytes.nonzeroPrefixBytes
    if used > 0 {
      let header = SegmentHeader(
        origin: report.origin, previous: report.position, durableSequence: 0)
      let bytes = header.encoded + tail[..<used]
      saved.append(try save(bytes, sequence: header.firstSequence))
    }
    // Whole segments behind it, which only happens when frames were written before older ones were
    // synced. From the last to the first, so that an interruption leaves no hole that looks proven.
    let later = try SegmentFile.list(options.directory, in: fileSystem).filter { $0.path > last }
    for segment in later.reversed() {
      let target = try freePath(sequence: segment.firstSequence!)
      try fileSystem.rename(segment.path, to: target)
      try fileSystem.syncDirectory(options.divergedDirectory)
      try fileSystem.syncDirectory(options.directory)
      saved.append(target)
    }
    try file.zero(reader.nextOffset..<size)
    if reader.segmentHeader!.isMarked {
      let end = EndMarker(report.position).encoded(Checksum(origin: report.origin))
      try file.writeAll(end, at: reader.nextOffset)
    }
    try file.sync()
    report.cut = (damage, saved)
  }

  /// Writes bytes to a new file in `diverged/`, unless an interrupted start has done so already.
  private func save(_ bytes: [UInt8], sequence: UInt64) throws(WALError) -> String {
    let fileSystem = options.fileSystem
    let stem = String(SegmentName.of(sequence).dropLast(SegmentName.suffix.count))
    for name in try fileSystem.list(options.divergedDirectory) where name.hasPrefix(stem) {
      let path = options.divergedDirectory + "/" + name
      guard name.hasSuffix(SegmentName.suffix) else {
        // Begun by a start that was interrupted.
        try fileSystem.remove(path)
        continue
      }
      let file = try fileSystem.open(path, .readOnly)
      if try file.size() == UInt64(bytes.count), try file.bytes(count: bytes.count) == bytes {
        // Its name may not have been durable yet when that start was interrupted.
        try fileSystem.syncDirectory(options.divergedDirectory)
        return path
      }
    }
    let path = try freePath(sequence: sequence)
    let temporary = path + ".tmp"
    let file = try fileSystem.open(temporary, .create)
    try file.writeAll(bytes, at: 0)
    try file.sync()
    try fileSystem.rename(temporary, to: path)
    try fileSystem.syncDirectory(options.divergedDirectory)
    return path
  }

  /// A name in `diverged/` that nothing has: what was saved before is never overwritten.
  private func freePath(sequence: UInt64) throws(WALError) -> String {
    let stem = String(SegmentName.of(sequence).dropLast(SegmentName.suffix.count))
    let taken = Set(try options.fileSystem.list(options.divergedDirectory))
    var number = 1
    while taken.contains("\(stem)-\(number)\(SegmentName.suffix)") { number += 1 }
    return "\(options.divergedDirectory)/\(stem)-\(number)\(SegmentName.suffix)"
  }

  // MARK: - Writing again

  /// Writes what may be in memory only to the disk again, and syncs it. The writer syncs a segment
  /// before it begins the next but one, so that only the last two can be affected.
  private func rewrite(_ segments: [SegmentFile]) throws(WALError) {
    var isEarlierDurable = false
    for segment in segments.suffix(2).reversed() where !isEarlierDurable {
      let file = try options.fileSystem.open(segment.path, .readWrite)
      let size = try file.size()
      var offset: UInt64 = 0
      while offset < size {
        try options.progress?.check()
        let bytes = try file.bytes(at: offset, count: min(1 << 20, Int(size - offset)))
        guard !bytes.isEmpty else {
          throw .system(.read, path: file.path, errno: systemIOError)
        }
        if offset == 0 { isEarlierDurable = Self.saysEarlierIsDurable(bytes) }
        try file.writeAll(bytes, at: offset)
        offset += UInt64(bytes.count)
      }
      try file.sync()
    }
  }

  /// True when a segment's header says that everything before it was on this disk.
  private static func saysEarlierIsDurable(_ bytes: [UInt8]) -> Bool {
    do {
      let header = try SegmentHeader(parsing: bytes.span.bytes)
      return header.durableSequence == header.firstSequence - 1
    } catch {
      return false
    }
  }
}

/// Reads a log forwards: the one reader of recovery, of shipping and of the tools.
///
/// `next()` steps from frame to frame, over segments, and checks everything that `docs/format.md`
/// asks for. At the end it says so, and may be asked again later: that is how a log is followed.
/// Where the bytes are not what they should be it looks ahead for evidence and tells torn from
/// corrupt (`DamageSearch`); it stays there until `resume()`.
public struct LogReader: ~Copyable {
  public enum Event: Sendable {
    /// A whole, checked frame; its bytes are available until the next call.
    case frame(FrameHeader)
    indirect case damage(Damage)
    /// Nothing more for now.
    case end
  }

  private let fileSystem: any FileSystem
  /// Nil when the files were given one by one and nothing can appear behind them.
  private let directory: String?
  private var segments: [SegmentFile]
  private var index = 0
  private var open: OpenSegment?
  private var window = ReadWindow()
  private var offset: UInt64 = 0
  private var frameBytes = 0
  private var previousFrameOffset: UInt64 = 0
  /// Where the next frame has to go on from; nil before the first segment was opened.
  private var position: LogPosition?
  /// False right behind damage, where an epoch may have begun unseen.
  private var isEpochKnown = true
  private var pending: Damage.Continuation?
  private var fromSequence: UInt64

  /// Records up to here were on the disk, says somebody outside the log: damage to them is never
  /// taken for a torn write.
  public var knownDurable: UInt64 = 0
  /// Frames behind this number are not looked at.
  public var limit: UInt64 = .max
  /// Whether `next()` looks for frames behind the end, which a lost sector would hide. Costs a read
  /// of the rest of the segment.
  public var searchesBehindEnd = true

  final class OpenSegment {
    let file: any File
    var size: UInt64
    let header: SegmentHeader
    let checksum: Checksum

    init(file: any File, size: UInt64, header: SegmentHeader) {
      self.file = file
      self.size = size
      self.header = header
      checksum = Checksum(origin: header.origin)
    }
  }

  /// Reads the log in `directory`.
  ///
  /// - Parameter from: the first sequence number wanted; nil for the log's first. The first frame is
  ///   the one that contains it.
  /// - Throws: `notRetained` when the log begins behind `from`.
  public init(
    directory: String, from: UInt64? = nil, fileSystem: any FileSystem = SystemFileSystem()
  ) throws(WALError) {
    self.fileSystem = fileSystem
    self.directory = directory
    fromSequence = from ?? 0
    segments = []
    segments = try SegmentFile.list(directory, in: fileSystem)
    if let from, let first = segments.first?.firstSequence {
      guard first <= max(from, 1) else { throw .notRetained(sequence: from, oldest: first) }
      index = segments.lastIndex { $0.firstSequence! <= from } ?? 0
    }
  }

  /// Reads these segments, in this order, as one log.
  public init(files: [SegmentFile], fileSystem: any FileSystem = SystemFileSystem()) {
    self.fileSystem = fileSystem
    directory = nil
    segments = files
    fromSequence = 0
  }

  /// The position that the log was read up to; nil before anything was read.
  public var end: LogPosition? { position }
  /// The log's id, once a segment was opened.
  public var origin: UInt64? { open?.header.origin ?? knownOrigin }
  private var knownOrigin: UInt64?
  /// The last segment's header that was read.
  public var segmentHeader: SegmentHeader? { open?.header }
  /// The file that is being read.
  public var path: String? { index < segments.count ? segments[index].path : nil }
  /// Where in it the next frame is expected.
  public var nextOffset: UInt64 { offset }
  /// Where in it the last frame begins.
  public var frameOffset: UInt64 { previousFrameOffset }
  /// Bytes of all segments before the one being read, and up to `nextOffset` in it.
  public var segmentCount: Int { segments.count }
  var segmentFiles: [SegmentFile] { segments }

  /// The records of the frame that `next()` returned last.
  public func withRecords<R, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    let bytes = window.bytes(
      at: previousFrameOffset + UInt64(Format.frameHeaderBytes),
      count: frameBytes - Format.frameHeaderBytes)
    return try body(bytes.bytes)
  }

  /// The whole of that frame, as it is on the disk.
  public func withFrame<R, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    try body(window.bytes(at: previousFrameOffset, count: frameBytes).bytes)
  }

  /// The next frame, or what stands in its place.
  ///
  /// - Throws: `system` when a file cannot be read, `unsupported` when a later version wrote it,
  ///   `notRetained` when the log was retired under the reader.
  public mutating func next() throws(WALError) -> Event {
    pending = nil
    while true {
      if let position, position.sequence >= limit { return .end }
      guard let open else {
        guard index < segments.count else {
          if try !listAgain() { return .end }
          continue
        }
        switch try openSegment() {
        case .opened, .listChanged: continue
        case .damage(let damage): return stay(damage)
        }
      }
      switch try readFrame(open) {
      case .frame(let header):
        previousFrameOffset = offset
        frameBytes = header.frameBytes
        offset += UInt64(header.frameBytes)
        position = header.position
        isEpochKnown = true
        if header.lastSequence >= fromSequence { return .frame(header) }
      case .damage(let damage): return stay(damage)
      case .segmentEnd:
        switch try stepOver(open) {
        case .stepped: continue
        case .damage(let damage): return stay(damage)
        case .end:
          window.invalidate()
          return .end
        }
      }
    }
  }

  /// Goes on behind the damage that `next()` has just returned.
  ///
  /// - Returns: false when there is nothing whole behind it.
  public mutating func resume() throws(WALError) -> Bool {
    guard let pending, let target = segments.firstIndex(where: { $0.path == pending.path }) else {
      return false
    }
    self.pending = nil
    if target != index || open == nil {
      index = target
      let file = try fileSystem.open(segments[index].path, .readOnly)
      let size = try file.size()
      window.invalidate()
      _ = try window.load(file, at: 0, count: Format.segmentHeaderBytes)
      guard let origin else { return false }
      // The segment's own header may be what is damaged; the log's origin is known from before.
      let header = SegmentHeader(
        origin: origin, previous: pending.position, durableSequence: 0)
      open = OpenSegment(file: file, size: size, header: header)
    }
    offset = pending.offset
    position = pending.position
    isEpochKnown = false
    return true
  }

  private mutating func stay(_ damage: Damage) -> Event {
    pending = damage.continuation
    window.invalidate()
    return .damage(damage)
  }

  // MARK: - Frames

  private enum FrameResult {
    case frame(FrameHeader)
    indirect case damage(Damage)
    /// No frame at `offset`, and nothing that looks like the rest of one.
    case segmentEnd
  }

  private mutating func readFrame(_ open: OpenSegment) throws(WALError) -> FrameResult {
    let position = position!
    if offset + UInt64(Format.frameHeaderBytes) > open.size {
      // An empty segment grows when its first frame does not fit.
      open.size = try open.file.size()
    }
    let headerBytes = Format.frameHeaderBytes
    guard
      offset + UInt64(headerBytes) <= open.size,
      try window.load(open.file, at: offset, count: headerBytes) == headerBytes
    else { return .segmentEnd }
    let header: FrameHeader
    let headerPointer = window.bytes(at: offset, count: headerBytes)
    do {
      header = try FrameHeader(parsing: headerPointer.bytes, checksum: open.checksum)
    } catch {
      // Bytes behind the last frame of a segment mean nothing when the next one goes on from it.
      if headerPointer.bytes.isZero || doesNextSegmentFollow { return .segmentEnd }
      if error.isUnsupported {
        throw .unsupported(path: open.file.path, offset: offset, error)
      }
      return .damage(try damage(.violation(error), in: open, searchingFrom: offset))
    }
    guard header.recordCount > 0 else {
      return .damage(try damage(.violation(.frameNumbers), in: open, searchingFrom: offset))
    }
    guard header.follows(position) else {
      return .damage(
        try damage(.chain(found: header.firstSequence), in: open, searchingFrom: offset))
    }
    if offset + UInt64(header.frameBytes) > open.size {
      open.size = try open.file.size()
    }
    guard offset + UInt64(header.frameBytes) <= open.size,
      try window.load(open.file, at: offset, count: header.frameBytes) == header.frameBytes
    else {
      return .damage(
        try damage(
          .violation(.frameLength(UInt32(header.recordsBytes))), in: open,
          searchingFrom: open.size))
    }
    let records = window.bytes(
      at: offset + UInt64(headerBytes), count: header.recordsBytes)
    do {
      try header.validate(
        records: records.bytes, previous: isEpochKnown ? position.epoch : nil,
        checksum: open.checksum)
    } catch {
      if error.isUnsupported {
        throw .unsupported(path: open.file.path, offset: offset, error)
      }
      // Behind a whole header its length is known: what is inside the records is never searched,
      // because a value may contain anything.
      var found = try damage(
        .violation(error), in: open, searchingFrom: offset + UInt64(header.frameBytes),
        atFrame: true)
      if error != .recordsChecksum { found.kind = .corrupt }
      return .damage(found)
    }
    return .frame(header)
  }

  /// True when the next segment's name says that the log goes on there.
  private var doesNextSegmentFollow: Bool {
    index + 1 < segments.count && segments[index + 1].firstSequence == position!.sequence + 1
  }

  private mutating func damage(
    _ finding: Damage.Finding, in open: OpenSegment, searchingFrom start: UInt64,
    atFrame: Bool = false
  ) throws(WALError) -> Damage {
    var search = DamageSearch(
      position: position!, checksum: open.checksum, origin: open.header.origin)
    try search.scan(open.file, size: open.size, from: start, atFrame: atFrame, window: &window)
    try search.scan(
      later: segments[min(index + 1, segments.count)...], in: fileSystem, window: &window)
    return search.verdict(
      finding, path: open.file.path, offset: offset, knownDurable: knownDurable)
  }

  // MARK: - Segments

  private enum OpenResult {
    case opened
    case listChanged
    case damage(Damage)
  }

  private mutating func openSegment() throws(WALError) -> OpenResult {
    let segment = segments[index]
    let file: any File
    do {
      file = try fileSystem.open(segment.path, .readOnly)
    } catch {
      guard error.isNotFound, directory != nil else { throw error }
      return try relocate()
    }
    // A shared lock keeps the file from being recycled while it is read.
    guard try file.tryLock(exclusive: false) else {
      guard directory != nil else {
        throw .locked(path: segment.path, holder: "a process that is recycling it")
      }
      return try relocate()
    }
    window.invalidate()
    let count = try window.load(file, at: 0, count: Format.segmentHeaderBytes)
    let header: SegmentHeader
    do {
      header = try SegmentHeader(parsing: window.bytes(at: 0, count: count).bytes)
    } catch {
      if error.isUnsupported { throw .unsupported(path: segment.path, offset: 0, error) }
      // The header was durable before the file got its name, so this is never a torn write.
      return .damage(try headerDamage(.violation(error), file))
    }
    if let name = segment.firstSequence, name != header.firstSequence {
      return .damage(try headerDamage(.segmentStart(found: header.firstSequence), file))
    }
    if let knownOrigin, knownOrigin != header.origin {
      return .damage(try headerDamage(.origin, file))
    }
    let expected = position ?? header.previous
    knownOrigin = header.origin
    if header.firstSequence > expected.sequence + 1 {
      // Nothing of what lies between is anywhere; whether it ever was on the disk shows behind.
      var search = DamageSearch(
        position: expected, checksum: Checksum(origin: header.origin), origin: header.origin)
      try search.scan(later: segments[index...], in: fileSystem, window: &window)
      return .damage(
        search.verdict(
          .missing(through: header.firstSequence - 1), path: segment.path, offset: 0,
          knownDurable: knownDurable))
    }
    guard header.previous == expected || (!isEpochKnown && header.previousCRC == expected.crc)
    else {
      return .damage(
        try headerDamage(
          header.firstSequence == expected.sequence + 1
            ? .chain(found: header.firstSequence)
            : .segmentStart(found: header.firstSequence), file))
    }
    guard header.firstSequence > 1 || header.previousCRC == 0 else {
      return .damage(try headerDamage(.violation(.frameNumbers), file))
    }
    position = expected
    offset = UInt64(Format.segmentHeaderBytes)
    open = OpenSegment(file: file, size: try file.size(), header: header)
    return .opened
  }

  /// A damaged or foreign segment header. What is behind it is read as frames of this log.
  private mutating func headerDamage(
    _ finding: Damage.Finding, _ file: any File
  ) throws(WALError) -> Damage {
    let sequence = (segments[index].firstSequence ?? 1) - 1
    let position =
      self.position
      ?? LogPosition(epoch: LogPosition.start.epoch, sequence: sequence, crc: 0)
    guard let knownOrigin else {
      return Damage(
        kind: .corrupt, path: file.path, offset: 0, sequence: position.sequence + 1,
        finding: finding)
    }
    var search = DamageSearch(
      position: position, checksum: Checksum(origin: knownOrigin), origin: knownOrigin)
    search.includesNext = true
    try search.scan(
      file, size: try file.size(), from: UInt64(Format.segmentHeaderBytes), atFrame: false,
      window: &window)
    try search.scan(later: segments[(index + 1)...], in: fileSystem, window: &window)
    var damage = search.verdict(finding, path: file.path, offset: 0, knownDurable: knownDurable)
    damage.kind = .corrupt
    return damage
  }

  private enum StepResult {
    case stepped
    case damage(Damage)
    case end
  }

  /// Goes from the end of one segment to the next one, if that is where the log goes on.
  private mutating func stepOver(_ open: OpenSegment) throws(WALError) -> StepResult {
    let position = position!
    if index + 1 >= segments.count, try listAgain() {
      // The writer may have filled this segment before it began the next one.
      window.invalidate()
      return .stepped
    }
    if index + 1 < segments.count,
      segments[index + 1].firstSequence.map({ $0 <= position.sequence + 1 }) ?? true
    {
      index += 1
      self.open = nil
      return .stepped
    }
    let isLast = index + 1 >= segments.count
    if isLast, position.sequence >= knownDurable, !searchesBehindEnd { return .end }
    var search = DamageSearch(
      position: position, checksum: open.checksum, origin: open.header.origin)
    let isRestZero = try search.scan(
      open.file, size: open.size, from: offset, atFrame: false, window: &window)
    try search.scan(
      later: segments[min(index + 1, segments.count)...], in: fileSystem, window: &window)
    if isLast, isRestZero, search.proof == nil, search.continuation == nil {
      guard position.sequence < knownDurable else { return .end }
      return .damage(
        Damage(
          kind: .corrupt, path: open.file.path, offset: offset, sequence: position.sequence + 1,
          finding: .ends(beforeDurable: knownDurable)))
    }
    let finding: Damage.Finding =
      if let continuation = search.continuation {
        .missing(through: continuation.position.sequence)
      } else {
        .violation(.frameMagic)
      }
    return .damage(
      search.verdict(finding, path: open.file.path, offset: offset, knownDurable: knownDurable))
  }

  /// Looks for segments that have appeared behind the last one.
  private mutating func listAgain() throws(WALError) -> Bool {
    guard let directory else { return false }
    let last = segments.last?.firstSequence
    let new = try SegmentFile.list(directory, in: fileSystem).filter {
      last == nil || $0.firstSequence! > last!
    }
    segments += new
    return !new.isEmpty
  }

  /// The segment is gone: finds the one to go on with.
  private mutating func relocate() throws(WALError) -> OpenResult {
    segments = try SegmentFile.list(directory!, in: fileSystem)
    let wanted = position.map { $0.sequence + 1 } ?? fromSequence
    guard let found = segments.lastIndex(where: { $0.firstSequence! <= max(wanted, 1) }) else {
      guard position == nil, fromSequence == 0, !segments.isEmpty else {
        throw .notRetained(
          sequence: wanted, oldest: segments.first?.firstSequence ?? wanted)
      }
      index = 0
      return .listChanged
    }
    index = found
    return .listChanged
  }
}

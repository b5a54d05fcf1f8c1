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
  private var list: SegmentList
  private var open: OpenSegment?
  private var window = ReadWindow()
  private var offset: UInt64 = 0
  private var frameBytes = 0
  /// Where the next frame has to go on from; nil before the first segment was opened.
  private var position: LogPosition?
  /// False right behind damage, where an epoch may have begun unseen.
  private var isEpochKnown = true
  private var pending: Damage.Continuation?
  private let fromSequence: UInt64
  /// Frames that end before it are read, and not returned.
  private let returnsFrom: UInt64

  /// Records up to here were on the disk, says somebody outside the log: damage to them is never
  /// taken for a torn write.
  public var knownDurable: UInt64 = 0
  /// Frames behind this number are not looked at.
  public var limit: UInt64 = .max
  /// Whether `next()` looks for frames behind the end, which a lost sector would hide. Costs a read
  /// of the rest of the segment.
  public var searchesBehindEnd = true

  /// The position that the log was read up to; nil before anything was read.
  public var end: LogPosition? { position }
  /// The log's id, once a segment was opened.
  public private(set) var origin: UInt64?
  /// The header of the segment that is being read.
  public var segmentHeader: SegmentHeader? { open?.header }
  /// The file that is being read.
  public var path: String? { list.current?.path }
  /// Where in it the next frame is expected.
  public var nextOffset: UInt64 { offset }
  /// Where in it the last frame begins.
  public private(set) var frameOffset: UInt64 = 0

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
    try self.init(
      directory: directory, from: from, returnsFrom: from ?? 0, fileSystem: fileSystem)
  }

  /// The same, but returns every frame of the segment that `from` is in.
  ///
  /// - Parameter origin: the log's, where it is known: with it what is behind a damaged header can be
  ///   read.
  init(
    directory: String, segmentOf from: UInt64?, origin: UInt64?, fileSystem: any FileSystem
  ) throws(WALError) {
    try self.init(directory: directory, from: from, returnsFrom: 0, fileSystem: fileSystem)
    self.origin = origin
  }

  private init(
    directory: String, from: UInt64?, returnsFrom: UInt64, fileSystem: any FileSystem
  ) throws(WALError) {
    self.fileSystem = fileSystem
    self.returnsFrom = returnsFrom
    fromSequence = from ?? 0
    list = SegmentList(directory: directory, fileSystem: fileSystem)
    _ = try listAgain()
  }

  /// Reads the log in `directory` from the first frame behind that place.
  ///
  /// - Throws: `notRetained` when the log begins behind it.
  public init(
    directory: String, from bookmark: LogBookmark,
    fileSystem: any FileSystem = SystemFileSystem()
  ) throws(WALError) {
    self.fileSystem = fileSystem
    fromSequence = 0
    returnsFrom = 0
    origin = bookmark.origin
    position = bookmark.position
    list = SegmentList(directory: directory, fileSystem: fileSystem)
    _ = try listAgain()
    while open == nil, list.current?.firstSequence == bookmark.segment {
      guard let file = try list.open(wanted: wanted) else { continue }
      let count = try window.load(file, at: 0, count: Format.segmentHeaderBytes)
      let header: SegmentHeader
      do {
        header = try SegmentHeader(parsing: window.bytes(at: 0, count: count).bytes)
      } catch {
        // Opened in the usual way, it is judged.
        return
      }
      guard header.origin == bookmark.origin, header.firstSequence == bookmark.segment else {
        return
      }
      open = OpenSegment(file: file, size: try file.size(), header: header)
      offset = bookmark.offset
    }
  }

  /// The place behind the frame that `next()` returned last; nil when the segment has no number, or
  /// before the first frame.
  public var bookmark: LogBookmark? {
    guard let open, let position, list.current?.firstSequence != nil else { return nil }
    return LogBookmark(
      origin: open.header.origin, segment: open.header.firstSequence, offset: offset,
      position: position)
  }

  /// Reads these segments, in this order, as one log.
  ///
  /// - Parameters:
  ///   - origin: the log's, where it is known: with it what is behind a damaged header can be read.
  ///   - chunkBytes: what is read at once; nil for what is fastest.
  public init(
    files: [SegmentFile], origin: UInt64? = nil, chunkBytes: Int? = nil,
    fileSystem: any FileSystem = SystemFileSystem()
  ) {
    if let chunkBytes { window = ReadWindow(chunkBytes: chunkBytes) }
    self.origin = origin
    self.fileSystem = fileSystem
    list = SegmentList(files: files, fileSystem: fileSystem)
    fromSequence = 0
    returnsFrom = 0
  }

  /// The records of the frame that `next()` returned last.
  public func withRecords<R, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    let bytes = window.bytes(
      at: frameOffset + UInt64(Format.frameHeaderBytes),
      count: frameBytes - Format.frameHeaderBytes)
    return try body(bytes.bytes)
  }

  /// The whole of that frame, as it is on the disk.
  public func withFrame<R, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    try body(window.bytes(at: frameOffset, count: frameBytes).bytes)
  }

  /// The next frame, or what stands in its place.
  ///
  /// The log may be written, rotated and retired meanwhile: what looks like damage, or like the end,
  /// is looked at again, with nothing in memory, before it is believed.
  ///
  /// - Throws: `system` when a file cannot be read, `unsupported` when a later version wrote it,
  ///   `notRetained` when the log was retired under the reader.
  public mutating func next() throws(WALError) -> Event {
    pending = nil
    window.isFresh = false
    while true {
      if let position, position.sequence >= limit { return .end }
      guard let open else {
        while list.current == nil {
          guard try listAgain() else { return .end }
        }
        if let damage = try openSegment() {
          if try listAgain() { continue }
          return stay(damage)
        }
        continue
      }
      var found = try readFrame(open)
      if case .frame = found {
      } else if !window.isFresh {
        window.invalidate()
        found = try readFrame(open)
      }
      switch found {
      case .frame(let header):
        accept(header)
        if header.lastSequence >= returnsFrom { return .frame(header) }
      case .bad(let bad) where bad.isCorrupt || !doesNextSegmentFollow:
        let damage = try classify(bad, in: open)
        if try isChanged(open) { continue }
        return stay(damage)
      case .bad, .gap, .end:
        // Behind the last frame of a segment nothing counts once the next segment goes on from it.
        let isMarked = if case .end = found { true } else { false }
        switch try stepOver(open, isMarked: isMarked) {
        case .stepped: continue
        case .damage(let damage):
          if try isChanged(open) { continue }
          return stay(damage)
        case .end: return .end
        }
      }
    }
  }

  private mutating func accept(_ header: FrameHeader) {
    frameOffset = offset
    frameBytes = header.frameBytes
    offset += UInt64(header.frameBytes)
    position = header.position
    isEpochKnown = true
  }

  /// True when a second look finds a frame, or another set of segments.
  private mutating func isChanged(_ open: OpenSegment) throws(WALError) -> Bool {
    window.invalidate()
    if try listAgain() { return true }
    if case .frame = try readFrame(open) { return true }
    return false
  }

  /// Goes on behind the damage that `next()` has just returned.
  ///
  /// - Returns: false when there is nothing whole behind it.
  public mutating func resume() throws(WALError) -> Bool {
    guard let pending, let origin,
      let target = list.segments.firstIndex(where: { $0.path == pending.path })
    else { return false }
    self.pending = nil
    if target > 0 || open == nil {
      list.step(over: target)
      open = nil
      guard let file = try list.open(wanted: wanted) else { return false }
      window.invalidate()
      let count = try window.load(file, at: 0, count: Format.segmentHeaderBytes)
      let header: SegmentHeader
      do {
        let found = try SegmentHeader(parsing: window.bytes(at: 0, count: count).bytes)
        guard found.origin == origin else { throw FormatViolation.segmentMagic }
        header = found
      } catch {
        // The segment's own header is what is damaged; the log's origin is known from before.
        header = SegmentHeader(origin: origin, previous: pending.position, durableSequence: 0)
      }
      open = OpenSegment(file: file, size: try file.size(), header: header)
    }
    window.invalidate()
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

  /// Bytes that are not the next frame, before anybody has asked what that means.
  private struct Bad {
    var finding: Damage.Finding
    /// Where to look for evidence.
    var searchFrom: UInt64
    /// True when a frame may stand right there.
    var isAtFrame = false
    /// True when no crash writes such a thing.
    var isCorrupt = false
  }

  private enum FrameResult {
    case frame(FrameHeader)
    case bad(Bad)
    /// The end marker behind the last frame.
    case end
    /// No frame at `offset`, and nothing that looks like the rest of one.
    case gap
  }

  private mutating func readFrame(_ open: OpenSegment) throws(WALError) -> FrameResult {
    let position = position!
    let headerBytes = Format.frameHeaderBytes
    if offset + UInt64(headerBytes) > open.size {
      // An empty segment grows when its first frame does not fit.
      open.size = try open.file.size()
    }
    let expected = Int(min(UInt64(headerBytes), open.size - min(offset, open.size)))
    let loaded = try window.load(open.file, at: offset, count: expected)
    let headerPointer = window.bytes(at: offset, count: loaded)
    if EndMarker(parsing: headerPointer.bytes, checksum: open.checksum) == EndMarker(position) {
      return .end
    }
    guard loaded == headerBytes else { return .gap }
    let header: FrameHeader
    do {
      header = try FrameHeader(parsing: headerPointer.bytes, checksum: open.checksum)
    } catch {
      if headerPointer.bytes.isZero { return .gap }
      if error.isUnsupported {
        throw .unsupported(path: path!, offset: offset, error)
      }
      return .bad(Bad(finding: .violation(error), searchFrom: offset))
    }
    guard header.recordCount > 0 else {
      return .bad(Bad(finding: .violation(.frameNumbers), searchFrom: offset))
    }
    guard header.follows(position) else {
      return .bad(Bad(finding: .chain(found: header.firstSequence), searchFrom: offset))
    }
    if offset + UInt64(header.frameBytes) > open.size { open.size = try open.file.size() }
    guard offset + UInt64(header.frameBytes) <= open.size,
      try window.load(open.file, at: offset, count: header.frameBytes) == header.frameBytes
    else {
      let violation = FormatViolation.frameLength(UInt32(header.recordsBytes))
      return .bad(Bad(finding: .violation(violation), searchFrom: open.size))
    }
    let records = window.bytes(
      at: offset + UInt64(headerBytes), count: header.recordsBytes)
    do {
      try header.validate(
        records: records.bytes, previous: isEpochKnown ? position.epoch : nil,
        checksum: open.checksum)
    } catch {
      if error.isUnsupported {
        throw .unsupported(path: path!, offset: offset, error)
      }
      // Behind a whole header its length is known: what is inside the records is never searched,
      // because a value may contain anything.
      return .bad(
        Bad(
          finding: .violation(error), searchFrom: offset + UInt64(header.frameBytes),
          isAtFrame: true, isCorrupt: error != .recordsChecksum))
    }
    return .frame(header)
  }

  /// True when the next segment's name says that the log goes on there.
  private var doesNextSegmentFollow: Bool {
    list.next?.firstSequence == position!.sequence + 1
  }

  private mutating func classify(_ bad: Bad, in open: OpenSegment) throws(WALError) -> Damage {
    var search = DamageSearch(
      position: position!, checksum: open.checksum, origin: open.header.origin)
    try search.scan(
      open.file, size: open.size, from: bad.searchFrom, atFrame: bad.isAtFrame,
      isShipped: open.header.isShipped, window: &window)
    try search.scan(later: list.later, in: fileSystem, window: &window)
    var damage = search.verdict(
      bad.finding, path: path!, offset: offset, knownDurable: knownDurable)
    if bad.isCorrupt { damage.kind = .corrupt }
    return damage
  }

  // MARK: - Segments

  /// Opens the next segment.
  ///
  /// - Returns: what is wrong with it; nil when it was opened, or when the list has changed.
  private mutating func openSegment() throws(WALError) -> Damage? {
    let segment = list.current!
    guard let file = try list.open(wanted: wanted) else { return nil }
    window.invalidate()
    let count = try window.load(file, at: 0, count: Format.segmentHeaderBytes)
    let header: SegmentHeader
    do {
      header = try SegmentHeader(parsing: window.bytes(at: 0, count: count).bytes)
    } catch {
      if error.isUnsupported { throw .unsupported(path: segment.path, offset: 0, error) }
      // The header was durable before the file got its name, so this is never a torn write.
      return try headerDamage(.violation(error), file)
    }
    if let name = segment.firstSequence, name != header.firstSequence {
      return try headerDamage(.segmentStart(found: header.firstSequence), file)
    }
    if let origin, origin != header.origin { return try headerDamage(.origin, file) }
    origin = header.origin
    let size = try file.size()
    if size < header.fileBytes {
      return try headerDamage(.shortened(fromBytes: header.fileBytes), file)
    }
    let expected = position ?? header.previous
    let isSame =
      isEpochKnown
      ? header.previous == expected
      : header.firstSequence == expected.sequence + 1 && header.previousCRC == expected.crc
    guard isSame else {
      return try headerDamage(
        header.firstSequence == expected.sequence + 1
          ? .chain(found: header.firstSequence)
          : .segmentStart(found: header.firstSequence), file)
    }
    guard header.firstSequence > 1 || header.previous == .start else {
      return try headerDamage(.violation(.frameNumbers), file)
    }
    position = expected
    offset = UInt64(Format.segmentHeaderBytes)
    open = OpenSegment(file: file, size: size, header: header)
    return nil
  }

  /// A damaged or foreign segment header. What is behind it is read as frames of this log.
  private mutating func headerDamage(
    _ finding: Damage.Finding, _ file: any File
  ) throws(WALError) -> Damage {
    let sequence = (list.current?.firstSequence ?? 1) - 1
    let position =
      self.position
      ?? LogPosition(epoch: LogPosition.start.epoch, sequence: sequence, crc: 0)
    guard let origin else {
      return Damage(
        kind: .corrupt, path: file.path, offset: 0, sequence: position.sequence + 1,
        finding: finding)
    }
    var search = DamageSearch(
      position: position, checksum: Checksum(origin: origin), origin: origin)
    search.includesNext = true
    try search.scan(
      file, size: try file.size(), from: UInt64(Format.segmentHeaderBytes), atFrame: false,
      isShipped: false, window: &window)
    try search.scan(later: list.later, in: fileSystem, window: &window)
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
  ///
  /// - Parameter isMarked: whether an end marker stands there.
  private mutating func stepOver(
    _ open: OpenSegment, isMarked: Bool
  ) throws(WALError) -> StepResult {
    let position = position!
    if list.next == nil, try listAgain() {
      // The writer may have filled this segment before it began the next one.
      window.invalidate()
      return .stepped
    }
    let next = list.next
    if let next, next.firstSequence.map({ $0 <= position.sequence + 1 }) ?? true {
      list.step()
      self.open = nil
      return .stepped
    }
    if let next, list.isCurrentRetired {
      // Retired under the reader, and what came behind it too.
      throw .notRetained(
        sequence: position.sequence + 1, oldest: next.firstSequence ?? position.sequence)
    }
    let isLast = next == nil
    if isLast, position.sequence >= knownDurable, isMarked || !searchesBehindEnd { return .end }
    var search = DamageSearch(
      position: position, checksum: open.checksum, origin: open.header.origin)
    let isRestZero = try search.scan(
      open.file, size: open.size, from: offset, atFrame: false,
      isShipped: open.header.isShipped, window: &window)
    try search.scan(later: list.later, in: fileSystem, window: &window)
    let isEnd = isMarked || (isRestZero && !open.header.isMarked)
    if isLast, isEnd, search.proof == nil, search.continuation == nil {
      guard position.sequence < knownDurable else { return .end }
      return .damage(
        Damage(
          kind: .corrupt, path: path!, offset: offset, sequence: position.sequence + 1,
          finding: .ends(beforeDurable: knownDurable)))
    }
    let finding: Damage.Finding =
      if let continuation = search.continuation {
        .missing(through: continuation.position.sequence)
      } else {
        .violation(open.header.isMarked ? .endMarker : .frameMagic)
      }
    return .damage(
      search.verdict(finding, path: path!, offset: offset, knownDurable: knownDurable))
  }

  /// The next sequence number to be read; nil for the log's first.
  private var wanted: UInt64? {
    position.map { $0.sequence + 1 } ?? (fromSequence > 0 ? fromSequence : nil)
  }

  private mutating func listAgain() throws(WALError) -> Bool {
    try list.refresh(isReading: open != nil, wanted: wanted)
  }
}

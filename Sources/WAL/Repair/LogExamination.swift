/// What a log's files hold: stretches of whole frames, and the holes between them.
///
/// Reads everything as recovery does, and goes on behind each damage; what cannot be read at all is
/// damaged. A file is *good* when what is
/// in it can stay as it is; whatever else there is has to be written anew.
package struct LogExamination: Sendable {
  /// What is known of the log from elsewhere.
  package struct Known: Sendable {
    /// The log's id; nil where only the segments say it.
    package var origin: UInt64?
    /// Where the newest snapshot ends that is whole: the log is needed from there on.
    package var base: LogPosition?
    /// Where the log was closed in order; nil when it was not.
    package var end: LogPosition?
    /// The number that the log begins with; nil where it may begin anywhere at or before the base's.
    package var first: UInt64?

    package init(
      origin: UInt64? = nil, base: LogPosition? = nil, end: LogPosition? = nil,
      first: UInt64? = nil
    ) {
      self.origin = origin
      self.base = base
      self.end = end
      self.first = first
    }
  }

  /// Frames that stand one behind the other in a file.
  package struct Stretch: Hashable, Sendable {
    package var path: String
    package var offsets: Range<UInt64>
    /// Its epoch is a guess behind a hole.
    package var before: LogPosition
    package var end: LogPosition
  }

  package enum Item: Hashable, Sendable {
    case frames(Stretch)
    case hole(LogHole)
  }

  package struct FileState: Hashable, Sendable {
    package var segment: SegmentFile
    /// Nil when it is not a whole one of this log.
    package var header: SegmentHeader?
    package var bytes: UInt64
    package var isGood: Bool
  }

  package private(set) var origin: UInt64?
  package private(set) var items: [Item] = []
  /// Oldest first.
  package private(set) var files: [FileState] = []
  /// A torn write at the end: recovery saves it, and cuts it off.
  package private(set) var torn: Damage?
  /// The last position that was read.
  package private(set) var end: LogPosition?
  /// The position with the sequence number that was asked for, if a frame ends there.
  package private(set) var probed: LogPosition?

  /// The holes, oldest first.
  package var holes: [LogHole] {
    items.compactMap { if case .hole(let hole) = $0 { hole } else { nil } }
  }
  package var isWhole: Bool { holes.isEmpty && files.allSatisfy(\.isGood) }

  private let known: Known
  private let limit: UInt64
  private let probe: UInt64?
  private let fileSystem: any FileSystem
  private var pending: LogHole?

  /// - Parameters:
  ///   - segments: of the log, oldest first.
  ///   - limit: what is behind this number is not looked at: it is being written. The last segment
  ///     belongs to that then.
  ///   - probe: a sequence number whose position is wanted.
  ///   - spent: called with the bytes that were read.
  /// - Throws: `unsupported` for what a later version wrote, `damaged` where two histories meet, that of a
  ///   system call, what `spent` throws.
  package static func run(
    _ segments: [SegmentFile], _ known: Known, limit: UInt64 = .max, probe: UInt64? = nil,
    fileSystem: any FileSystem, spent: (Int) throws(WALError) -> Void
  ) throws(WALError) -> LogExamination {
    var found = LogExamination(
      known, limit, probe, UnreadableAsZeros(fileSystem: fileSystem))
    try found.open(segments)
    guard found.origin != nil else { return found }
    found.beginBehindBase()
    if !segments.isEmpty {
      try found.read(segments, spent)
    } else if let end = known.end, end.sequence > known.base?.sequence ?? 0 {
      found.endAtNote(end, found.damage(.ends(beforeDurable: end.sequence), in: "wal"))
    }
    try found.judge()
    return found
  }

  private init(
    _ known: Known, _ limit: UInt64, _ probe: UInt64?, _ fileSystem: any FileSystem
  ) {
    self.known = known
    self.limit = limit
    self.probe = probe
    self.fileSystem = fileSystem
  }

  // MARK: - Files

  private mutating func open(_ segments: [SegmentFile]) throws(WALError) {
    var votes: [UInt64: Int] = [:]
    for segment in segments {
      let file = try fileSystem.open(segment.path, .readOnly)
      let header = try Self.header(of: file, segment)
      if let header { votes[header.origin, default: 0] += 1 }
      files.append(
        FileState(segment: segment, header: header, bytes: try file.size(), isGood: false))
    }
    // A segment of another log may have got among them.
    origin =
      known.origin
      ?? votes.max { ($0.value, $0.key) < ($1.value, $1.key) }?.key
    for number in files.indices {
      guard let header = files[number].header else { continue }
      let isOwn =
        header.origin == origin && header.firstSequence == files[number].segment.firstSequence
        && files[number].bytes >= header.fileBytes
      if !isOwn { files[number].header = nil }
    }
  }

  private static func header(
    of file: any File, _ segment: SegmentFile
  ) throws(WALError) -> SegmentHeader? {
    let bytes = try file.bytes(count: Format.segmentHeaderBytes)
    do {
      return try SegmentHeader(parsing: bytes.span.bytes)
    } catch {
      if error.isUnsupported { throw .unsupported(path: segment.path, offset: 0, error) }
      return nil
    }
  }

  private func header(of path: String) -> SegmentHeader? {
    files.first { $0.segment.path == path }?.header
  }

  private func hasEndMarker(
    _ path: String, at offset: UInt64, _ position: LogPosition
  ) throws(WALError) -> Bool {
    let bytes = try fileSystem.open(path, .readOnly)
      .bytes(at: offset, count: Format.endMarkerBytes)
    let marker = EndMarker(parsing: bytes.span.bytes, checksum: Checksum(origin: origin!))
    return marker == EndMarker(position)
  }

  // MARK: - Reading

  private func damage(_ finding: Damage.Finding, in path: String) -> Damage {
    Damage(
      corrupt: path, sequence: (end ?? known.base ?? .start).sequence + 1, finding: finding)
  }

  /// The log may begin behind where it is needed from.
  private mutating func beginBehindBase() {
    guard let segment = files.first?.segment, let found = segment.firstSequence else { return }
    var after = known.base ?? (known.first ?? 1 == 1 ? .start : nil)
    let first = known.first ?? (known.base?.sequence ?? 0) + 1
    guard found > first else { return }
    if after?.sequence != first - 1 { after = nil }
    var damage = damage(.missing(through: found - 1), in: segment.path)
    damage.sequence = first
    pending = LogHole(after: after, first: first, end: nil, damage: damage)
  }

  private mutating func read(
    _ segments: [SegmentFile], _ spent: (Int) throws(WALError) -> Void
  ) throws(WALError) {
    var reader = LogReader(files: segments, origin: origin, fileSystem: fileSystem)
    reader.knownDurable = max(known.end?.sequence ?? 0, known.base?.sequence ?? 0)
    if limit != .max {
      reader.limit = limit
      reader.knownDurable = limit
    }
    while true {
      switch try reader.next() {
      case .frame(let header):
        try spent(header.frameBytes)
        try take(header, reader.path!, reader.frameOffset..<reader.nextOffset)
      case .damage(let damage):
        open(at: damage)
        if try reader.resume() { continue }
        return try conclude(damage, reader.end)
      case .end:
        return try conclude(reader)
      }
    }
  }

  private mutating func take(
    _ header: FrameHeader, _ path: String, _ offsets: Range<UInt64>
  ) throws(WALError) {
    let before = LogPosition(
      epoch: end?.epoch ?? header.epoch, sequence: header.firstSequence - 1,
      crc: header.previousCRC)
    if pending != nil {
      try close(at: before)
    } else if case .frames(var stretch) = items.last, stretch.path == path,
      stretch.offsets.upperBound == offsets.lowerBound
    {
      stretch.offsets = stretch.offsets.lowerBound..<offsets.upperBound
      stretch.end = header.position
      items[items.count - 1] = .frames(stretch)
      return passed(header.position)
    }
    items.append(
      .frames(Stretch(path: path, offsets: offsets, before: before, end: header.position)))
    passed(header.position)
  }

  private mutating func passed(_ position: LogPosition) {
    end = position
    if position.sequence == probe { probed = position }
  }

  private mutating func open(at damage: Damage) {
    guard pending == nil else { return }
    var after = end
    if after == nil, damage.sequence == 1 { after = .start }
    if after == nil, let base = known.base, base.sequence + 1 == damage.sequence { after = base }
    pending = LogHole(after: after, first: damage.sequence, end: nil, damage: damage)
  }

  /// The log goes on from there.
  private mutating func close(at position: LogPosition) throws(WALError) {
    guard var hole = pending else { return }
    pending = nil
    if position.sequence >= hole.first {
      hole.end = LogHole.End(sequence: position.sequence, crc: position.crc)
      return items.append(.hole(hole))
    }
    // Nothing is missing: what was damaged is a segment's header, or a name.
    if let after = hole.after, after.crc != position.crc { throw .damaged(hole.damage) }
  }

  /// The log was read to its end.
  private mutating func conclude(_ reader: borrowing LogReader) throws(WALError) {
    if let end = reader.end { try close(at: end) }
    guard limit == .max, let path = reader.path, header(of: path) == nil, let end,
      try !hasEndMarker(path, at: reader.nextOffset, end)
    else { return }
    // The file's header is damaged, or its end is gone, and the log seems to end in it.
    var damage = damage(.violation(.endMarker), in: path)
    damage.offset = reader.nextOffset
    open(at: damage)
    try endUnknown(damage)
  }

  /// Nothing whole is behind the damage.
  private mutating func conclude(_ damage: Damage, _ place: LogPosition?) throws(WALError) {
    if damage.kind == .torn, header(of: damage.path) != nil, known.end == nil || limit != .max {
      // Between an earlier damage and this one nothing but a header may be whole.
      if let place, let hole = pending, place.sequence >= hole.first {
        try close(at: place)
      }
      pending = nil
      torn = damage
      return
    }
    try endUnknown(damage)
  }

  /// Only the note of a clean stop says how far the log went, if that.
  private mutating func endUnknown(_ damage: Damage) throws(WALError) {
    if let note = known.end {
      if note == end { return pending = nil }
      if note.sequence >= damage.sequence { return endAtNote(note, damage) }
    }
    if let hole = pending { items.append(.hole(hole)) }
    pending = nil
  }

  private mutating func endAtNote(_ note: LogPosition, _ damage: Damage) {
    open(at: damage)
    guard var hole = pending else { return }
    hole.end = LogHole.End(sequence: note.sequence, crc: note.crc)
    items.append(.hole(hole))
    pending = nil
  }

  // MARK: - What can stay

  private mutating func judge() throws(WALError) {
    let last = files.count - 1
    for number in files.indices {
      let file = files[number]
      if limit != .max, number == last {
        files[number].isGood = true
      } else if let torn, file.segment.path > torn.path {
        // Recovery has to see it as it is.
        files[number].isGood = true
      } else if let header = file.header {
        files[number].isGood = try canStay(file.segment.path, header, isLast: number == last)
      }
    }
  }

  private func canStay(
    _ path: String, _ header: SegmentHeader, isLast: Bool
  ) throws(WALError) -> Bool {
    let own = items.indices.filter {
      if case .frames(let stretch) = items[$0] { stretch.path == path } else { false }
    }
    guard let only = own.first, case .frames(let stretch) = items[only] else {
      // Nothing is in it yet.
      let isBehind = end.map { header.firstSequence == $0.sequence + 1 } ?? true
      let isSame = end.map { header.previousCRC == $0.crc } ?? true
      return isLast && isBehind && isSame && !endsWithHole
    }
    guard own.count == 1, stretch.offsets.lowerBound == UInt64(Format.segmentHeaderBytes),
      stretch.before.sequence + 1 == header.firstSequence,
      stretch.before.crc == header.previousCRC
    else { return false }
    guard only + 1 < items.count, case .hole = items[only + 1] else { return true }
    return try hasEndMarker(path, at: stretch.offsets.upperBound, stretch.end)
  }

  private var endsWithHole: Bool { if case .hole = items.last { true } else { false } }
}

/// Writes a stretch of a log anew: frames that exist already, into segments under temporary names.
///
/// A segment begins where a file of the log that is there begins, and where one would become too large.
struct SegmentAssembly: ~Copyable {
  /// A segment that is written, and has not got its name yet.
  struct Draft {
    var firstSequence: UInt64
    var temporaryPath: String
    var position: LogPosition
  }

  struct Plan {
    var directory: String
    var origin: UInt64
    /// The first sequence numbers of the files that are there.
    var names: Set<UInt64>
    var bytesMax: UInt64
    /// Whether the durable numbers of a segment's frames speak of another disk.
    var isShipped: (_ firstSequence: UInt64) -> Bool
    /// The least size of a segment's file.
    var fileBytes: (_ firstSequence: UInt64) -> UInt64
  }

  private static let bufferBytes = 1 << 20
  static let suffix = ".anew.tmp"

  private let plan: Plan
  private let fileSystem: any FileSystem
  private let checksum: Checksum
  private var window = ReadWindow()
  private var file: (any File)?
  private var offset: UInt64 = 0
  private var buffer: [UInt8] = []
  private var previous = LogPosition.start
  /// The last frame that was written; nil before the first.
  private var position: LogPosition?
  private(set) var drafts: [Draft] = []

  init(_ plan: Plan, fileSystem: any FileSystem) {
    self.plan = plan
    self.fileSystem = fileSystem
    checksum = Checksum(origin: plan.origin)
  }

  /// Adds the frames in a part of a file; they are checked again when all is written.
  ///
  /// - Throws: `invalidFile` when what is there now is no frame any more.
  mutating func append(
    _ offsets: Range<UInt64>, of source: any File, _ check: () throws(WALError) -> Void
  ) throws(WALError) {
    window.invalidate()
    var from = offsets.lowerBound
    while from < offsets.upperBound {
      try check()
      let header = try frameHeader(source, at: from)
      let count = header.frameBytes
      guard try window.load(source, at: from, count: count) == count else {
        throw changed(source, from)
      }
      let isFull =
        offset + UInt64(buffer.count + count + Format.endMarkerBytes) > plan.bytesMax
      if file == nil || plan.names.contains(header.firstSequence) || isFull {
        try begin(header, window.bytes(at: from, count: count))
      }
      try write(window.bytes(at: from, count: count))
      position = header.position
      drafts[drafts.count - 1].position = header.position
      from += UInt64(count)
    }
  }

  /// Adds what stands behind the log's end in a file: what it is has to be found out by a start.
  mutating func append(
    rest: Range<UInt64>, of source: any File
  ) throws(WALError) {
    precondition(file != nil, "there is a frame before it")
    try flush()
    var from = rest.lowerBound
    while from < rest.upperBound {
      let bytes = try source.bytes(
        at: from, count: Int(min(UInt64(Self.bufferBytes), rest.upperBound - from)))
      guard !bytes.isEmpty else { throw changed(source, from) }
      try file!.writeAll(bytes, at: offset)
      offset += UInt64(bytes.count)
      from += UInt64(bytes.count)
    }
    try finish(isEnded: false)
  }

  private mutating func frameHeader(
    _ source: any File, at offset: UInt64
  ) throws(WALError) -> FrameHeader {
    let count = try window.load(source, at: offset, count: Format.frameHeaderBytes)
    do {
      return try FrameHeader(
        parsing: window.bytes(at: offset, count: count).bytes, checksum: checksum)
    } catch {
      throw changed(source, offset)
    }
  }

  private func changed(_ source: any File, _ offset: UInt64) -> WALError {
    .invalidFile(
      path: source.path, offset: offset, reason: "a frame that was whole a moment ago is not now")
  }

  /// Begins a segment with that frame.
  private mutating func begin(
    _ header: FrameHeader, _ frame: UnsafeRawBufferPointer
  ) throws(WALError) {
    try finish()
    previous = LogPosition(
      epoch: try Self.epoch(before: header, frame), sequence: header.firstSequence - 1,
      crc: header.previousCRC)
    let path = plan.directory + "/" + SegmentName.stem(header.firstSequence) + Self.suffix
    file = try fileSystem.fresh(path)
    offset = UInt64(Format.segmentHeaderBytes)
    drafts.append(
      Draft(
        firstSequence: header.firstSequence, temporaryPath: path, position: header.position))
  }

  /// That of the frame before: the same, unless this one begins an epoch, which says it then.
  private static func epoch(
    before header: FrameHeader, _ frame: UnsafeRawBufferPointer
  ) throws(WALError) -> Epoch {
    let records = UnsafeRawBufferPointer(rebasing: frame[Format.frameHeaderBytes...]).bytes
    do {
      var cursor = RecordCursor(count: header.recordCount)
      guard let record = try cursor.next(in: records), record.type == .epoch else {
        return header.epoch
      }
      return try EpochChange(parsing: records.extracting(record.value)).previous
    } catch {
      throw .setting("\(error)")
    }
  }

  private mutating func write(_ bytes: UnsafeRawBufferPointer) throws(WALError) {
    if buffer.count + bytes.count > Self.bufferBytes { try flush() }
    if bytes.count > Self.bufferBytes {
      try file!.writeAll(bytes, at: offset)
      offset += UInt64(bytes.count)
    } else {
      buffer += bytes
    }
  }

  private mutating func flush() throws(WALError) {
    guard !buffer.isEmpty else { return }
    try file!.writeAll(buffer, at: offset)
    offset += UInt64(buffer.count)
    buffer.removeAll(keepingCapacity: true)
  }

  /// Ends the segment that is being written, and makes it durable.
  ///
  /// - Parameter isEnded: whether the log, or this segment of it, ends here.
  mutating func finish(isEnded: Bool = true) throws(WALError) {
    guard let file, let draft = drafts.last else { return }
    try flush()
    let end = offset + (isEnded ? UInt64(Format.endMarkerBytes) : 0)
    let bytes = (max(end, plan.fileBytes(draft.firstSequence)) + 4_095) / 4_096 * 4_096
    try file.allocate(bytes)
    if isEnded { try file.writeAll(EndMarker(draft.position).encoded(checksum), at: offset) }
    let header = SegmentHeader(
      origin: plan.origin, previous: previous, durableSequence: previous.sequence,
      fileBytes: bytes, isShipped: plan.isShipped(draft.firstSequence), isMarked: true)
    try file.writeAll(header.encoded, at: 0)
    try file.sync()
    self.file = nil
    offset = 0
  }
}

extension FileSystem {
  /// A new file in place of whatever an interrupted run has left under that name.
  func fresh(_ path: String) throws(WALError) -> any File {
    do {
      try remove(path)
    } catch {
      guard error.isNotFound else { throw error }
    }
    return try open(path, .create)
  }
}

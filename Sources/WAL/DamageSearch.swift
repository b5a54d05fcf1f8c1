/// Looks behind damage for what it says about it: where the log goes on, and whether the damaged
/// records are known to have been on the disk.
///
/// Evidence is a whole header of this log with a higher sequence number and no lower epoch than
/// what precedes the damage. Stale frames, which have lower numbers or an older epoch, say nothing.
struct DamageSearch {
  private let position: LogPosition
  private let checksum: Checksum
  private let origin: UInt64
  /// True when the frame that should come next counts as well, because what is damaged is the
  /// segment header before it.
  var includesNext = false
  /// True when a later segment's own header is damaged, or not this log's, or not what its name says.
  /// No crash does that, so it is no torn write that it stands behind.
  private(set) var hasBadSegment = false
  private(set) var proof: Damage.Proof?
  private(set) var continuation: Damage.Continuation?

  init(position: LogPosition, checksum: Checksum, origin: UInt64) {
    self.position = position
    self.checksum = checksum
    self.origin = origin
  }

  private var missing: UInt64 { position.sequence + 1 }
  private var isDone: Bool { proof != nil && continuation != nil }

  /// Reads the rest of a segment from `start`, a multiple of 8.
  ///
  /// - Parameters:
  ///   - atFrame: true when a frame is expected right there; then only where there is none are the
  ///     bytes searched.
  ///   - isShipped: the segment's: its frames' durable numbers speak of another disk.
  /// - Returns: true when all that was read is zero.
  @discardableResult
  mutating func scan(
    _ file: any File, size: UInt64, from start: UInt64, atFrame: Bool,
    isShipped: Bool, window: inout ReadWindow
  ) throws(WALError) -> Bool {
    let headerBytes = UInt64(Format.frameHeaderBytes)
    var offset = start
    var isHopping = atFrame
    var isZero = true
    while offset + headerBytes <= size, !isDone {
      if isHopping {
        if let header = try header(file, at: offset, window: &window), admits(header, offset, size)
        {
          note(header, file, offset, isShipped: isShipped)
          offset += UInt64(header.frameBytes)
          isZero = false
          continue
        }
        isHopping = false
      }
      guard
        let candidate = try nextMagic(
          file, size: size, from: offset, isZero: &isZero, window: &window)
      else { return isZero }
      offset = candidate
      guard offset + headerBytes <= size else { break }
      if let header = try header(file, at: offset, window: &window), admits(header, offset, size) {
        isHopping = true
      } else {
        offset += UInt64(Format.frameAlignmentBytes)
      }
    }
    if isZero, offset < size, !isDone {
      let count = try window.load(file, at: offset, count: Int(size - offset))
      isZero = window.bytes(at: offset, count: count).bytes.isZero
    }
    return isZero
  }

  /// Reads whole segments.
  mutating func scan(
    later segments: ArraySlice<SegmentFile>, in fileSystem: any FileSystem,
    window: inout ReadWindow
  ) throws(WALError) {
    for segment in segments where !isDone {
      let file: any File
      do {
        file = try fileSystem.open(segment.path, .readOnly)
      } catch {
        guard error.isNotFound else { throw error }
        continue
      }
      window.invalidate()
      let count = try window.load(file, at: 0, count: Format.segmentHeaderBytes)
      let headerBytes = window.bytes(at: 0, count: count)
      let parsed: SegmentHeader?
      do {
        parsed = try SegmentHeader(parsing: headerBytes.bytes)
      } catch {
        if error.isUnsupported { throw .unsupported(path: segment.path, offset: 0, error) }
        parsed = nil
      }
      guard let header = parsed else {
        // Its frames can still be evidence.
        hasBadSegment = true
        try scan(
          file, size: try file.size(), from: UInt64(Format.segmentHeaderBytes), atFrame: false,
          isShipped: true, window: &window)
        continue
      }
      let isNamed = header.firstSequence == segment.firstSequence ?? header.firstSequence
      let size = try file.size()
      if !isNamed || size < header.fileBytes || header.origin != origin { hasBadSegment = true }
      // Frames of another log would fail their checksums one by one; this is quicker.
      guard header.origin == origin else { continue }
      note(header, file)
      try scan(
        file, size: size, from: UInt64(Format.segmentHeaderBytes), atFrame: true,
        isShipped: header.isShipped, window: &window)
    }
    window.invalidate()
  }

  func verdict(
    _ finding: Damage.Finding, path: String, offset: UInt64, knownDurable: UInt64
  ) -> Damage {
    Damage(
      kind: proof != nil || hasBadSegment || missing <= knownDurable ? .corrupt : .torn,
      path: path, offset: offset, sequence: missing, finding: finding, proof: proof,
      continuation: continuation)
  }

  private func admits(_ header: FrameHeader, _ offset: UInt64, _ size: UInt64) -> Bool {
    header.recordCount > 0 && header.epoch >= position.epoch
      && header.firstSequence > (includesNext ? position.sequence : missing)
      && offset + UInt64(header.frameBytes) <= size
  }

  private mutating func note(
    _ header: FrameHeader, _ file: any File, _ offset: UInt64, isShipped: Bool
  ) {
    if continuation == nil {
      continuation = Damage.Continuation(
        path: file.path, offset: offset,
        position: LogPosition(
          epoch: position.epoch, sequence: header.firstSequence - 1, crc: header.previousCRC))
    }
    if proof == nil, !isShipped, header.durableSequence >= missing {
      proof = Damage.Proof(
        path: file.path, offset: offset, durableSequence: header.durableSequence)
    }
  }

  private mutating func note(_ header: SegmentHeader, _ file: any File) {
    guard header.previousEpoch >= position.epoch, header.firstSequence > missing else { return }
    if continuation == nil {
      continuation = Damage.Continuation(
        path: file.path, offset: UInt64(Format.segmentHeaderBytes), position: header.previous)
    }
    if proof == nil, header.durableSequence >= missing {
      proof = Damage.Proof(path: file.path, offset: 0, durableSequence: header.durableSequence)
    }
  }

  private func header(
    _ file: any File, at offset: UInt64, window: inout ReadWindow
  ) throws(WALError) -> FrameHeader? {
    let count = try window.load(file, at: offset, count: Format.frameHeaderBytes)
    guard count == Format.frameHeaderBytes else { return nil }
    do {
      return try FrameHeader(
        parsing: window.bytes(at: offset, count: count).bytes, checksum: checksum)
    } catch {
      // A whole header of a later version: what it stands for must not be cut.
      if error.isUnsupported { throw .unsupported(path: file.path, offset: offset, error) }
      return nil
    }
  }

  /// The next multiple of 8 where a frame's magic stands.
  private func nextMagic(
    _ file: any File, size: UInt64, from start: UInt64, isZero: inout Bool,
    window: inout ReadWindow
  ) throws(WALError) -> UInt64? {
    let step = Format.frameAlignmentBytes
    let magic = UInt64(Format.frameMagic)
    var offset = start
    while offset + UInt64(step) <= size {
      guard try window.load(file, at: offset, count: step) == step else { return nil }
      let available = window.available(at: offset) / step * step
      let bytes = window.bytes(at: offset, count: available)
      for index in stride(from: 0, to: available, by: step) {
        let word = bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self)
        guard word != 0 else { continue }
        isZero = false
        if UInt64(littleEndian: word) & 0xFFFF == magic { return offset + UInt64(index) }
      }
      offset += UInt64(available)
    }
    return nil
  }
}

/// Takes a log apart that arrives as bytes: `cat wal/*.wal`, or what another node sends.
///
/// The stream begins with a segment header, which names the log; another one may stand between any
/// two frames and goes on from there. Zeros behind a frame are the unused rest of a segment, and
/// only a segment header ends them. What cannot be decoded is a `Failure`; whether that is a torn
/// write or corruption only shows in what follows, so the caller feeds on and asks for evidence
/// (the rules are `DamageSearch`'s):
///
///     feed, next … next                    until nil, then feed again; finish() at the end
///     Failure: findEvidence, feed, …       until true, then verdict(path:)
///     a verdict with a continuation: next  goes on behind the damage
public struct FrameStream: ~Copyable {
  public enum Event: Sendable {
    case segment(SegmentHeader)
    /// A whole, checked frame; its bytes are available until the next call.
    case frame(FrameHeader)
    /// No records; its bytes belong to the sender. Never on a disk, and no part of the chain.
    case heartbeat(FrameHeader)
  }

  /// Bytes that are not what should stand there.
  public struct Failure: Error, Hashable, Sendable {
    /// In the stream.
    public var offset: UInt64
    /// The first sequence number that is damaged or missing.
    public var sequence: UInt64
    public var finding: Damage.Finding
  }

  /// The position up to which the stream was decoded; nil before its first segment header.
  public private(set) var position: LogPosition?
  /// The log's id, once it is known.
  public private(set) var origin: UInt64?
  /// Zeros, and what is behind an end marker, that were skipped.
  public private(set) var unusedBytes: UInt64 = 0
  /// Bytes of the stream that are done with.
  public var offset: UInt64 { buffer.offset }

  private var buffer = StreamBuffer()
  private var checksum = Checksum.unseeded
  /// The last segment header's flag: its frames' durable numbers speak of another disk.
  private var isShipped = false
  /// Bytes of the frame that `next()` returned last; they are those right before `offset`.
  private var frameBytes = 0
  /// False right behind damage, where an epoch may have begun unseen.
  private var isEpochKnown = true
  /// Where the zeros began that were read last; nil when a frame or a segment came since.
  private var gapOffset: UInt64?
  /// Where the file of the segment ends, when its header says that.
  private var segmentEnd: UInt64 = 0
  /// How the segment's end is known: by a marker; else by zeros.
  private var isMarked = false
  /// Bytes behind an end marker that are still to come.
  private var endBytes: UInt64 = 0
  private var isFinished = false
  private var search: StreamSearch?

  public init() {}

  /// Adds bytes. Memory stays within one frame and one feed if `next()`, or `findEvidence()`, has
  /// asked for more before.
  public mutating func feed(_ bytes: UnsafeRawBufferPointer) {
    precondition(!isFinished, "a finished stream has no more bytes")
    frameBytes = 0
    buffer.append(bytes)
  }

  /// Says that nothing more comes: half a frame is a failure from now on.
  public mutating func finish() {
    isFinished = true
  }

  /// The records of the frame or heartbeat that `next()` returned last.
  public func withRecords<R, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    precondition(frameBytes > 0, "there is no frame")
    let bytes = buffer.consumed(frameBytes)
    return try body(UnsafeRawBufferPointer(rebasing: bytes[Format.frameHeaderBytes...]).bytes)
  }

  /// The whole of it, as it was sent.
  public func withFrame<R, E: Error>(_ body: (RawSpan) throws(E) -> R) throws(E) -> R {
    precondition(frameBytes > 0, "there is no frame")
    return try body(buffer.consumed(frameBytes).bytes)
  }

  /// The next event; nil when it takes more bytes, or when the stream was finished and is whole.
  ///
  /// - Throws: `Failure`, the same again until `verdict(path:)` has found where to go on.
  public mutating func next() throws(Failure) -> Event? {
    if let search { throw search.failure }
    frameBytes = 0
    guard position != nil else { return try segment() }
    skipEnd()
    while buffer.count >= Format.frameAlignmentBytes {
      switch buffer.word(at: 0) {
      case 0: skipZeros()
      case Format.endMagic where gapOffset == nil:
        guard buffer.count >= Format.endMarkerBytes || isFinished else { return nil }
        try end()
      case Format.segmentMagic: return try segment()
      case _ where gapOffset != nil: throw fail(.violation(.frameMagic), mayBeUnused: true)
      default: return try frame()
      }
    }
    if isFinished, endBytes == 0, !buffer.first(buffer.count).bytes.isZero {
      throw fail(.violation(.frameMagic), mayBeUnused: true)
    }
    if isFinished, isMarked { throw fail(.violation(.endMarker)) }
    return nil
  }

  /// The end marker of the segment; what is behind it in the file means nothing.
  private mutating func end() throws(Failure) {
    let count = min(buffer.count, Format.endMarkerBytes)
    guard
      EndMarker(parsing: buffer.first(count).bytes, checksum: checksum) == EndMarker(position!)
    else { throw fail(.violation(.endMarker), mayBeUnused: true) }
    let next = buffer.offset + UInt64(count)
    gapOffset = buffer.offset
    endBytes = UInt64(count) + (segmentEnd > next ? segmentEnd - next : 0)
    isMarked = false
    skipEnd()
  }

  private mutating func skipEnd() {
    let count = Int(min(UInt64(buffer.count), endBytes))
    buffer.consume(count)
    endBytes -= UInt64(count)
    unusedBytes += UInt64(count)
  }

  private mutating func skipZeros() {
    var end = 0
    while end + 8 <= buffer.count, buffer.word(at: end) == 0 { end += 8 }
    gapOffset = gapOffset ?? buffer.offset
    unusedBytes += UInt64(end)
    buffer.consume(end)
  }

  private mutating func segment() throws(Failure) -> Event? {
    guard buffer.count >= Format.segmentHeaderBytes else {
      if isFinished, buffer.count > 0 { throw fail(.violation(.segmentMagic)) }
      return nil
    }
    let header: SegmentHeader
    do {
      header = try SegmentHeader(parsing: buffer.first(Format.segmentHeaderBytes).bytes)
    } catch {
      // It was durable before the segment had a name: never a torn write.
      throw fail(.violation(error), isCorrupt: true, skipping: Format.segmentHeaderBytes)
    }
    try check(header)
    position = position ?? header.previous
    if origin == nil {
      origin = header.origin
      checksum = Checksum(origin: header.origin)
    }
    gapOffset = nil
    isShipped = header.isShipped
    isMarked = header.isMarked
    segmentEnd = header.fileBytes > 0 ? buffer.offset + header.fileBytes : 0
    buffer.consume(Format.segmentHeaderBytes)
    return .segment(header)
  }

  private mutating func check(_ header: SegmentHeader) throws(Failure) {
    let skip = Format.segmentHeaderBytes
    guard header.firstSequence > 1 || header.previous == .start else {
      throw fail(.violation(.frameNumbers), isCorrupt: true, skipping: skip)
    }
    guard let position else { return }
    guard header.origin == origin else { throw fail(.origin, isCorrupt: true, skipping: skip) }
    if header.firstSequence > position.sequence + 1 {
      // Whether what lies between was ever on a disk, this header may say itself.
      throw fail(.missing(through: header.firstSequence - 1))
    }
    guard header.firstSequence == position.sequence + 1 else {
      throw fail(
        .segmentStart(found: header.firstSequence), isCorrupt: true, skipping: skip)
    }
    guard header.previous == position || (!isEpochKnown && header.previousCRC == position.crc)
    else { throw fail(.chain(found: header.firstSequence), isCorrupt: true, skipping: skip) }
  }

  private mutating func frame() throws(Failure) -> Event? {
    let position = position!
    guard buffer.count >= Format.frameHeaderBytes else {
      if isFinished { throw fail(.violation(.frameMagic), mayBeUnused: true) }
      return nil
    }
    let header: FrameHeader
    do {
      header = try FrameHeader(
        parsing: buffer.first(Format.frameHeaderBytes).bytes, checksum: checksum)
    } catch {
      throw fail(.violation(error), mayBeUnused: true)
    }
    guard header.follows(position),
      header.recordCount > 0 || !isEpochKnown || header.epoch == position.epoch
    else { throw fail(.chain(found: header.firstSequence), mayBeUnused: true) }
    guard buffer.count >= header.frameBytes else {
      guard isFinished else { return nil }
      throw fail(
        .violation(.frameLength(UInt32(header.recordsBytes))), skipping: buffer.count)
    }
    let records = UnsafeRawBufferPointer(
      rebasing: buffer.first(header.frameBytes)[Format.frameHeaderBytes...])
    do throws(FormatViolation) {
      if header.recordCount > 0 {
        try header.validate(
          records: records.bytes, previous: isEpochKnown ? position.epoch : nil,
          checksum: checksum)
      } else if checksum(records.bytes) != header.recordsCRC {
        throw .recordsChecksum
      }
    } catch {
      // Behind a whole header its length is known: a value may contain anything.
      throw fail(
        .violation(error), isCorrupt: error != .recordsChecksum,
        mayBeUnused: error == .recordsChecksum, skipping: header.frameBytes)
    }
    frameBytes = header.frameBytes
    buffer.consume(frameBytes)
    guard header.recordCount > 0 else { return .heartbeat(header) }
    self.position = header.position
    isEpochKnown = true
    return .frame(header)
  }

  // MARK: - Damage

  private mutating func fail(
    _ finding: Damage.Finding, isCorrupt: Bool = false, mayBeUnused: Bool = false,
    skipping skipBytes: Int = 0
  ) -> Failure {
    let failure = Failure(
      offset: gapOffset ?? buffer.offset, sequence: (position?.sequence ?? 0) + 1,
      finding: finding)
    search = StreamSearch(
      failure: failure, position: position, origin: origin, isCorrupt: isCorrupt,
      mayBeUnused: mayBeUnused, isShipped: isShipped, skipBytes: skipBytes)
    return failure
  }

  /// Looks for evidence in what was fed since the failure: `StreamSearch`.
  ///
  /// - Returns: true when the verdict is certain, false when that takes more bytes.
  public mutating func findEvidence() -> Bool {
    search?.look(in: &buffer, isFinished: isFinished) ?? true
  }

  /// What the failure was, by the evidence so far. With a continuation `next()` goes on there.
  ///
  /// - Returns: nil when nothing is lost, because the bytes belong to no frame; `next()` goes on.
  public mutating func verdict(path: String) -> Damage? {
    guard let search else { preconditionFailure("nothing has failed") }
    var finding = search.failure.finding
    if gapOffset != nil, finding == .violation(.frameMagic), let through = search.wholeBehind {
      finding = .missing(through: through)
    }
    if let continuation = search.continuation {
      gapOffset = nil
      self.search = nil
      if search.isUnused { return nil }
      position = continuation.position
      isEpochKnown = false
    }
    return Damage(
      kind: search.isCorrupt || search.proof != nil ? .corrupt : .torn, path: path,
      offset: search.failure.offset, sequence: search.failure.sequence, finding: finding,
      proof: search.proof.map {
        Damage.Proof(path: path, offset: $0.offset, durableSequence: $0.durableSequence)
      },
      continuation: search.continuation.map {
        Damage.Continuation(path: path, offset: $0.offset, position: $0.position)
      })
  }
}

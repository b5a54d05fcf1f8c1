/// The frame that is being gathered: room for the header, then records as they will be on disk.
///
/// Owns its memory and keeps it between frames, so that a steady writer allocates nothing.
public struct FrameBuilder: ~Copyable {
  // Invariant: frameHeaderBytes <= end <= buffer.count, and the bytes below `end` behind the
  // header are whole records.
  private var buffer: UnsafeMutableRawBufferPointer
  private var end = Format.frameHeaderBytes
  public private(set) var recordCount: UInt32 = 0
  /// Memory above this is given back when the frame is emptied.
  private let keptBytesMax = 4 << 20

  public init(capacityBytes: Int = 64 << 10) {
    buffer = .allocate(
      byteCount: max(capacityBytes, 2 * Format.frameHeaderBytes), alignment: 16)
  }

  deinit {
    buffer.deallocate()
  }

  public var isEmpty: Bool { recordCount == 0 }
  /// Bytes of the records gathered so far.
  public var recordsBytes: Int { end - Format.frameHeaderBytes }
  /// True when that many bytes of records more are within the bound on a frame.
  public func hasRoom(forBytes count: Int) -> Bool {
    count <= Format.frameRecordsBytesMax - Format.frameAlignmentBytes - recordsBytes
  }

  public mutating func removeAll() {
    end = Format.frameHeaderBytes
    recordCount = 0
    if buffer.count > keptBytesMax {
      buffer.deallocate()
      buffer = .allocate(byteCount: 64 << 10, alignment: 16)
    }
  }

  /// Adds one record. There must be room for it, and it must be a valid one, which is checked: once
  /// it is in the log, everybody refuses a log with a record that is not.
  public mutating func append(
    _ type: RecordType, metadata: RecordMetadata = RecordMetadata(),
    clock: [ClockEntry] = [], key: RawSpan, value: RawSpan
  ) {
    precondition(type != .epoch, "only the log's writer begins an epoch")
    add(type, metadata: metadata, clock: clock, key: key, value: value)
  }

  mutating func append(_ change: EpochChange) {
    add(
      .epoch, metadata: RecordMetadata(), clock: [], key: RawSpan(),
      value: change.encoded.span.bytes)
  }

  private mutating func add(
    _ type: RecordType, metadata: RecordMetadata, clock: [ClockEntry], key: RawSpan,
    value: RawSpan
  ) {
    let bytes = Record.encodedBytes(
      metadata: metadata, clockEntries: clock.count, key: key.byteCount, value: value.byteCount)
    reserve(bytes)
    Record.encode(
      type, metadata: metadata, clock: clock, key: key, value: value,
      into: UnsafeMutableRawBufferPointer(rebasing: buffer[end..<end + bytes]))
    check(bytes, count: 1)
    end += bytes
    recordCount += 1
  }

  /// Adds records that are already encoded, `count` of them. There must be room, and they must be
  /// valid, which is checked.
  public mutating func append(encoded records: RawSpan, count: UInt32) {
    reserve(records.byteCount)
    buffer.store(records, at: end)
    check(records.byteCount, count: count)
    end += records.byteCount
    recordCount += count
  }

  private func check(_ bytes: Int, count: UInt32) {
    let records = UnsafeRawBufferPointer(rebasing: buffer[end..<end + bytes])
    Self.check(records.bytes, count: count)
  }

  /// Traps unless the bytes are that many records and nothing else.
  private static func check(_ records: RawSpan, count: UInt32) {
    var cursor = RecordCursor(count: count)
    for _ in 0..<count {
      do {
        _ = try cursor.next(in: records)
      } catch {
        preconditionFailure("not a valid record: \(error)")
      }
    }
    precondition(cursor.offset == records.byteCount, "bytes behind the last record")
  }

  private mutating func reserve(_ bytes: Int) {
    precondition(hasRoom(forBytes: bytes), "frame over its bound")
    let needed = end + bytes + Format.frameAlignmentBytes + Format.endMarkerBytes
    guard needed > buffer.count else { return }
    let larger = UnsafeMutableRawBufferPointer.allocate(
      byteCount: max(needed, 2 * buffer.count), alignment: 16)
    larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[..<end]))
    buffer.deallocate()
    buffer = larger
  }

  /// Bytes of the whole frame, header and padding included.
  var frameBytes: Int { roundUp(end, to: Format.frameAlignmentBytes) }

  /// Fills in header and padding and gives `body` the frame as it goes to disk, with the end marker
  /// behind it.
  mutating func seal<R>(
    previous: LogPosition, epoch: Epoch, durableSequence: UInt64, confirmedSequence: UInt64,
    timeMilliseconds: UInt64, checksum: Checksum,
    _ body: (FrameHeader, UnsafeRawBufferPointer) throws(WALError) -> R
  ) throws(WALError) -> R {
    let frame = UnsafeMutableRawBufferPointer(rebasing: buffer[..<frameBytes])
    for offset in end..<frame.count { frame[offset] = 0 }
    var header = FrameHeader(
      recordsBytes: frame.count - Format.frameHeaderBytes, recordCount: recordCount,
      previous: previous, epoch: epoch, durableSequence: durableSequence,
      confirmedSequence: confirmedSequence, timeMilliseconds: timeMilliseconds)
    header.seal(frame, checksum: checksum)
    let behind = UnsafeMutableRawBufferPointer(
      rebasing: buffer[frame.count..<frame.count + Format.endMarkerBytes])
    EndMarker(header.position).store(in: behind, checksum: checksum)
    return try body(
      header, UnsafeRawBufferPointer(rebasing: buffer[..<(frame.count + Format.endMarkerBytes)]))
  }
}

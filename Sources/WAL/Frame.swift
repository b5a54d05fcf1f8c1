/// The 72 bytes before a frame's records. `docs/format.md` has the offsets.
public struct FrameHeader: Hashable, Sendable {
  /// Bytes of the records, padding included: a multiple of 8.
  public var recordsBytes: Int
  /// Records in the frame. Zero only on the wire: a heartbeat, whose bytes belong to the sender.
  public var recordCount: UInt32
  /// The header crc of the frame before this one.
  public var previousCRC: UInt32
  public var epoch: Epoch
  public var firstSequence: UInt64
  /// What its writer knew to be on its disk when it wrote this frame.
  public var durableSequence: UInt64
  /// What its writer knew to be confirmed by the quorum.
  public var confirmedSequence: UInt64
  /// The writer's wall clock, since 1970.
  public var timeMilliseconds: UInt64
  public var recordsCRC: UInt32
  /// Over everything above, and so over the records and over the whole history before them.
  public var crc: UInt32

  public var lastSequence: UInt64 { firstSequence + UInt64(recordCount) - 1 }
  public var frameBytes: Int { Format.frameHeaderBytes + recordsBytes }
  public var position: LogPosition {
    LogPosition(epoch: epoch, sequence: lastSequence, crc: crc)
  }

  /// Reads a header from the first 72 bytes of `bytes` and checks what can be checked without its
  /// records and its predecessor.
  ///
  /// - Throws: `FormatViolation`: anything but a whole header of that log.
  public init(parsing bytes: RawSpan, checksum: Checksum) throws(FormatViolation) {
    guard bytes.byteCount >= Format.frameHeaderBytes,
      bytes.number(at: 0, as: UInt16.self) == Format.frameMagic
    else { throw .frameMagic }
    crc = bytes.number(at: 68, as: UInt32.self)
    guard checksum(bytes.extracting(0..<68)) == crc else { throw .frameHeaderChecksum }
    let flags = bytes.number(at: 2, as: UInt16.self)
    guard flags == 0 else { throw .frameFlags(flags) }
    let length = bytes.number(at: 4, as: UInt32.self)
    guard length <= UInt32(Format.frameRecordsBytesMax),
      Int(length) % Format.frameAlignmentBytes == 0
    else { throw .frameLength(length) }
    recordsBytes = Int(length)
    recordCount = bytes.number(at: 8, as: UInt32.self)
    previousCRC = bytes.number(at: 12, as: UInt32.self)
    epoch = Epoch(
      number: bytes.number(at: 16, as: UInt64.self), node: bytes.number(at: 24, as: UInt64.self))
    firstSequence = bytes.number(at: 32, as: UInt64.self)
    durableSequence = bytes.number(at: 40, as: UInt64.self)
    confirmedSequence = bytes.number(at: 48, as: UInt64.self)
    timeMilliseconds = bytes.number(at: 56, as: UInt64.self)
    recordsCRC = bytes.number(at: 64, as: UInt32.self)
    guard epoch.number >= 1, epoch.number < Format.sequenceLimit, firstSequence >= 1,
      firstSequence < Format.sequenceLimit,
      durableSequence < firstSequence, confirmedSequence < firstSequence,
      Int(recordCount) <= recordsBytes / Format.recordHeaderBytes
    else { throw .frameNumbers }
  }

  /// What is known of a record that stands in no frame: an entry of a snapshot.
  package init(
    standingFor sequence: UInt64, epoch: Epoch, timeMilliseconds: UInt64, crc: UInt32,
    recordBytes: Int
  ) {
    self.init(
      recordsBytes: recordBytes, recordCount: 1,
      previous: LogPosition(epoch: epoch, sequence: sequence - 1, crc: 0), epoch: epoch,
      durableSequence: 0, confirmedSequence: 0, timeMilliseconds: timeMilliseconds)
    self.crc = crc
  }

  init(
    recordsBytes: Int, recordCount: UInt32, previous: LogPosition, epoch: Epoch,
    durableSequence: UInt64, confirmedSequence: UInt64, timeMilliseconds: UInt64
  ) {
    self.recordsBytes = recordsBytes
    self.recordCount = recordCount
    previousCRC = previous.crc
    self.epoch = epoch
    firstSequence = previous.sequence + 1
    self.durableSequence = durableSequence
    self.confirmedSequence = confirmedSequence
    self.timeMilliseconds = timeMilliseconds
    recordsCRC = 0
    crc = 0
  }

  /// Writes the header before the records in `frame`, with both checksums.
  mutating func seal(_ frame: UnsafeMutableRawBufferPointer, checksum: Checksum) {
    precondition(frame.count == frameBytes)
    let bytes = UnsafeRawBufferPointer(frame).bytes
    recordsCRC = checksum(bytes.extracting(Format.frameHeaderBytes..<frameBytes))
    frame.store(Format.frameMagic, at: 0)
    frame.store(UInt16(0), at: 2)
    frame.store(UInt32(recordsBytes), at: 4)
    frame.store(recordCount, at: 8)
    frame.store(previousCRC, at: 12)
    frame.store(epoch.number, at: 16)
    frame.store(epoch.node, at: 24)
    frame.store(firstSequence, at: 32)
    frame.store(durableSequence, at: 40)
    frame.store(confirmedSequence, at: 48)
    frame.store(timeMilliseconds, at: 56)
    frame.store(recordsCRC, at: 64)
    crc = checksum(bytes.extracting(0..<68))
    frame.store(crc, at: 68)
  }

  /// True when this frame can stand directly behind `position`.
  func follows(_ position: LogPosition) -> Bool {
    firstSequence == position.sequence + 1 && previousCRC == position.crc
      && epoch >= position.epoch
  }

  /// Checks the records behind this header: checksum, structure, and that an epoch begins with an
  /// epoch record and only there. Not for a heartbeat, whose bytes are not records.
  ///
  /// - Parameters:
  ///   - records: the `recordsBytes` bytes behind the header.
  ///   - previous: the epoch of the frame before; nil when that is not known.
  /// - Throws: `FormatViolation`. Only `recordsChecksum` can be the work of a disk; the others say
  ///   that the writer was wrong, or newer.
  public func validate(
    records: RawSpan, previous: Epoch?, checksum: Checksum
  ) throws(FormatViolation) {
    guard checksum(records) == recordsCRC else { throw .recordsChecksum }
    var cursor = RecordCursor(count: recordCount)
    var beginsEpoch = false
    var isFirst = true
    while let record = try cursor.next(in: records) {
      switch record.type {
      case .put, .delete, .mark: break
      case .purge, .handoff:
        _ = try ShardRange(parsing: records.extracting(record.value))
      case .epoch:
        let change = try EpochChange(parsing: records.extracting(record.value))
        guard isFirst, previous == nil || change.previous == previous else {
          throw .epochRecord
        }
        beginsEpoch = true
      }
      isFirst = false
    }
    if let previous, beginsEpoch != (epoch != previous) { throw .epochRecord }
  }
}

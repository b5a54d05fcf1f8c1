/// Looks behind a failure in a stream for what it was, as `DamageSearch` does in files.
///
/// Evidence is a whole frame of this log, or a segment's header, with a higher sequence number and
/// no older epoch, that knows the damaged number to be durable. A stream cannot be read twice, so it
/// goes on at the evidence, also where frames before that are whole but prove nothing.
struct StreamSearch {
  let failure: FrameStream.Failure
  private let position: LogPosition?
  private let origin: UInt64?
  /// True when the finding alone rules out a torn write.
  let isCorrupt: Bool
  /// True where no frame begins: bytes behind the last frame of a segment mean nothing when the
  /// next segment goes on from it.
  private let mayBeUnused: Bool
  /// True where durable numbers speak of another disk and prove nothing.
  private var isShipped: Bool
  /// Bytes in front that are not looked at.
  private var skipBytes: Int

  private(set) var proof: (offset: UInt64, durableSequence: UInt64)?
  /// Where the stream goes on.
  private(set) var continuation: (offset: UInt64, position: LogPosition)?
  /// The number before the first whole frame, proven or not.
  private(set) var wholeBehind: UInt64?
  /// True when nothing is lost: the segment was found that goes on from the last frame.
  private(set) var isUnused = false

  init(
    failure: FrameStream.Failure, position: LogPosition?, origin: UInt64?, isCorrupt: Bool,
    mayBeUnused: Bool, isShipped: Bool, skipBytes: Int
  ) {
    self.failure = failure
    self.position = position
    self.origin = origin
    self.isCorrupt = isCorrupt
    self.mayBeUnused = mayBeUnused
    self.isShipped = isShipped
    self.skipBytes = skipBytes
  }

  /// Takes what cannot be evidence from the buffer.
  ///
  /// - Returns: true when no more bytes are needed; a continuation is in front of the buffer then.
  mutating func look(in buffer: inout StreamBuffer, isFinished: Bool) -> Bool {
    guard continuation == nil else { return true }
    let skipped = min(skipBytes, buffer.count)
    buffer.consume(skipped)
    skipBytes -= skipped
    // Without an origin no checksum can be right.
    guard skipBytes == 0, let position, let origin else {
      buffer.consume(buffer.count)
      return isFinished
    }
    while buffer.count >= Format.frameAlignmentBytes {
      let word = buffer.word(at: 0)
      var bytes = Format.frameAlignmentBytes
      if word == Format.segmentMagic {
        guard buffer.count >= Format.segmentHeaderBytes || isFinished else { return false }
        if noteSegment(buffer, position, origin) { return true }
      } else if word & 0xFFFF == UInt64(Format.frameMagic) {
        guard buffer.count >= Format.frameHeaderBytes || isFinished else { return false }
        if let header = candidate(buffer, position, origin) {
          guard buffer.count >= header.frameBytes || isFinished else { return false }
          if buffer.count >= header.frameBytes {
            if note(header, buffer.offset, position) { return true }
            bytes = header.frameBytes
          }
        }
      }
      buffer.consume(bytes)
    }
    return isFinished
  }

  /// A whole header in front that can be behind the damage.
  private func candidate(
    _ buffer: borrowing StreamBuffer, _ position: LogPosition, _ origin: UInt64
  ) -> FrameHeader? {
    guard buffer.count >= Format.frameHeaderBytes else { return nil }
    // Behind a segment header that is damaged even the very next frame counts.
    let lowest = failure.sequence + (isCorrupt ? 0 : 1)
    do {
      let header = try FrameHeader(
        parsing: buffer.first(Format.frameHeaderBytes).bytes, checksum: Checksum(origin: origin))
      let isBehind =
        header.recordCount > 0 && header.epoch >= position.epoch && header.firstSequence >= lowest
      return isBehind ? header : nil
    } catch {
      return nil
    }
  }

  /// - Returns: true when the stream goes on here.
  private mutating func note(
    _ header: FrameHeader, _ offset: UInt64, _ position: LogPosition
  ) -> Bool {
    let before = LogPosition(
      epoch: position.epoch, sequence: header.firstSequence - 1, crc: header.previousCRC)
    return note(durable: isShipped ? 0 : header.durableSequence, offset, before)
  }

  private mutating func noteSegment(
    _ buffer: borrowing StreamBuffer, _ position: LogPosition, _ origin: UInt64
  ) -> Bool {
    guard buffer.count >= Format.segmentHeaderBytes else { return false }
    let header: SegmentHeader
    do {
      header = try SegmentHeader(parsing: buffer.first(Format.segmentHeaderBytes).bytes)
    } catch {
      return false
    }
    guard header.origin == origin, header.previousEpoch >= position.epoch else { return false }
    isShipped = header.isShipped
    if mayBeUnused, wholeBehind == nil, header.previous == position {
      isUnused = true
      continuation = (buffer.offset, position)
      return true
    }
    guard header.firstSequence > failure.sequence else { return false }
    return note(durable: header.durableSequence, buffer.offset, header.previous)
  }

  private mutating func note(
    durable: UInt64, _ offset: UInt64, _ before: LogPosition
  ) -> Bool {
    wholeBehind = wholeBehind ?? before.sequence
    if durable >= failure.sequence { proof = (offset, durable) }
    guard proof != nil || isCorrupt else { return false }
    continuation = (offset, before)
    return true
  }
}

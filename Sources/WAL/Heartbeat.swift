/// A frame without records, as a stream has it where there is nothing to send: says that the sender is
/// there, and how far it is. Never on a disk.
public struct Heartbeat: Sendable {
  /// That of the last frame that was sent. Not the start: before the first frame there is no epoch.
  public var position: LogPosition
  /// What the sender knows to be on its disk, and to be confirmed; what is behind `position` is not
  /// told.
  public var durableSequence: UInt64
  public var confirmedSequence: UInt64
  /// The sender's wall clock, since 1970.
  public var timeMilliseconds: UInt64
  /// The sender's own; a multiple of 8 bytes.
  public var content: [UInt8]

  public init(
    behind position: LogPosition, durableSequence: UInt64, confirmedSequence: UInt64,
    timeMilliseconds: UInt64, content: [UInt8]
  ) {
    precondition(position.epoch.number >= 1 && content.count % Format.frameAlignmentBytes == 0)
    self.position = position
    self.durableSequence = min(durableSequence, position.sequence)
    self.confirmedSequence = min(confirmedSequence, position.sequence)
    self.timeMilliseconds = timeMilliseconds
    self.content = content
  }

  /// Its bytes in a stream of that log.
  public func encoded(origin: UInt64) -> [UInt8] {
    var header = FrameHeader(
      recordsBytes: content.count, recordCount: 0, previous: position, epoch: position.epoch,
      durableSequence: durableSequence, confirmedSequence: confirmedSequence,
      timeMilliseconds: timeMilliseconds)
    var bytes = [UInt8](repeating: 0, count: header.frameBytes)
    bytes.replaceSubrange(Format.frameHeaderBytes..., with: content)
    bytes.withUnsafeMutableBytes { header.seal($0, checksum: Checksum(origin: origin)) }
    return bytes
  }
}

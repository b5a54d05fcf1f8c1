/// A place between two frames of a log, and where in its files that is: a reader goes on from there
/// without a search, and nothing is kept open until then.
public struct LogBookmark: Hashable, Sendable {
  /// The log's id.
  public var origin: UInt64
  /// The first sequence number of the segment that the frame before this place is in.
  public var segment: UInt64
  /// Where in that segment the next frame is, unless it is in the next segment.
  public var offset: UInt64
  /// The log's position here.
  public var position: LogPosition

  public init(origin: UInt64, segment: UInt64, offset: UInt64, position: LogPosition) {
    self.origin = origin
    self.segment = segment
    self.offset = offset
    self.position = position
  }
}

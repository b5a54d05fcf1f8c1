import WAL

/// Where frames come from.
protocol FrameSource: ~Copyable {
  /// What comes next; behind damage that allows it, the first whole frame.
  mutating func next() throws(DumpError) -> FrameEvent
  /// The records of the frame that `next()` returned last.
  func withRecords<R>(_ body: (RawSpan) throws(DumpError) -> R) throws(DumpError) -> R
  /// How far the source has come, for those who wait.
  var bytesDone: UInt64 { get }
  /// Segments that there are, as far as the source knows.
  var segmentCount: Int { get }
}

enum FrameEvent {
  case frame(FrameHeader)
  case damage(Damage)
  /// Nothing now, but there may be later: `next()` waits.
  case pause
  case end
}

import Engine
import WAL

/// What becomes of the frames of a log, or of the entries of a snapshot, one after the other.
protocol FrameSink: ~Copyable {
  /// A log begins; `isOneOfSeveral` when its name must be said.
  mutating func begin(_ log: String, isOneOfSeveral: Bool)
  mutating func take(_ header: FrameHeader, _ records: RawSpan)
  /// Nothing more for now: what was taken should be seen.
  mutating func pause()
  /// The log is at its end, and was in that many segments.
  mutating func end(segments: Int)
  /// The snapshot is at its end.
  mutating func end(_ snapshot: SnapshotFile)
  /// - Throws: when what was taken could not be passed on.
  func check() throws(DumpError)
}

/// Where the frames are only checked.
struct NoSink: FrameSink {
  func begin(_ log: String, isOneOfSeveral: Bool) {}
  func take(_ header: FrameHeader, _ records: RawSpan) {}
  func pause() {}
  func end(segments: Int) {}
  func end(_ snapshot: SnapshotFile) {}
  func check() {}
}

/// Steps through the records of a frame that its reader has checked.
@inline(__always)
func forEachRecord(
  _ header: FrameHeader, _ records: RawSpan, _ body: (Record, UInt64) -> Void
) {
  var cursor = RecordCursor(count: header.recordCount)
  var sequence = header.firstSequence
  do {
    while let record = try cursor.next(in: records) {
      body(record, sequence)
      sequence += 1
    }
  } catch {
    preconditionFailure("checked records are not records: \(error)")
  }
}

/// Tells how far a log has been read, in bytes of its files.
struct ReplayProgress {
  private let progress: StartProgress
  /// The bytes in front of each segment, by its first sequence number.
  private var starts: [UInt64: UInt64] = [:]
  private var segment: UInt64?
  private var start: UInt64 = 0

  /// - Parameters:
  ///   - segments: all of the log.
  ///   - from: the first sequence number that is wanted; what is before its segment is not read.
  init(
    _ progress: StartProgress, _ segments: [SegmentFile], from: UInt64,
    fileSystem: any FileSystem
  ) throws(WALError) {
    self.progress = progress
    let first = segments.lastIndex { ($0.firstSequence ?? 0) <= from } ?? 0
    var total: UInt64 = 0
    for segment in segments[first...] {
      if let number = segment.firstSequence { starts[number] = total }
      total += try fileSystem.open(segment.path, .readOnly).size()
    }
    progress.begin(.log, total: total)
  }

  /// - Throws: `cancelled`.
  @inline(__always)
  mutating func passed(_ reader: borrowing LogReader) throws(WALError) {
    try progress.check()
    let current = reader.segmentHeader?.firstSequence
    if current != segment {
      segment = current
      start = current.flatMap { starts[$0] } ?? start
    }
    progress.set(start + reader.nextOffset)
  }
}

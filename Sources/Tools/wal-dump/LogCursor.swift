import WAL

/// Steps through a log record by record.
struct LogCursor: ~Copyable {
  private var walk: LogWalk
  private var cursor = RecordCursor(count: 0)
  private var nextSequence: UInt64 = 0
  private(set) var header: FrameHeader?
  private(set) var record: Record?
  /// Of `record`.
  private(set) var sequence: UInt64 = 0
  private(set) var verdict: Verdict

  init(_ place: LogPlace, from: UInt64, to: UInt64) throws(DumpError) {
    walk = try LogWalk(place, from: from, to: to)
    verdict = Verdict(log: place.name)
  }

  /// Goes to the next record; `record` is nil at the log's end.
  mutating func advance() throws(DumpError) {
    while true {
      if let header {
        let cursor = self.cursor
        let step = try walk.withRecords { (bytes) throws(DumpError) in
          var cursor = cursor
          do {
            return (record: try cursor.next(in: bytes), cursor: cursor)
          } catch {
            preconditionFailure("checked records are not records: \(error)")
          }
        }
        self.cursor = step.cursor
        if let record = step.record {
          self.record = record
          sequence = nextSequence
          nextSequence += 1
          verdict.lastSequence = sequence
          return
        }
        _ = header
      }
      guard try nextFrame() else {
        record = nil
        return
      }
    }
  }

  private mutating func nextFrame() throws(DumpError) -> Bool {
    while true {
      switch try walk.next() {
      case .frame(let header):
        self.header = header
        verdict.count(header)
        cursor = RecordCursor(count: header.recordCount)
        nextSequence = header.firstSequence
        return true
      case .damage(let damage):
        verdict.count(damage)
        System.writeLine("\(damage)")
      case .pause:
        continue
      case .end:
        header = nil
        return false
      }
    }
  }

  func withRecords<R>(_ body: (RawSpan) throws(DumpError) -> R) throws(DumpError) -> R {
    try walk.withRecords(body)
  }
}

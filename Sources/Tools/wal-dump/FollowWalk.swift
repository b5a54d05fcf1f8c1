import WAL

/// Reads a log while it is written, until a signal ends that.
struct FollowWalk: FrameSource, ~Copyable {
  private var reader: LogReader
  private let limit: UInt64
  private var isWaiting = false
  private var isBeforeDamage = false
  private var repetitions = 0

  private static let waitMilliseconds: UInt32 = 50
  /// Damage that stays as it is for that many looks is no write in progress. Only of what is corrupt:
  /// a torn end is what a writer has not finished yet, or what the next start will cut off.
  private static let repetitionsMax = 5

  init(_ directory: String, from: UInt64 = 0, to: UInt64 = .max) throws(DumpError) {
    reader = try reading { () throws(WALError) in
      let first = try SegmentFile.list(directory, in: SystemFileSystem()).first?.firstSequence ?? 1
      return try LogReader(directory: directory, from: max(from, first))
    }
    reader.searchesBehindEnd = false
    limit = to
    reader.limit = to
  }

  func withRecords<R>(_ body: (RawSpan) throws(DumpError) -> R) throws(DumpError) -> R {
    try reader.withRecords(body)
  }

  var bytesDone: UInt64 { reader.nextOffset }
  var segmentCount: Int { 0 }

  mutating func next() throws(DumpError) -> FrameEvent {
    if isBeforeDamage {
      isBeforeDamage = false
      guard try reading({ () throws(WALError) in try reader.resume() }) else { return .end }
    }
    if isWaiting {
      if System.shouldStop { return .end }
      System.sleep(milliseconds: Self.waitMilliseconds)
    }
    isWaiting = false
    if System.shouldStop { return .end }
    switch try reading({ () throws(WALError) in try reader.next() }) {
    case .frame(let header):
      repetitions = 0
      return .frame(header)
    case .damage(let damage) where damage.kind == .corrupt && repetitions >= Self.repetitionsMax:
      repetitions = 0
      isBeforeDamage = true
      return .damage(damage)
    case .damage(let damage):
      repetitions = damage.kind == .corrupt ? repetitions + 1 : 0
    case .end:
      if let end = reader.end, end.sequence >= limit { return .end }
    }
    isWaiting = true
    return .pause
  }
}

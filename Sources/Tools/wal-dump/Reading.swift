import WAL

/// One log, read from its source into what becomes of it, with what is wrong with it said on the way.
struct Reading: ~Copyable {
  private(set) var verdict: Verdict
  private var progress: Progress
  /// Where damage is told.
  private let damageDescriptor: Int32

  /// Looking at the clock costs about as much as a small frame.
  private static let framesBetweenLooks: UInt64 = 1_024

  init(log: String, totalBytes: UInt64, showsProgress: Bool, damageDescriptor: Int32) {
    verdict = Verdict(log: log)
    progress = Progress(isWanted: showsProgress, totalBytes: totalBytes)
    self.damageDescriptor = damageDescriptor
  }

  var seconds: Double { progress.seconds }

  /// Reads to the end.
  mutating func run<Source: FrameSource & ~Copyable, Sink: FrameSink & ~Copyable>(
    _ source: inout Source, into sink: inout Sink
  ) throws(DumpError) {
    while true {
      switch try source.next() {
      case .frame(let header):
        verdict.count(header)
        try source.withRecords { (records) throws(DumpError) in sink.take(header, records) }
        try sink.check()
        if verdict.frames % Self.framesBetweenLooks == 0 { progress.note(source.bytesDone) }
      case .damage(let damage):
        verdict.count(damage)
        sink.pause()
        progress.erase()
        System.writeLine("\(damage)", to: damageDescriptor)
      case .pause:
        sink.pause()
        try sink.check()
      case .end:
        progress.erase()
        verdict.segments = source.segmentCount
        sink.end(segments: verdict.segments)
        return try sink.check()
      }
    }
  }

  mutating func note(isInUse: Bool) {
    verdict.isInUse = isInUse
  }
}

import WAL

/// What a log was found to be.
struct Verdict {
  let log: String
  var frames: UInt64 = 0
  var records: UInt64 = 0
  var bytes: UInt64 = 0
  var segments = 0
  var firstSequence: UInt64?
  var lastSequence: UInt64 = 0
  var isInUse = false
  private(set) var code = Exit.clean

  init(log: String) {
    self.log = log
  }

  @inline(__always)
  mutating func count(_ header: FrameHeader) {
    frames += 1
    records += UInt64(header.recordCount)
    bytes += UInt64(header.frameBytes)
    firstSequence = firstSequence ?? header.firstSequence
    lastSequence = header.lastSequence
  }

  mutating func count(_ damage: Damage) {
    code = max(code, damage.kind == .corrupt ? Exit.corrupt : Exit.torn)
  }

  /// The line of a log in which nothing is wrong.
  func cleanLine(seconds: Double) -> String {
    let use = isInUse ? "; in use" : ""
    guard let firstSequence else { return "\(log): clean: no records\(use)" }
    let rate = Double(bytes) / max(seconds, 1e-6) / 1e6
    return "\(log): clean: \(counted(records, "record")) in \(counted(frames, "frame"))"
      + (segments > 0 ? " and \(counted(UInt64(segments), "segment"))" : "")
      + ", \(bytes) bytes, sequence numbers \(firstSequence) to \(lastSequence), "
      + "\(Int(rate.rounded())) MB/s\(use)"
  }
}

func counted(_ number: UInt64, _ noun: String) -> String {
  "\(number) \(noun)\(number == 1 ? "" : "s")"
}

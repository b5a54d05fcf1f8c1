/// The frames of a hole as they come in: each is checked, and has to go on from the one before.
struct HoleFilling {
  private let hole: LogHole
  private let checksum: Checksum
  private let file: any File
  private(set) var position: LogPosition?
  private(set) var bytes: UInt64 = 0
  private var isComplete = false
  private var misfit: String?
  private var buffer: [UInt8] = []

  init(_ hole: LogHole, _ origin: UInt64, file: any File) {
    self.hole = hole
    self.file = file
    checksum = Checksum(origin: origin)
  }

  private var next: UInt64 { (position?.sequence).map { $0 + 1 } ?? hole.first }

  /// - Returns: false when it needs no more.
  mutating func take(_ frame: RawSpan) throws(WALError) -> Bool {
    guard !isComplete, misfit == nil else { return false }
    do throws(FormatViolation) {
      let header = try FrameHeader(parsing: frame, checksum: checksum)
      guard header.frameBytes == frame.byteCount, header.recordCount > 0 else {
        throw .frameNumbers
      }
      guard header.firstSequence == next else {
        misfit = "its frames begin with \(header.firstSequence), not \(next)"
        return false
      }
      let before = position ?? hole.after
      guard before.map({ header.follows($0) }) ?? true else {
        misfit = "its frame \(header.firstSequence) does not go on from the one before"
        return false
      }
      let records = frame.extracting(Format.frameHeaderBytes..<frame.byteCount)
      try header.validate(records: records, previous: before?.epoch, checksum: checksum)
      if let end = hole.end, header.lastSequence >= end.sequence {
        guard header.lastSequence == end.sequence, header.crc == end.crc else {
          misfit =
            "what it has at \(end.sequence) is not what stood here: the frame behind names another"
          return false
        }
        isComplete = true
      }
      position = header.position
    } catch {
      misfit = "its frame \(next) is not valid: \(error)"
      return false
    }
    try add(frame)
    return !isComplete
  }

  private mutating func add(_ frame: RawSpan) throws(WALError) {
    frame.withUnsafeBytes { buffer += $0 }
    if buffer.count >= 1 << 20 { try flush() }
  }

  private mutating func flush() throws(WALError) {
    try file.writeAll(buffer, at: bytes)
    bytes += UInt64(buffer.count)
    buffer.removeAll(keepingCapacity: true)
  }

  /// Why what was delivered does not fill the hole; nil when it does.
  func problem(_ delivery: FrameDelivery) -> String? {
    if let misfit { return misfit }
    if case .refused(let reason) = delivery { return reason }
    if hole.end == nil || isComplete { return nil }
    return "its log ends at \(next - 1)"
  }

  mutating func finish() throws(WALError) {
    if !buffer.isEmpty { try flush() }
    try file.sync()
  }
}

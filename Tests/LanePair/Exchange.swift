/// What a client does on one connection, and how the server happens to see it.
public struct Exchange: Sendable {
  public var bytes: [UInt8]
  /// The bytes come in reads that end here; anything outside of them is passed over.
  public var cuts: [Int]
  /// The client ends its output behind the last byte.
  public var endsInput: Bool
  /// Chooses when the committer is waited for, and when the client takes nothing.
  public var schedule: UInt64

  public init(
    _ bytes: [UInt8], cuts: [Int] = [], endsInput: Bool = false, schedule: UInt64 = 0
  ) {
    self.bytes = bytes
    self.cuts = cuts
    self.endsInput = endsInput
    self.schedule = schedule
  }

  /// How long nothing happened before.
  var pauseMilliseconds: UInt64 { schedule % 5 * 250 }

  /// The bytes in the pieces in which they come.
  var pieces: [ArraySlice<UInt8>] {
    let inside = cuts.filter { $0 > 0 && $0 < bytes.count }.sorted()
    var pieces: [ArraySlice<UInt8>] = []
    var start = 0
    for end in inside + [bytes.count] where end > start {
      // As much as one read takes.
      while end - start > 16 << 10 {
        pieces.append(bytes[start..<start + 16 << 10])
        start += 16 << 10
      }
      pieces.append(bytes[start..<end])
      start = end
    }
    return pieces
  }
}

/// What came of an exchange: equal, whichever lane read it.
public struct Outcome: Hashable, Sendable {
  /// The answers, without the time.
  public var answers: [UInt8]
  public var isClosed: Bool

  public var text: String { String(decoding: answers, as: UTF8.self) }

  init(_ bytes: [UInt8], isClosed: Bool) {
    self.isClosed = isClosed
    answers = []
    // Told apart by the start of the line: where a body has such a line, it has it in both lanes.
    let name = Array("Date: ".utf8)
    for line in bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
    where !line.starts(with: name) {
      answers += line
      answers.append(UInt8(ascii: "\n"))
    }
  }
}

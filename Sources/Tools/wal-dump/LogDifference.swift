import WAL

/// Finds the first sequence number at which two logs differ, among those that both hold.
struct LogDifference: ~Copyable {
  private var one: LogCursor
  private var other: LogCursor
  private let text: RecordText
  private var common: ClosedRange<UInt64>?
  private var output = Output()

  init(_ one: consuming LogCursor, _ other: consuming LogCursor, showsValues: Bool) {
    self.one = one
    self.other = other
    text = RecordText(showsValues: showsValues)
  }

  /// Says what is different.
  ///
  /// - Returns: the exit code.
  mutating func run() throws(DumpError) -> Int32 {
    try one.advance()
    try other.advance()
    while one.record != nil, other.record != nil {
      if one.sequence < other.sequence {
        try one.advance()
      } else if other.sequence < one.sequence {
        try other.advance()
      } else {
        let fields = try differentFields()
        guard fields.isEmpty else {
          try tell(fields)
          return Exit.different
        }
        common = (common?.lowerBound ?? one.sequence)...one.sequence
        try one.advance()
        try other.advance()
      }
    }
    try tellAgreement()
    return max(one.verdict.code, other.verdict.code)
  }

  private func differentFields() throws(DumpError) -> [String] {
    let (first, second) = (one.record!, other.record!)
    let (header, otherHeader) = (one.header!, other.header!)
    return try one.withRecords { (bytes) throws(DumpError) in
      try other.withRecords { (otherBytes) throws(DumpError) in
        func differ(_ a: Range<Int>, _ b: Range<Int>) -> Bool {
          !Self.areEqual(bytes.extracting(a), otherBytes.extracting(b))
        }
        var fields: [String] = []
        if first.type != second.type { fields.append("type") }
        if differ(first.key, second.key) { fields.append("key") }
        if differ(first.value, second.value) { fields.append("value") }
        if first.metadata.expiryMilliseconds != second.metadata.expiryMilliseconds {
          fields.append("expiry")
        }
        if first.metadata.stamp != second.metadata.stamp { fields.append("stamp") }
        if differ(first.clock, second.clock) { fields.append("clock") }
        if header.epoch != otherHeader.epoch { fields.append("epoch") }
        if header.crc != otherHeader.crc { fields.append("crc") }
        return fields
      }
    }
  }

  private static func areEqual(_ a: RawSpan, _ b: RawSpan) -> Bool {
    guard a.byteCount == b.byteCount else { return false }
    return a.withUnsafeBytes { a in b.withUnsafeBytes { b in a.elementsEqual(b) } }
  }

  private mutating func tell(_ fields: [String]) throws(DumpError) {
    output.append(
      string: "first difference at sequence number \(one.sequence): "
        + fields.joined(separator: ", ") + "\n")
    output.append("- ")
    try Self.append(one, text, to: &output)
    output.append("+ ")
    try Self.append(other, text, to: &output)
    output.flush()
    try output.check()
  }

  private static func append(
    _ cursor: borrowing LogCursor, _ text: RecordText, to output: inout Output
  ) throws(DumpError) {
    let (record, header, sequence) = (cursor.record!, cursor.header!, cursor.sequence)
    try cursor.withRecords { (bytes) throws(DumpError) in
      text.append(record, sequence, header, bytes, to: &output)
    }
  }

  private mutating func tellAgreement() throws(DumpError) {
    let names = (one.verdict.log, other.verdict.log)
    var line: String
    if let common {
      line = "no difference in sequence numbers \(common.lowerBound) to \(common.upperBound)"
      if one.record != nil {
        line += "; \(names.0) goes on behind \(names.1)"
      } else if other.record != nil {
        line += "; \(names.1) goes on behind \(names.0)"
      }
    } else {
      line = "nothing to compare: no sequence number is in both \(names.0) and \(names.1)"
    }
    output.append(string: line + "\n")
    output.flush()
    try output.check()
  }
}

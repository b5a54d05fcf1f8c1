/// What `Range` asks for (RFC 9110, 14.1.2), as far as it is one range of bytes.
package enum ByteRange: Hashable, Sendable {
  /// From there; to there, that byte included, or to the end.
  case from(UInt64, through: UInt64?)
  case last(UInt64)

  /// - Returns: nil for whatever else it is: then it is as if it were not there (14.2).
  package init?(_ text: Substring) {
    let text = text.trimmingBlanks
    guard text.lowercased().hasPrefix("bytes=") else { return nil }
    let parts = text.dropFirst(6).trimmingBlanks
      .split(separator: "-", maxSplits: 1, omittingEmptySubsequences: false)
    guard parts.count == 2 else { return nil }
    switch (Self.number(parts[0]), Self.number(parts[1])) {
    case (let first?, let last?):
      guard first <= last else { return nil }
      self = .from(first, through: last)
    case (let first?, nil) where parts[1].isEmpty: self = .from(first, through: nil)
    case (nil, let count?) where parts[0].isEmpty: self = .last(count)
    default: return nil
    }
  }

  private static func number(_ text: Substring) -> UInt64? {
    guard !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    return UInt64(text)
  }

  /// Which of that many bytes those are; nil when none is.
  package func bytes(of size: UInt64) -> Range<UInt64>? {
    switch self {
    case .from(let first, let last):
      guard first < size else { return nil }
      return first..<min(last.map { min($0, size) + 1 } ?? size, size)
    case .last(let count):
      guard count > 0, size > 0 else { return nil }
      return size - min(count, size)..<size
    }
  }
}

/// What somebody has seen of a leaderless shard, as `X-KV-Context` tells it: of each log the highest sequence
/// number. A version vector: one that covers another has seen all that it has.
public struct KVContext: Hashable, Sendable {
  struct Entry: Hashable, Sendable {
    var origin: UInt64
    var sequence: UInt64
  }

  /// By origin, ascending, each once.
  private(set) var entries: [Entry] = []

  /// Of who has seen nothing.
  public init() {}

  public var isEmpty: Bool { entries.isEmpty }

  /// Reads `ORIGIN:SEQ,ORIGIN:SEQ`, 16 hexadecimal digits and a decimal number each, which something else
  /// follows in the bytes; nothing at all is the empty one.
  ///
  /// - Parameter position: moved behind it.
  /// - Returns: nil when that is none.
  package init?(_ bytes: UnsafeRawBufferPointer, _ position: inout Int) {
    let start = position
    while position < bytes.count, !Self.isEnd(bytes[position]) {
      if position > start {
        guard bytes[position] == UInt8(ascii: ",") else { return nil }
        position += 1
      }
      guard let origin = Self.origin(bytes, &position),
        position < bytes.count, bytes[position] == UInt8(ascii: ":")
      else { return nil }
      position += 1
      guard let sequence = Self.decimal(bytes, &position),
        entries.last.map({ $0.origin < origin }) ?? true
      else { return nil }
      entries.append(Entry(origin: origin, sequence: sequence))
    }
  }

  /// Reads what `description` writes.
  ///
  /// - Returns: nil when that is none.
  public init?(_ text: String) {
    var position = 0
    let bytes = Array(text.utf8)
    guard let vector = bytes.withUnsafeBytes({ KVContext($0, &position) }),
      position == bytes.count
    else { return nil }
    self = vector
  }

  /// Whether it has seen everything that the other one has.
  public func covers(_ other: KVContext) -> Bool {
    var index = 0
    for entry in other.entries where entry.sequence > 0 {
      while index < entries.count, entries[index].origin < entry.origin { index += 1 }
      guard index < entries.count, entries[index].origin == entry.origin,
        entries[index].sequence >= entry.sequence
      else { return false }
    }
    return true
  }

  /// Takes what the other one has seen as well.
  public mutating func merge(_ other: KVContext) {
    guard !covers(other) else { return }
    var index = 0
    for entry in other.entries {
      while index < entries.count, entries[index].origin < entry.origin { index += 1 }
      if index < entries.count, entries[index].origin == entry.origin {
        entries[index].sequence = max(entries[index].sequence, entry.sequence)
      } else {
        entries.insert(entry, at: index)
      }
    }
  }

  // MARK: - Text

  private static func isEnd(_ byte: UInt8) -> Bool {
    byte == UInt8(ascii: "\r") || byte == UInt8(ascii: "\n") || byte == UInt8(ascii: " ")
  }

  private static func origin(_ bytes: UnsafeRawBufferPointer, _ position: inout Int) -> UInt64? {
    guard bytes.count - position >= 16 else { return nil }
    var number: UInt64 = 0
    for _ in 0..<16 {
      let byte = bytes[position]
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): number = number << 4 | UInt64(byte & 0xF)
      case UInt8(ascii: "a")...UInt8(ascii: "f"), UInt8(ascii: "A")...UInt8(ascii: "F"):
        number = number << 4 | UInt64(byte & 0xF + 9)
      default: return nil
      }
      position += 1
    }
    return number
  }

  private static func decimal(_ bytes: UnsafeRawBufferPointer, _ position: inout Int) -> UInt64? {
    var number: UInt64 = 0
    let start = position
    while position < bytes.count {
      let digit = bytes[position] &- UInt8(ascii: "0")
      guard digit < 10 else { break }
      let (tens, isTooLarge) = number.multipliedReportingOverflow(by: 10)
      let (sum, isStillTooLarge) = tens.addingReportingOverflow(UInt64(digit))
      guard !isTooLarge, !isStillTooLarge else { return nil }
      number = sum
      position += 1
    }
    return position > start ? number : nil
  }
}

/// `ORIGIN:NUMBER,…`, as the header field has it.
extension KVContext: CustomStringConvertible {
  public var description: String {
    entries.map { entry in
      let digits = String(entry.origin, radix: 16)
      return String(repeating: "0", count: 16 - digits.count) + digits + ":\(entry.sequence)"
    }.joined(separator: ",")
  }
}

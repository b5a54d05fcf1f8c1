import WAL

/// One write of a leaderless shard: the log that it was first written to, and its number there. No two writes
/// have the same.
public struct Dot: Hashable, Comparable, Sendable {
  public var origin: UInt64
  public var sequence: UInt64

  public init(origin: UInt64, sequence: UInt64) {
    self.origin = origin
    self.sequence = sequence
  }

  public static func < (a: Dot, b: Dot) -> Bool {
    (a.origin, a.sequence) < (b.origin, b.sequence)
  }
}

/// For each log the number up to which its writes are covered: what somebody knew (Parker et al., Detection of
/// Mutual Inconsistency in Distributed Systems, 1983).
public struct VersionVector: Hashable, Sendable {
  /// Ascending, distinct origins; no number is 0.
  public private(set) var entries: [ClockEntry]

  public init() { entries = [] }

  public init(_ dot: Dot) {
    entries = [ClockEntry(origin: dot.origin, sequence: dot.sequence)]
  }

  /// What a record carries, which the log's reader has checked.
  ///
  /// - Parameter clock: entries as `Record.encode` writes them.
  init(record clock: UnsafeRawBufferPointer) {
    let span = clock.bytes
    entries = (0..<clock.count / ClockEntry.encodedBytes).map { ClockEntry(in: span, at: $0) }
  }

  public var isEmpty: Bool { entries.isEmpty }

  /// The number up to which that log is covered; 0 where it is not.
  public subscript(origin: UInt64) -> UInt64 {
    entries.first { $0.origin == origin }?.sequence ?? 0
  }

  public func covers(_ dot: Dot) -> Bool { self[dot.origin] >= dot.sequence }

  public func covers(_ other: VersionVector) -> Bool {
    other.entries.allSatisfy { self[$0.origin] >= $0.sequence }
  }

  /// Covers all that log's writes up to the dot from here on.
  public mutating func add(_ dot: Dot) {
    guard dot.sequence > 0 else { return }
    let place = entries.firstIndex { $0.origin >= dot.origin } ?? entries.count
    if place < entries.count, entries[place].origin == dot.origin {
      entries[place].sequence = max(entries[place].sequence, dot.sequence)
    } else {
      entries.insert(ClockEntry(origin: dot.origin, sequence: dot.sequence), at: place)
    }
  }

  /// Covers what either of both covers.
  public mutating func merge(_ other: VersionVector) {
    for entry in other.entries { add(Dot(origin: entry.origin, sequence: entry.sequence)) }
  }

  public mutating func remove(_ origin: UInt64) { entries.removeAll { $0.origin == origin } }

  /// Only the entries that meet a condition.
  func filter(_ isKept: (ClockEntry) -> Bool) -> VersionVector {
    var kept = VersionVector()
    kept.entries = entries.filter(isKept)
    return kept
  }
}

/// As text: `ORIGIN:NUMBER,…`, ascending origins in 16 hexadecimal digits, numbers in decimal; empty for what
/// covers nothing.
extension VersionVector: CustomStringConvertible {
  /// A request may name so many logs.
  public static let textEntriesMax = Format.clockEntriesMax

  public var description: String {
    entries.map { "\(hexadecimal($0.origin)):\($0.sequence)" }.joined(separator: ",")
  }

  /// Reads what `description` writes, in any order, with blanks around the entries.
  ///
  /// - Returns: nil for anything else.
  public init?(_ text: some StringProtocol) {
    self.init()
    let text = text.utf8.filter { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\t") }
    guard !text.isEmpty else { return }
    let parts = text.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
    guard parts.count <= Self.textEntriesMax else { return nil }
    for part in parts {
      let halves = part.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
      guard halves.count == 2, halves[0].count == 16, (1...19).contains(halves[1].count),
        halves.allSatisfy({ $0.first != UInt8(ascii: "+") }),
        let origin = UInt64(String(decoding: halves[0], as: UTF8.self), radix: 16),
        let sequence = UInt64(String(decoding: halves[1], as: UTF8.self)),
        sequence >= 1, sequence < Format.sequenceLimit
      else { return nil }
      add(Dot(origin: origin, sequence: sequence))
    }
  }
}

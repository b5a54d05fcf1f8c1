/// The keys whose `hash % count == index`: the value of a purge, and the start of a handoff's.
public struct ShardRange: Hashable, Sendable {
  public static let encodedBytes = 16

  /// The hash that says which shard a key belongs to: 1 is `fnv1-64`, 2 is `fnv1-64-mix`. A number
  /// here, because this module does not know what keys mean.
  public var hash: UInt32
  public var index: UInt32
  public var count: UInt32

  public init(hash: UInt32, index: UInt32, count: UInt32) {
    self.hash = hash
    self.index = index
    self.count = count
  }

  public init(parsing value: RawSpan) throws(FormatViolation) {
    guard value.byteCount >= Self.encodedBytes else { throw .recordContent }
    hash = value.number(at: 0, as: UInt32.self)
    index = value.number(at: 4, as: UInt32.self)
    count = value.number(at: 8, as: UInt32.self)
    guard index < count, value.number(at: 12, as: UInt32.self) == 0 else { throw .recordContent }
  }

  public var encoded: [UInt8] {
    littleEndian(hash) + littleEndian(index) + littleEndian(count) + littleEndian(UInt32(0))
  }
}

/// The value of an epoch record. The new epoch is in the frame's header.
public struct EpochChange: Hashable, Sendable {
  public static let encodedBytes = 24

  public enum Reason: UInt32, Sendable {
    /// The log's first record.
    case created = 1
    /// Another node became leader.
    case promoted = 2
    /// The leader cut its log, or stopped uncleanly after acknowledging before syncing.
    case recovered = 3
    /// The log goes on from a point of an older history.
    case restored = 4
    /// The log goes on as one half of its parent.
    case handoff = 5
  }

  public var reason: Reason
  public var previous: Epoch

  public init(reason: Reason, previous: Epoch) {
    self.reason = reason
    self.previous = previous
  }

  public init(parsing value: RawSpan) throws(FormatViolation) {
    guard value.byteCount >= Self.encodedBytes else { throw .recordContent }
    guard let reason = Reason(rawValue: value.number(at: 0, as: UInt32.self)),
      value.number(at: 4, as: UInt32.self) == 0
    else { throw .recordContent }
    self.reason = reason
    previous = Epoch(
      number: value.number(at: 8, as: UInt64.self), node: value.number(at: 16, as: UInt64.self))
  }

  public var encoded: [UInt8] {
    littleEndian(reason.rawValue) + littleEndian(UInt32(0)) + littleEndian(previous.number)
      + littleEndian(previous.node)
  }
}

func littleEndian<T: FixedWidthInteger>(_ number: T) -> [UInt8] {
  withUnsafeBytes(of: number.littleEndian) { Array($0) }
}

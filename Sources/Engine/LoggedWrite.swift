import WAL

/// A write, as a log has it.
public struct LoggedWrite: Hashable, Sendable {
  public enum Kind: String, Sendable {
    case put, delete, purge, handoff
  }

  public var sequence: UInt64
  public var epoch: Epoch
  /// That of its frame, milliseconds since 1970.
  public var timeMilliseconds: UInt64
  public var kind: Kind
  /// Empty where all keys of a shard are meant.
  public var key: [UInt8]
  public var valueBytes: Int
  /// Nil where values were not asked for, and where there is none.
  public var value: [UInt8]?
  /// Milliseconds since 1970.
  public var expiryMilliseconds: UInt64?

  public init(
    sequence: UInt64, epoch: Epoch, timeMilliseconds: UInt64, kind: Kind, key: [UInt8],
    valueBytes: Int = 0, value: [UInt8]? = nil, expiryMilliseconds: UInt64? = nil
  ) {
    self.sequence = sequence
    self.epoch = epoch
    self.timeMilliseconds = timeMilliseconds
    self.kind = kind
    self.key = key
    self.valueBytes = valueBytes
    self.value = value
    self.expiryMilliseconds = expiryMilliseconds
  }
}

/// Keys in ascending order of their bytes.
public struct KVPage: Hashable, Sendable {
  public struct Key: Hashable, Sendable {
    public var key: [UInt8]
    public var version: UInt64
    /// Bytes of its value.
    public var size: UInt64

    public init(key: [UInt8], version: UInt64, size: UInt64) {
      self.key = key
      self.version = version
      self.size = size
    }
  }

  public var keys: [Key]
  /// What the next page is asked for with, as `after`; nil on the last one.
  public var next: [UInt8]?

  public init(keys: [Key], next: [UInt8]?) {
    self.keys = keys
    self.next = next
  }
}

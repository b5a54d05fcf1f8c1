/// A value as it was read.
public struct KVEntry: Hashable, Sendable {
  public var value: [UInt8]
  /// The number of the write that it comes from.
  public var version: UInt64
  /// What `KVCondition.matches` takes. Opaque.
  public var etag: String

  /// The value as UTF-8; what is not becomes U+FFFD.
  public var text: String { String(decoding: value, as: UTF8.self) }

  public init(value: [UInt8], version: UInt64, etag: String) {
    self.value = value
    self.version = version
    self.etag = etag
  }
}

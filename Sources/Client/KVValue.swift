/// One of several values that were read together: of several keys, or of one that has several.
public struct KVValue: Hashable, Sendable {
  public var value: [UInt8]
  /// The number of the write that it comes from.
  public var version: UInt64

  /// The value as UTF-8; what is not becomes U+FFFD.
  public var text: String { String(decoding: value, as: UTF8.self) }

  public init(value: [UInt8], version: UInt64) {
    self.value = value
    self.version = version
  }
}

/// A write that was acknowledged.
public struct KVWritten: Hashable, Sendable {
  /// Its number.
  public var version: UInt64
  /// Of this very value: what `KVCondition.matches` takes. Opaque.
  public var etag: String

  public init(version: UInt64, etag: String) {
    self.version = version
    self.etag = etag
  }
}

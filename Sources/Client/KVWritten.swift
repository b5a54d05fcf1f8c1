/// A write that was acknowledged.
public struct KVWritten: Hashable, Sendable {
  /// Its number; in a leaderless shard its time, which grows.
  public var version: UInt64
  /// Of this very value: what `KVCondition.matches` takes. Opaque.
  public var etag: String
  /// Of a leaderless shard: what the write has replaced, and itself, unless that would cover what stands beside it.
  /// Nil elsewhere.
  public var context: KVContext?

  public init(version: UInt64, etag: String, context: KVContext? = nil) {
    self.version = version
    self.etag = etag
    self.context = context
  }
}

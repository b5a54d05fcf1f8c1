/// A value as it was read.
///
/// A key of a leaderless shard may have several, which were written at the same time: this is the newest then, and
/// `siblings` are the others.
public struct KVEntry: Hashable, Sendable {
  public var value: [UInt8]
  /// The number of the write that it comes from; of a leaderless shard its time, which grows.
  public var version: UInt64
  /// What `KVCondition.matches` takes. Opaque.
  public var etag: String
  /// Of a leaderless shard: what whoever has read this has seen. A write that is given it replaces all of
  /// this, and nothing that was written since. Nil elsewhere.
  public var context: KVContext?
  /// Newest first.
  public var siblings: [KVValue]

  /// The value as UTF-8; what is not becomes U+FFFD.
  public var text: String { String(decoding: value, as: UTF8.self) }

  public init(
    value: [UInt8], version: UInt64, etag: String, context: KVContext? = nil,
    siblings: [KVValue] = []
  ) {
    self.value = value
    self.version = version
    self.etag = etag
    self.context = context
    self.siblings = siblings
  }
}

/// The keys of one shard that an index holds, in sum.
public struct ShardContent: Hashable, Sendable {
  public var keys = 0
  /// Of the keys and their versions.
  public var digest = Digest()
  /// No key has a higher version; one that is gone may have had it.
  public var highestVersion: UInt64 = 0

  public init() {}

  public init(keys: Int, digest: Digest, highestVersion: UInt64) {
    self.keys = keys
    self.digest = digest
    self.highestVersion = highestVersion
  }

  mutating func add(_ other: ShardContent) {
    keys += other.keys
    digest.add(other.digest)
    highestVersion = max(highestVersion, other.highestVersion)
  }
}

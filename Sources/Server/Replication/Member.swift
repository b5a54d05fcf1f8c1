/// A node of a shard that counts towards its quorum.
public struct Member: Hashable, Sendable {
  /// What it calls itself.
  public var id: String
  public var address: String

  public init(id: String, address: String) {
    self.id = id
    self.address = address
  }
}

/// A node of a shard as the configuration names it: one that counts towards a write quorum.
public struct Member: Hashable, Sendable {
  /// What the node calls itself towards the others.
  public var id: String
  /// Where it takes requests: `host:port`.
  public var address: String

  public init(id: String, address: String) {
    self.id = id
    self.address = address
  }
}

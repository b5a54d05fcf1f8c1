import Client

/// The shards and their nodes, as a client knows them.
public struct KVTopology: Hashable, Sendable {
  public struct Shard: Hashable, Sendable {
    public var name: String
    public var nodes: [NodeAddress]
    /// Nil when it is not known, or when every node takes writes.
    public var leader: NodeAddress?

    public init(name: String, nodes: [NodeAddress], leader: NodeAddress?) {
      self.name = name
      self.nodes = nodes
      self.leader = leader
    }
  }

  /// Of the configuration; nil where the nodes have none.
  public var version: Int?
  /// By index.
  public var shards: [Shard]

  public init(version: Int?, shards: [Shard]) {
    self.version = version
    self.shards = shards
  }
}

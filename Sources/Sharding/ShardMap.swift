/// Which shards there are, and which nodes they are on: the configuration, `sharding.json`.
public struct ShardMap: Hashable, Sendable {
  public enum Mode: Hashable, Sendable {
    /// A leader takes the writes of its shard.
    case leader
    /// Every node takes writes.
    case leaderless
  }

  public struct Shard: Hashable, Sendable {
    public var name: String
    public var index: Int
    /// The addresses of its nodes, as `host:port`: the configured leader first, then its replicas; when
    /// leaderless, equals. Never empty.
    public var nodes: [String]
    public var mode: Mode

    package init(name: String, index: Int, nodes: [String], mode: Mode) {
      self.name = name
      self.index = index
      self.nodes = nodes
      self.mode = mode
    }

    /// The address of the node that leads first; nil when leaderless.
    public var leader: String? { mode == .leader ? nodes[0] : nil }
    /// Those that follow the leader; none when leaderless.
    public var replicas: ArraySlice<String> { mode == .leader ? nodes.dropFirst() : [] }
  }

  public static let shardsMax = 1_024
  public static let nodesPerShardMax = 64
  public static let fileBytesMax = 1 << 20

  /// Where it was read, for errors.
  public var file: String
  /// Of two configurations of a cluster the one with the higher number counts.
  public var version: Int
  public var mode: Mode
  public var hash: ShardHash
  /// The nodes of a shard that must have a write before it is acknowledged.
  public var writeQuorum: Int
  /// The nodes of a shard that are asked for a read.
  public var readQuorum: Int
  /// By index. Never empty.
  public var shards: [Shard]

  package init(
    file: String, version: Int = 1, mode: Mode, hash: ShardHash, writeQuorum: Int,
    readQuorum: Int, shards: [Shard]
  ) {
    self.file = file
    self.version = version
    self.mode = mode
    self.hash = hash
    self.writeQuorum = writeQuorum
    self.readQuorum = readQuorum
    self.shards = shards
  }

  /// One shard of equals.
  ///
  /// - Parameter source: what names them, for errors.
  public init(leaderless nodes: [String], source: String) throws(ShardMapError) {
    let names = nodes.map { "\"\($0)\"" }.joined(separator: ", ")
    try self.init(
      json: Array("{\"version\": 1, \"mode\": \"leaderless\", \"nodes\": [\(names)]}".utf8),
      file: source)
  }

  /// The index of the shard that a key belongs to.
  @inlinable
  public func shard(of key: UnsafeRawBufferPointer) -> Int {
    hash.shard(of: key, count: shards.count)
  }

  /// The addresses of all nodes, shard by shard.
  public var addresses: [String] { shards.flatMap(\.nodes) }

  public func shard(named name: String) throws(ShardMapError) -> Shard {
    guard let shard = shards.first(where: { $0.name == name }) else {
      throw ShardMapError(
        file: file, place: "shards", .shardNotFound(name, names: shards.map(\.name)))
    }
    return shard
  }
}

extension ShardMap {
  /// The configuration of one shard of one leader, whose nodes were told elsewhere than in a file. Every
  /// quorum is 1.
  ///
  /// - Parameter source: what told them, for errors.
  public init(
    leader: String, replicas: [String], source: String
  ) throws(ShardMapError) {
    var nodes: [String] = []
    for text in [leader] + replicas {
      let address: String
      do throws(ShardAddress.Refusal) {
        address = try ShardAddress(text).description
      } catch {
        throw ShardMapError(file: source, .badAddress(text, reason: error.reason))
      }
      if let other = nodes.firstIndex(of: address) {
        let place = other == 0 ? "the leader" : "replica \(other)"
        throw ShardMapError(file: source, .duplicateAddress(address, elsewhere: place))
      }
      nodes.append(address)
    }
    guard nodes.count <= Self.nodesPerShardMax else {
      throw ShardMapError(file: source, .tooMany(max: Self.nodesPerShardMax, of: "nodes"))
    }
    self.init(
      file: source, mode: .leader, hash: .fnv1, writeQuorum: 1, readQuorum: 1,
      shards: [Shard(name: "default", index: 0, nodes: nodes, mode: .leader)])
  }
}

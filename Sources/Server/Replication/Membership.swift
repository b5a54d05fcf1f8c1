import Sharding

/// A shard of one leader, as the leader tells it to its replicas where no file does.
public struct Membership: Hashable, Sendable {
  /// The node that leads first.
  public let leader: String
  public let replicas: [String]
  public let writeQuorum: Int
  public let readQuorum: Int

  /// - Parameter source: what told them, for errors.
  public init(
    leader: String, replicas: [String], writeQuorum: Int, readQuorum: Int, source: String
  ) throws(ShardMapError) {
    let map = try ShardMap(leader: leader, replicas: replicas, source: source)
    let nodes = map.shards[0].nodes
    for (name, quorum) in [("w", writeQuorum), ("r", readQuorum)]
    where !(1...nodes.count).contains(quorum) {
      throw ShardMapError(
        file: source, place: name, .outOfRange("from 1 to \(nodes.count), not \(quorum)"))
    }
    self.leader = nodes[0]
    self.replicas = Array(nodes.dropFirst())
    self.writeQuorum = writeQuorum
    self.readQuorum = readQuorum
  }

  /// The same as a configuration file's.
  ///
  /// - Parameter source: what told it, for errors.
  public func map(source: String) throws(ShardMapError) -> ShardMap {
    var map = try ShardMap(leader: leader, replicas: replicas, source: source)
    map.writeQuorum = writeQuorum
    map.readQuorum = readQuorum
    return map
  }
}

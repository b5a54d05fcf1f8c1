import Client
import Sharding

/// The time of a shard under one leader: of two leaders the one of the higher epoch counts.
package struct LeaderEpoch: Hashable, Comparable, Sendable {
  package var number: UInt64
  package var node: UInt64

  package init(number: UInt64, node: UInt64) {
    self.number = number
    self.node = node
  }

  package static func < (a: LeaderEpoch, b: LeaderEpoch) -> Bool {
    (a.number, a.node) < (b.number, b.node)
  }
}

/// What a node says of itself in `GET /status`, as far as routing has to know it.
package struct NodeReport: Hashable, Sendable {
  package enum Role: Hashable, Sendable {
    case leader, replica, leaderless
  }

  package var address: NodeAddress
  package var role: Role
  package var epoch: LeaderEpoch
  package var shard: Int
  package var shardCount: Int
  /// Of a replica, who leads as far as it knows.
  package var leader: NodeAddress?
  /// Of a leader, those who follow it and say where they are.
  package var replicas: [NodeAddress]

  package init(
    address: NodeAddress, role: Role, epoch: LeaderEpoch, shard: Int = 0, shardCount: Int = 1,
    leader: NodeAddress? = nil, replicas: [NodeAddress] = []
  ) {
    self.address = address
    self.role = role
    self.epoch = epoch
    self.shard = shard
    self.shardCount = shardCount
    self.leader = leader
    self.replicas = replicas
  }

  /// - Returns: nil when that is no status of a node.
  package init?(_ status: [UInt8], of address: NodeAddress) {
    guard let status = ConfigurationText.parsed(status) else { return nil }
    switch status["role"]?.text {
    case "leader": role = .leader
    case "replica": role = .replica
    case "leaderless": role = .leaderless
    default: return nil
    }
    self.address = address
    epoch = LeaderEpoch(
      number: status["epoch"]?.unsigned ?? 0,
      node: status["epoch_node"]?.text.flatMap { UInt64($0, radix: 16) } ?? 0)
    shard = status["shard"]?["index"]?.unsigned.flatMap { Int(exactly: $0) } ?? 0
    shardCount = status["shard"]?["count"]?.unsigned.flatMap { Int(exactly: $0) } ?? 1
    leader = status["leader"]?["address"]?.text.flatMap(NodeAddress.parsed)
    replicas = (status["replicas"]?.elements ?? []).prefix(ShardMap.nodesPerShardMax)
      .compactMap { $0["address"]?.text.flatMap(NodeAddress.parsed) }
  }
}

extension NodeAddress {
  /// Nil when that is no address.
  package static func parsed(_ text: String) -> NodeAddress? {
    do throws(KVClientError) {
      return try NodeAddress(parsing: text)
    } catch {
      return nil
    }
  }
}

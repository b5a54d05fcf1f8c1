import KVClient

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// What a node says of itself in `GET /status`, as far as a run has to know it.
package struct NodeDescription: Sendable, Equatable {
  package var address: NodeAddress
  package var node = ""
  package var role = "leader"
  package var version = ""
  package var shard = 0
  package var shardCount = 1
  package var keys: UInt64 = 0
  /// Addresses of its replicas, and, of a replica, of its leader.
  package var replicas: [String] = []
  package var leader: String?
  package var epoch = LeaderEpoch(number: 0, node: 0)

  package init(address: NodeAddress) { self.address = address }

  /// - Throws: `BenchError.target` when that is no status of a node.
  package init(address: NodeAddress, status: [UInt8]) throws(BenchError) {
    struct Status: Decodable {
      struct Shard: Decodable {
        var index: Int
        var count: Int
      }
      struct Member: Decodable { var address: String? }
      var node: String
      var role: String
      var version: String?
      var shard: Shard?
      var keys: UInt64?
      var replicas: [Member]?
      var leader: Member?
      var epoch: UInt64?
      var epoch_node: String?
    }
    let decoded: Status
    do {
      decoded = try JSONDecoder().decode(Status.self, from: Data(status))
    } catch {
      throw .target("\(address): /status is not what a node of Shiplog answers")
    }
    self.address = address
    node = decoded.node
    role = decoded.role
    version = decoded.version ?? ""
    shard = decoded.shard?.index ?? 0
    shardCount = decoded.shard?.count ?? 1
    keys = decoded.keys ?? 0
    replicas = decoded.replicas?.compactMap(\.address) ?? []
    leader = decoded.leader?.address
    epoch = LeaderEpoch(
      number: decoded.epoch ?? 0,
      node: decoded.epoch_node.flatMap { UInt64($0, radix: 16) } ?? 0)
    guard shardCount > 0, (0..<shardCount).contains(shard) else {
      throw .target("\(address): shard \(shard) of \(shardCount) in /status")
    }
  }
}

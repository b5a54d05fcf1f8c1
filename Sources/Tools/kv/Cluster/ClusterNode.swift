import Sharding

/// A node of a configuration as `kv cluster` runs it.
struct ClusterNode: Sendable {
  /// `NAME-leader`, `NAME-replica-1`, …; when leaderless `NAME-node-1`, …
  var name: String
  var shard: String
  var role: String
  var address: String
  var dataDirectory: String

  static func all(of map: ShardMap, in directory: String) -> [ClusterNode] {
    map.shards.flatMap { shard in
      shard.nodes.enumerated().map { number, address in
        let isLeader = shard.leader == address
        let role = isLeader ? "leader" : shard.mode == .leader ? "replica" : "node"
        let place = shard.mode == .leader ? number : number + 1
        let name = "\(shard.name)-\(role)" + (isLeader ? "" : "-\(place)")
        return ClusterNode(
          name: name, shard: shard.name, role: role, address: address,
          dataDirectory: "\(directory)/\(name)")
      }
    }
  }
}

/// What stands in front of each line of a node's log.
struct NodeLabels {
  private let labels: [String]

  /// Those of six colours of a terminal that are read on dark and on light.
  private static let colors = [36, 33, 32, 35, 34, 31]

  init(_ nodes: [ClusterNode], hasColors: Bool) {
    let width = nodes.map(\.name.count).max() ?? 0
    labels = nodes.enumerated().map { index, node in
      let name = node.name + String(repeating: " ", count: width - node.name.count)
      let color = Self.colors[index % Self.colors.count]
      return hasColors ? "\u{1B}[\(color)m\(name) |\u{1B}[0m " : "\(name) | "
    }
  }

  subscript(_ index: Int) -> String { labels[index] }
}

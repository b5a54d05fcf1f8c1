import Client
import Sharding
import Synchronization

/// The shards of the cluster as this node knows them: where they are configured to be, and who leads them.
final class Cluster: Sendable {
  /// This node's.
  let shard: Int
  private let state: Mutex<State>

  private struct State: Sendable {
    var map: ShardMap
    /// By shard: who leads it, as far as this node knows.
    var leaders: [NodeAddress]
  }

  init(_ map: ShardMap, shard: Int) {
    self.shard = shard
    state = Mutex(State(map: map, leaders: Self.leaders(map)))
  }

  var map: ShardMap { state.withLock { $0.map } }

  /// Who leads a shard, as far as this node knows.
  func leader(of shard: Int) -> NodeAddress { state.withLock { $0.leaders[shard] } }

  /// A shard's configured nodes.
  func nodes(of shard: Int) -> [NodeAddress] {
    state.withLock { $0.map.shards[shard].nodes }.map(Self.address)
  }

  /// Somebody leads a shard from now on.
  func note(leader: NodeAddress, of shard: Int) {
    state.withLock { $0.leaders[shard] = leader }
  }

  /// Another configuration counts, of as many shards. Who leads a shard is still known where that node is
  /// still of it.
  func take(_ map: ShardMap) {
    let configured = Self.leaders(map)
    state.withLock { state in
      guard map.version > state.map.version, map.shards.count == state.map.shards.count else {
        return
      }
      state.map = map
      for shard in configured.indices
      where !map.shards[shard].nodes.contains("\(state.leaders[shard])") {
        state.leaders[shard] = configured[shard]
      }
    }
  }

  private static func leaders(_ map: ShardMap) -> [NodeAddress] {
    map.shards.map { address($0.nodes[0]) }
  }

  /// A configuration's addresses have been checked when it was read.
  private static func address(_ text: String) -> NodeAddress {
    guard let address = try? NodeAddress(parsing: text) else {
      preconditionFailure("\(text) is in a configuration and no address")
    }
    return address
  }
}

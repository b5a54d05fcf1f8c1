import Client
import Sharding
import Synchronization

/// The shards of the cluster as this node knows them: where they are configured to be, and who leads them.
final class Cluster: Sendable {
  /// A node that could not be had is passed over for so long where there are others.
  private static let failureSeconds = 1

  /// This node's.
  let shard: Int
  private let state: Mutex<State>

  private struct State: Sendable {
    var map: ShardMap
    var shards: [Shard]
  }

  /// A shard, as it was last heard of.
  private struct Shard: Sendable {
    var nodes: [NodeAddress]
    var leader: NodeAddress
    /// In which epoch of which log; nil as long as nobody was asked.
    var standing: LeaderClaims.Standing?
    var checked: ContinuousClock.Instant?
    /// Whose turn it is to read.
    var turn = 0
    var failures: [NodeAddress: ContinuousClock.Instant] = [:]

    init(_ shard: ShardMap.Shard) {
      nodes = shard.nodes.map(Cluster.address)
      leader = nodes[0]
    }

    /// The next one that reads are for.
    mutating func reader(_ source: ReadSource) -> NodeAddress {
      let now = ContinuousClock.now
      for _ in nodes.indices {
        turn = (turn + 1) % nodes.count
        let node = nodes[turn]
        if source == .replicas, node == leader { continue }
        if let until = failures[node], until > now { continue }
        return node
      }
      return leader
    }
  }

  init(_ map: ShardMap, shard: Int) {
    self.shard = shard
    state = Mutex(State(map: map, shards: map.shards.map(Shard.init)))
  }

  var map: ShardMap { state.withLock { $0.map } }

  /// Who leads a shard, as far as this node knows.
  func leader(of shard: Int) -> NodeAddress { state.withLock { $0.shards[shard].leader } }

  /// The epoch that it leads in, and of which log; nil as long as nobody was asked.
  func standing(of shard: Int) -> LeaderClaims.Standing? {
    state.withLock { $0.shards[shard].standing }
  }

  /// Whether it is time to look whether that is still so; true once in a second at most.
  func isCheckDue(of shard: Int) -> Bool {
    let now = ContinuousClock.now
    return state.withLock { state in
      if let checked = state.shards[shard].checked, now - checked < .seconds(1) { return false }
      state.shards[shard].checked = now
      return true
    }
  }

  /// A shard's configured nodes.
  func nodes(of shard: Int) -> [NodeAddress] { state.withLock { $0.shards[shard].nodes } }

  /// Who is to be asked for a read of a shard.
  func reader(of shard: Int, _ source: ReadSource) -> NodeAddress {
    state.withLock { state in
      source == .leader ? state.shards[shard].leader : state.shards[shard].reader(source)
    }
  }

  /// Somebody leads a shard from now on.
  ///
  /// - Parameter standing: nil where it is not known: it counts until somebody is asked.
  func note(leader: NodeAddress, _ standing: LeaderClaims.Standing?, of shard: Int) {
    state.withLock { state in
      state.shards[shard].leader = leader
      if let standing { state.shards[shard].standing = standing }
    }
  }

  /// Another configuration counts, of as many shards. Who leads a shard is still known where that node is
  /// still of it.
  func take(_ map: ShardMap) {
    let shards = map.shards.map(Shard.init)
    state.withLock { state in
      guard map.version > state.map.version, shards.count == state.shards.count else { return }
      state.map = map
      for (index, shard) in shards.enumerated() {
        let known = state.shards[index]
        guard shard.nodes != known.nodes else { continue }
        state.shards[index] = shard
        guard shard.nodes.contains(known.leader) else { continue }
        state.shards[index].leader = known.leader
        state.shards[index].standing = known.standing
      }
    }
  }

  /// A node could not be had.
  func noteFailure(of node: NodeAddress, in shard: Int) {
    let until = ContinuousClock.now + .seconds(Self.failureSeconds)
    state.withLock { $0.shards[shard].failures[node] = until }
  }

  /// A configuration's addresses have been checked when it was read.
  private static func address(_ text: String) -> NodeAddress {
    guard let address = try? NodeAddress(parsing: text) else {
      preconditionFailure("\(text) is in a configuration and no address")
    }
    return address
  }
}

import Bench
import Client
import Sharding
import Testing

struct TargetMapTests {
  private func node(
    _ port: UInt16, role: String = "leader", shard: Int = 0, shards: Int = 1,
    replicas: [String] = [], leader: String? = nil
  ) -> NodeDescription {
    var node = NodeDescription(address: address(port))
    (node.role, node.shard, node.shardCount) = (role, shard, shards)
    (node.replicas, node.leader) = (replicas, leader)
    return node
  }

  private func address(_ port: UInt16) -> NodeAddress { NodeAddress(host: "h", port: port) }

  private func map(
    _ nodes: [NodeDescription], _ readFrom: BenchParameters.ReadSource = .leader
  ) throws(BenchError) -> TargetMap {
    try TargetMap(nodes, readFrom: readFrom, hasWrites: true)
  }

  @Test("One node takes everything")
  func oneNode() throws {
    let map = try map([node(1)])
    #expect(map.nodes == [address(1)] && map.writers == [[0]] && map.readers == [[0]])
    #expect(map.mode == .leaderFollower && !map.isCluster)
  }

  @Test("Replicas that a node does not have are refused")
  func noReplicas() {
    #expect(
      throws: BenchError.unsupported(
        "--read-from replicas: h:1 has no replicas (its /status lists none)")
    ) { try map([node(1)], .replicas) }
  }

  @Test("Replicas are found by the leader's status, and the leader by a replica's")
  func replicas() throws {
    let one = try map([node(1, replicas: ["h:2", "http://h:3"])], .replicas)
    #expect(one.nodes == [address(1), address(2), address(3)])
    #expect(one.writers == [[0]] && one.readers == [[1, 2]])
    let any = try map([node(1, replicas: ["h:2"])], .any)
    #expect(any.readers == [[0, 1]])
    // Those of which nobody knows the address are no concern of who does not ask for them.
    #expect(try map([node(1, replicas: ["", "?"])]).readers == [[0]])
    #expect(try map([node(1, replicas: ["", "h:2"])], .replicas).readers == [[1]])
    let other = try map([node(2, role: "replica", leader: "h:1")])
    #expect(other.nodes == [address(1)])
    #expect(throws: BenchError.self) { try map([node(2, role: "replica")]) }
  }

  @Test("With a node of each shard keys go to their shards, with fewer they are forwarded")
  func shards() throws {
    let all = try map([node(1, shard: 1, shards: 2), node(2, shard: 0, shards: 2)])
    #expect(all.shardCount == 2 && all.isCluster)
    #expect(all.nodes[all.writers[0][0]] == address(2))
    #expect(all.nodes[all.writers[1][0]] == address(1))
    // The contract's: of two adjective is 0 and adverb 1.
    #expect(all.shard(of: "adjective".utf8) == 0 && all.shard(of: "adverb".utf8) == 1)
    let part = try map([node(1, shard: 1, shards: 4), node(2, shard: 3, shards: 4)])
    #expect(part.shardCount == 1 && part.isCluster && part.writers == [[0, 1]])
  }

  @Test("A configuration says which nodes are of a shard, and their epochs which of them leads")
  func configuration() throws {
    let json = """
      {"hash":"fnv1-64-mix","shards":[{"name":"a","index":0,"leader":"h:1","replicas":["h:2","h:3"]},
        {"name":"b","index":1,"leader":"h:4"}]}
      """
    let shards = try ShardMap(json: Array(json.utf8), file: "test")
    var nodes = [node(1), node(2), node(4, shard: 1)]
    func map(
      _ nodes: [NodeDescription], _ readFrom: BenchParameters.ReadSource = .leader
    ) throws(BenchError) -> TargetMap {
      try TargetMap(shards, nodes, readFrom: readFrom, hasWrites: true)
    }
    // The second was promoted, and the first does not know it yet.
    nodes[1].epoch.number = 2
    let leaders = try map(nodes)
    #expect(leaders.writers.map { $0.map { leaders.nodes[$0] } } == [[address(2)], [address(4)]])
    let key = Array("key".utf8)
    #expect(
      leaders.shard(of: key)
        == key.withUnsafeBytes { ShardHash.fnv1Mixed.shard(of: $0, count: 2) })
    let any = try map(nodes, .any)
    #expect(any.readers[0].map { any.nodes[$0] } == [address(2), address(1)])
    // The other shard has no replica, and h:3 does not answer.
    #expect(throws: BenchError.self) { try map(nodes, .replicas) }
    (nodes[0].role, nodes[1].role) = ("replica", "replica")
    #expect(throws: BenchError.self) { try map(nodes) }
  }

  @Test("By way of the entry every target takes everything; keys are stored by shards all the same")
  func entries() throws {
    let map = try TargetMap(entries: [node(1, shards: 2), node(2, shards: 2)], nil)
    #expect(map.writers == [[0, 1], [0, 1]] && map.readers == map.writers)
    #expect(!map.routesByKey && map.isCluster && map.shard(of: "adverb".utf8) == 1)
  }

  @Test("Every node of a leaderless set reads and writes; a mixture is refused")
  func leaderless() throws {
    let set = try map([node(1, role: "leaderless"), node(2, role: "leaderless")])
    #expect(set.mode == .leaderless && set.writers == [[0, 1]] && set.readers == [[0, 1]])
    #expect(throws: BenchError.self) { try map([node(1, role: "leaderless"), node(2)]) }
    #expect(throws: BenchError.self) { try map([node(1, shards: 2), node(2)]) }
  }

  @Test("A status is read, and what is none is refused")
  func status() throws {
    let text = #"{"node":"n","role":"leader","shard":{"name":"s","index":1,"count":4},"keys":7,"#
    let description = try NodeDescription(
      address: address(1), status: Array((text + #""replicas":[{"address":"h:2"}]}"#).utf8))
    #expect(description.shard == 1 && description.shardCount == 4 && description.keys == 7)
    #expect(description.replicas == ["h:2"])
    for bad in ["", "ok", #"{"node":"n"}"#, text.replacing("1,", with: "9,") + #""x":1}"#] {
      #expect(throws: BenchError.self) {
        try NodeDescription(address: address(1), status: Array(bad.utf8))
      }
    }
  }
}

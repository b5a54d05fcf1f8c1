import KVClient
import NIOCore
import Sharding
import Testing

@Suite("The routing of a client") struct RoutingStateTests {
  private let start = NIODeadline.uptimeNanoseconds(1_000_000_000_000)

  private func address(_ port: UInt16) -> NodeAddress { NodeAddress(host: "h", port: port) }

  /// Shard i has a leader at port 10i + 1 and as many replicas behind it.
  private func map(
    version: Int = 1, shards: Int = 2, replicas: Int = 2
  ) throws -> ShardMap {
    let entries = (0..<shards).map { shard in
      let list = (0..<replicas).map { "\"h:\(10 * shard + 2 + $0)\"" }.joined(separator: ",")
      return
        "{\"name\":\"s\(shard)\",\"index\":\(shard),\"leader\":\"h:\(10 * shard + 1)\",\"replicas\":[\(list)]}"
    }
    let text = "{\"version\":\(version),\"shards\":[\(entries.joined(separator: ","))]}"
    return try ShardMap(json: Array(text.utf8), file: "test")
  }

  private func known(_ map: ShardMap) -> RoutingState {
    var state = RoutingState()
    state.adopt(map)
    return state
  }

  private func picks(
    _ count: Int, _ state: inout RoutingState, _ use: RoutingState.Use, shard: Int = 0,
    tried: [NodeAddress] = []
  ) -> [UInt16] {
    (0..<count).compactMap { _ in
      guard case .node(let node) = state.choose(shard, use, tried: tried, start) else { return nil }
      return node.port
    }
  }

  @Test("sends a key to the shard that the contract names")
  func shards() throws {
    let state = known(try map(shards: 4))
    for (key, shard) in [("party", 3), ("moon", 2), ("chair", 0), ("boy", 1), ("my-key", 1)] {
      #expect(state.shard(of: Array(key.utf8)) == shard)
    }
    #expect(RoutingState().shard(of: [1]) == 0)
  }

  @Test("sends writes and reads of the leader to the leader, and reads of replicas round")
  func uses() throws {
    var state = known(try map())
    #expect(picks(3, &state, .write, shard: 1) == [11, 11, 11])
    #expect(picks(2, &state, .read(.leader)) == [1, 1])
    let replicas = picks(6, &state, .read(.replicas))
    #expect(replicas.count { $0 == 2 } == 3 && replicas.count { $0 == 3 } == 3)
    let any = picks(9, &state, .read(.any))
    #expect([1, 2, 3].allSatisfy { port in any.count { $0 == port } == 3 })
  }

  @Test("passes over what cannot be reached, for a while that grows, and comes back to it")
  func health() throws {
    var state = known(try map())
    state.isUnreachable(address(2), start)
    #expect(picks(4, &state, .read(.replicas)) == [3, 3, 3, 3])
    state.isUnreachable(address(3), start)
    #expect(picks(2, &state, .read(.replicas)) == [1, 1])
    state.hasAnswered(address(3))
    #expect(picks(2, &state, .read(.replicas)) == [3, 3])
    var later = state
    let ports = (0..<4).map { _ in
      later.choose(0, .read(.replicas), tried: [], start + .milliseconds(101))
    }
    #expect(ports.contains(.node(address(2))))
    // Ten failures later it is two seconds, and no more.
    for _ in 0..<10 { state.isUnreachable(address(2), start) }
    var all = state
    func asks(_ time: TimeAmount) -> Bool {
      (0..<4).contains { _ in
        all.choose(0, .read(.replicas), tried: [], start + time) == .node(address(2))
      }
    }
    #expect(!asks(.milliseconds(1_999)))
    #expect(asks(.milliseconds(2_001)))
  }

  @Test(
    "asks others before those that this request has asked in vain, and these rather than nobody")
  func tried() throws {
    var state = known(try map())
    #expect(picks(3, &state, .read(.replicas), tried: [address(2)]) == [3, 3, 3])
    #expect(picks(2, &state, .read(.replicas), tried: [address(2), address(3)]) == [1, 1])
    let all = [address(1), address(2), address(3)]
    #expect(Set(picks(4, &state, .read(.replicas), tried: all)) == [2, 3])
  }

  @Test("knows no leader once that is in doubt, and takes the one that is found")
  func leaders() throws {
    var state = known(try map())
    state.doubtLeader(address(1))
    #expect(state.choose(0, .write, tried: [], start) == .leaderUnknown)
    #expect(state.choose(0, .read(.leader), tried: [], start) == .leaderUnknown)
    #expect(picks(1, &state, .write, shard: 1) == [11])
    // All may be asked for reads of replicas meanwhile.
    #expect(Set(picks(6, &state, .read(.replicas))) == [1, 2, 3])
    state.leads(address(3), shard: 0)
    #expect(picks(1, &state, .write) == [3])
    #expect(Set(picks(6, &state, .read(.replicas))) == [1, 2])
    // Somebody else's failure is no reason.
    state.isUnreachable(address(2), start)
    #expect(picks(1, &state, .write) == [3])
    state.isUnreachable(address(3), start)
    #expect(state.choose(0, .write, tried: [], start) == .leaderUnknown)
    state.leads(address(3), shard: 9)
  }

  @Test("takes only a higher configuration, and keeps the leaders that are still nodes")
  func configurations() throws {
    var state = known(try map(version: 3))
    state.leads(address(2), shard: 0)
    state.leads(address(12), shard: 1)
    for version in [3, 2] {
      let isTaken = state.adopt(try map(version: version, shards: 1))
      #expect(!isTaken)
    }
    #expect(state.shards.count == 2)
    let text = """
      {"version":4,"shards":[{"name":"s1","index":0,"leader":"h:99","replicas":["h:12"]},
        {"name":"s0","index":1,"leader":"h:1"},{"name":"new","index":2,"leader":"h:5"}]}
      """
    let next = try ShardMap(json: Array(text.utf8), file: "test")
    let isTaken = state.adopt(next)
    #expect(isTaken)
    #expect(state.shards.map(\.leader) == [address(12), address(1), address(5)])
    #expect(state.version == 4)
    // Nodes without one do not undo it.
    state.adopt(alone: [], seeds: [address(7)])
    #expect(state.shards.count == 3)
  }

  @Test("sends writes of a leaderless shard to each node in turn")
  func leaderless() throws {
    let text = #"{"mode":"leaderless","nodes":["h:1","h:2","h:3"]}"#
    var state = known(try ShardMap(json: Array(text.utf8), file: "test"))
    #expect(Set(picks(6, &state, .write)) == [1, 2, 3])
    state.isUnreachable(address(2), start)
    #expect(Set(picks(6, &state, .write)) == [1, 3])
    state.leads(address(1), shard: 0)
    #expect(Set(picks(6, &state, .write)) == [1, 3])
  }

  @Test("takes nodes without a configuration for one shard, with all that they name")
  func alone() throws {
    var state = RoutingState()
    #expect(!state.isKnown)
    let epoch = LeaderEpoch(number: 1, node: 1)
    state.adopt(
      alone: [
        NodeReport(address: address(2), role: .replica, epoch: epoch, leader: address(1)),
        NodeReport(address: address(1), role: .leader, epoch: epoch, replicas: [address(3)]),
      ], seeds: [address(2), address(4)])
    #expect(Set(state.shards[0].nodes) == [address(1), address(2), address(3), address(4)])
    #expect(state.shards[0].leader == address(1))
    // One that is promoted and was not known becomes known.
    state.leads(address(9), shard: 0)
    #expect(state.shards[0].nodes.contains(address(9)))
    // A configuration counts more.
    state.adopt(try map())
    #expect(state.shards.count == 2 && state.version == 1)
  }
}

@Suite("Who leads a shard") struct LeaderChoiceTests {
  private func report(
    _ port: UInt16, _ role: NodeReport.Role, _ number: UInt64, _ node: UInt64 = 1,
    names: UInt16? = nil
  ) -> NodeReport {
    NodeReport(
      address: NodeAddress(host: "h", port: port), role: role,
      epoch: LeaderEpoch(number: number, node: node),
      leader: names.map { NodeAddress(host: "h", port: $0) })
  }

  @Test("is the one with the highest epoch: its number counts, then its node")
  func highestEpoch() {
    let reports = [
      report(1, .leader, 2, 9), report(2, .leader, 3, 1), report(3, .leader, 3, 2),
      report(4, .replica, 7),
    ]
    #expect(LeaderChoice.leader(among: reports)?.address.port == 3)
    #expect(LeaderChoice.leader(among: [reports[3]]) == nil)
  }

  @Test("is not settled by the first that claims it, where most have not answered")
  func settling() {
    let old = [report(1, .leader, 1)]
    #expect(!LeaderChoice.isSettled(old, answered: 1, of: 3))
    #expect(LeaderChoice.isSettled(old, answered: 2, of: 3))
    #expect(LeaderChoice.isSettled(old, answered: 1, of: 1))
    #expect(!LeaderChoice.isSettled([report(2, .replica, 1)], answered: 2, of: 3))
    #expect(LeaderChoice.isSettled([], answered: 3, of: 3))
  }

  @Test("may be somebody who was not asked, but is named")
  func named() {
    let reports = [
      report(1, .replica, 1, names: 7), report(2, .replica, 2, names: 8),
      report(3, .replica, 2, names: 8), report(4, .replica, 2, names: 1),
    ]
    let asked = reports.map(\.address)
    #expect(LeaderChoice.named(by: reports, asked: asked).map(\.port) == [8, 7])
  }

  @Test("is read from a status")
  func status() throws {
    let text = """
      {"role":"replica","epoch":3,"epoch_node":"00000000000000aa","shard":{"name":"s","index":1,
       "count":4},"leader":{"address":"127.0.0.2:8080","lag_seconds":0.5},"replicas":[{"address":"h:1"},
       {"address":"?"},{"id":"x"}],"uptime_seconds":1e3,"more":[[{}]]}
      """
    let address = NodeAddress(host: "h", port: 9)
    let report = try #require(NodeReport(Array(text.utf8), of: address))
    #expect(
      report
        == NodeReport(
          address: address, role: .replica, epoch: LeaderEpoch(number: 3, node: 0xaa), shard: 1,
          shardCount: 4, leader: NodeAddress(host: "127.0.0.2", port: 8080),
          replicas: [NodeAddress(host: "h", port: 1)]))
    for text in ["", "ok", "{}", #"{"role":"king"}"#, #"{"role":1}"#, "[", "\u{0}"] {
      #expect(NodeReport(Array(text.utf8), of: address) == nil)
    }
    #expect(NodeReport([0xff, 0xfe], of: address) == nil)
  }
}

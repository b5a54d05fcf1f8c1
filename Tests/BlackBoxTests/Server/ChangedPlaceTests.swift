import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A node whose place a configuration changes") struct ChangedPlaceTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    /// Who leads, and in which epoch, of those that answer.
    private static func leading(_ addresses: [LoopbackAddress]) async throws -> [String] {
      try await Threads.runOne {
        try addresses.compactMap { address in
          guard
            let status = try? HTTPConnection(to: address).exchange(.status),
            status.status == 200
          else { return nil }
          let members = try status.members()
          guard members["role"] as? String == "leader" else { return nil }
          return "\(address) \(members["epoch"] ?? "") \(members["epoch_node"] ?? "")"
        }
      }
    }

    @Test(
      "goes on leading where another one is configured to, and nothing is lost", arguments: [1, 2])
    func swapped(writeQuorum: Int) async throws {
      let cluster = ShardCluster(in: directory, [3])
      let nodes = cluster.shards[0]
      let one = try cluster.file(ShardCluster.json(1, cluster.shards, writeQuorum: writeQuorum))
      let running = try await cluster.startAll(one)
      try await ReplicaSet.awaitStreaming(running[0], count: 2)
      let writer = SteadyWriter(nodes, prefix: "w")
      writer.start()
      defer { writer.end() }
      var order = nodes
      for version in 2..<6 {
        try await writer.more(10)
        order.append(order.removeFirst())
        let outcome = try await cluster.push(
          ShardCluster.json(version, [order], writeQuorum: writeQuorum), at: nodes[version % 3])
        #expect(outcome.output == "version \(version): 3 of 3 nodes have it\n", "\(outcome.output)")
        try await ShardCluster.await(version: version, at: nodes)
        try await writer.more(10)
        let leading = try await Self.leading(nodes)
        #expect(leading.count == 1, "\(leading)")
      }
      // The same from files: another order, at a restart of all of them.
      writer.end()
      for node in running { try await node.stop() }
      let again = try cluster.file(
        ShardCluster.json(9, [nodes.reversed()], writeQuorum: writeQuorum))
      let back = try await withThrowingTaskGroup(of: ServedNode.self) { group in
        for address in nodes { group.addTask { try await cluster.start(address, again) } }
        return try await group.reduce(into: []) { $0.append($1) }
      }
      let deadline = ContinuousClock.now + .seconds(30)
      while try await Self.leading(nodes).isEmpty, ContinuousClock.now < deadline {
        try await Task.sleep(for: .milliseconds(20))
      }
      let leading = try await Self.leading(nodes)
      try #require(leading.count == 1, "\(leading)")
      let leader = try #require(back.first { leading[0].hasPrefix("\($0.address) ") })
      try await ReplicaSet.awaitStreaming(leader, count: 2)
      try await ReplicaSet.catchUp(leader, back)
      for address in nodes { try await writer.expectAll(at: address, "behind it all") }
      try await ReplicaSet.expectEqual(back, "behind it all")
      for node in back { try await node.stop() }
    }

    @Test(
      "is not taken out while it leads; once another one does, it goes on as a replica, and is not ready"
    )
    func removed() async throws {
      let cluster = ShardCluster(in: directory, [3, 1])
      let nodes = cluster.shards[0]
      let one = try cluster.file(ShardCluster.json(1, cluster.shards))
      let running = try await cluster.startAll(one)
      let (leader, elsewhere) = (running[0], cluster.shards[1][0])
      try await ReplicaSet.awaitStreaming(leader, count: 2)
      let (a, b) = (ShardCluster.key("a", of: 0, 2), ShardCluster.key("b", of: 0, 2))
      let without = ShardCluster.json(2, [Array(nodes.dropFirst()), cluster.shards[1]])
      let refused = try await cluster.push(without, at: elsewhere)
      #expect(refused.status == 1)
      #expect(
        refused.errors.contains(
          "\(nodes[0]) leads shard \"s0\", of which it would be no node any more"),
        "\(refused.errors)")
      // Nor by itself.
      let own = try await Threads.runOne {
        try HTTPConnection(to: nodes[0]).exchange(
          HTTPRequest(
            method: "PUT", target: "/admin/config?pass_on=false", body: Array(without.utf8)))
      }
      #expect(own.status == 409 && own.text.contains("have another one lead first"))
      try await ShardCluster.await(version: 1, at: nodes + [elsewhere])
      let first = try await Threads.runOne { try HTTPConnection(to: nodes[0]).put(a, "1").status }
      #expect(first == 201)
      let promoted = try await Executable.kv.run(
        ["promote", "--handover", "--http-addr", "\(nodes[1])"], in: directory)
      #expect(promoted.status == 0, "\(promoted.errors)")
      let taken = try await cluster.push(without, at: elsewhere)
      #expect(
        taken.output == "version 2: 4 of 4 nodes have it\n", "\(taken.output) \(taken.errors)")
      try await ShardCluster.await(version: 2, at: nodes + [elsewhere])
      try await ShardCluster.wait("that it is out", "/ready", at: nodes[0]) {
        $0.status == 503 && $0.text == "the configuration does not name this node any more"
      }
      #expect(
        try leader.process.errorsSoFar().contains(
          "the configuration does not name this node any more"))
      // It follows, counts for nothing, and is not to lead.
      let second = try await Threads.runOne {
        try HTTPConnection(to: nodes[1]).put(b, "2").status
      }
      #expect(second == 201)
      try await ShardCluster.wait("what it follows", "/local_read/\(b)", at: nodes[0]) {
        $0.status == 200
      }
      let refusal = try await Executable.kv.run(
        ["promote", "--http-addr", "\(nodes[0])"], in: directory)
      #expect(refusal.status == 1 && refusal.errors.contains("no member of the shard"))
      for node in running { try await node.stop() }
      let again = try await Executable.kv.run(
        [
          "serve", "--data-dir", cluster.data(nodes[0]), "--config-file", one, "--http-addr",
          "\(nodes[0])",
        ],
        environment: ServedNode.environment([:]), in: directory)
      #expect(again.status == 1 && again.errors.contains("\(nodes[0]) is none of its nodes"))
    }

    @Test("is not taken out where nobody answers who leads")
    func unknownLeader() async throws {
      let cluster = ShardCluster(in: directory, [2, 1])
      let one = try cluster.file(ShardCluster.json(1, cluster.shards))
      let running = try await cluster.startAll(one)
      try await ReplicaSet.awaitStreaming(running[0], count: 1)
      try await ReplicaSet.catchUp(running[0], [running[2]])
      try await running[0].kill()
      let refused = try await cluster.push(
        ShardCluster.json(2, [[cluster.shards[0][1]], cluster.shards[1]]),
        at: cluster.shards[1][0])
      #expect(refused.status == 1)
      #expect(
        refused.errors.contains("nobody answers who leads shard \"s0\", which would lose a node"),
        "\(refused.errors)")
      let promoted = try await Executable.kv.run(
        ["promote", "--http-addr", "\(cluster.shards[0][1])"], in: directory)
      #expect(promoted.status == 0, "\(promoted.errors)")
      let taken = try await cluster.push(
        ShardCluster.json(2, [[cluster.shards[0][1]], cluster.shards[1]]),
        at: cluster.shards[1][0])
      #expect(taken.lines.first == "version 2: 2 of 3 nodes have it", "\(taken.errors)")
      try await ShardCluster.await(role: "leader", at: cluster.shards[0][1])
      for node in running[1...] { try await node.stop() }
    }

    @Test("waits for as many members as the new quorum says")
    func quorum() async throws {
      let cluster = ShardCluster(in: directory, [2])
      let one = try cluster.file(ShardCluster.json(1, cluster.shards))
      let running = try await cluster.startAll(one)
      try await ReplicaSet.awaitStreaming(running[0], count: 1)
      let pushed = try await cluster.push(
        ShardCluster.json(2, cluster.shards, writeQuorum: 2), at: cluster.shards[0][1])
      #expect(pushed.output == "version 2: 2 of 2 nodes have it\n")
      try await ShardCluster.await(version: 2, at: cluster.shards[0])
      try await ReplicaSet.awaitStreaming(running[0], count: 1)
      let both = try await Threads.runOne { try running[0].connect().put("a", "1").status }
      #expect(both == 201)
      try await running[1].kill()
      try await ShardCluster.wait("that it is alone", "/status", at: cluster.shards[0][0]) {
        $0.text.contains(#""state":"offline""#)
      }
      let alone = try await Threads.runOne { try running[0].connect().put("b", "2").status }
      #expect(alone == 503)
      try await running[0].stop()
    }
  }
}

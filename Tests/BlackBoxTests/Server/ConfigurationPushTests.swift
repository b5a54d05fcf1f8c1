import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A configuration that is pushed") struct ConfigurationPushTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    @Test("counts at all nodes while they run, and only those whose place it changes begin anew")
    func push() async throws {
      let cluster = ShardCluster(in: directory, [2, 2, 1])
      let one = try cluster.file(ShardCluster.json(1, cluster.shards))
      let nodes = try await cluster.startAll(one)
      let all = cluster.shards.flatMap(\.self)
      // Any key will do: the nodes of a shard are asked themselves.
      let writer = SteadyWriter([cluster.shards[0][0]], prefix: "w")
      writer.start()
      defer { writer.end() }
      try await writer.more(20)
      let more = LoopbackAddress.fresh()
      var shards = cluster.shards
      shards[0].append(more)
      let outcome = try await cluster.push(ShardCluster.json(2, shards), at: cluster.shards[2][0])
      #expect(outcome.status == 0, "\(outcome.errors)")
      #expect(outcome.lines.first == "version 2: 5 of 6 nodes have it", "\(outcome.output)")
      #expect(outcome.lines.last?.hasPrefix("  not \(more): ") == true)
      try await ShardCluster.await(version: 2, at: all)
      try await writer.more(20)
      // The new one is started with what the others have.
      let shown = try await Executable.kv.run(
        ["config", "show", "--http-addr", "\(cluster.shards[1][1])"], in: directory)
      let added = try await cluster.start(more, try cluster.file(shown.output))
      try await ShardCluster.wait("a stream", "/status", at: cluster.shards[0][0]) { answer in
        let rows = try answer.members()["replicas"] as? [[String: Any]] ?? []
        return rows.count { $0["state"] as? String == "streaming" } == 2
          && rows.allSatisfy { $0["member"] as? Bool == true }
      }
      writer.end()
      try await ReplicaSet.catchUp(nodes[0], [added])
      try await writer.expectAll(at: more, "at the new replica")
      for node in nodes {
        let begins = try node.process.errorsSoFar().contains("and it begins anew")
        let isOfFirst = "\(cluster.shards[0])".contains("\(node.address)")
        #expect(begins == isOfFirst, "\(node.address)")
      }
      for node in nodes + [added] { try await node.stop() }
    }

    @Test("is learned by a node that missed it, and an older file does not undo that")
    func missed() async throws {
      let cluster = ShardCluster(in: directory, [1, 2])
      let one = try cluster.file(ShardCluster.json(1, cluster.shards))
      var nodes = try await cluster.startAll(one)
      let late = cluster.shards[1][1]
      try await nodes[2].kill()
      let swapped = [cluster.shards[0], cluster.shards[1]]
      let outcome = try await cluster.push(
        ShardCluster.json(4, swapped, remark: "t"), at: cluster.shards[0][0])
      #expect(outcome.lines.first == "version 4: 2 of 3 nodes have it", "\(outcome.output)")
      nodes[2] = try await cluster.start(late, one)
      try await ShardCluster.await(version: 4, at: [late])
      try await ShardCluster.wait("its shard's new name", "/status", at: late) {
        $0.text.contains(#""name":"t1""#)
      }
      let said = try nodes[2].process.errorsSoFar()
      #expect(
        said.contains("configuration: version 4, of 127.") && said.contains("counts from now on"))
      for node in nodes { try await node.stop() }
      // Nobody is there to be asked.
      let alone = try await cluster.start(late, one)
      let remark = try alone.process.errorsSoFar()
      #expect(
        remark.contains(
          "configuration: version 4, of \(cluster.data(late))/config; \(one) is older, version 1"),
        "\(remark)")
      try await ShardCluster.await(version: 4, at: [late])
      try await alone.stop()
      // Nor does it need a file any more; a newer one takes the place of what it has.
      var settings = cluster.settings(late, one)
      settings.flags = ["--segment-bytes", "65536"]
      try await ServedNode.start(settings).stop()
      let nine = try cluster.file(ShardCluster.json(9, cluster.shards))
      try await cluster.start(late, nine).stop()
      let back = try await cluster.start(late, one)
      try await ShardCluster.await(version: 9, at: [late])
      try await back.stop()
    }

    @Test("refuses a start with another file of the same version, or a damaged one, exit 1")
    func contradiction() async throws {
      let cluster = ShardCluster(in: directory, [1])
      let one = try cluster.file(ShardCluster.json(1, cluster.shards))
      let address = cluster.shards[0][0]
      let node = try await cluster.start(address, one)
      let pushed = try await cluster.push(ShardCluster.json(2, cluster.shards), at: address)
      #expect(pushed.output == "version 2: 1 of 1 nodes have it\n")
      try await node.stop()
      func refusal(_ file: String) async throws -> String {
        let outcome = try await Executable.kv.run(
          [
            "serve", "--data-dir", cluster.data(address), "--config-file", file, "--http-addr",
            "\(address)",
          ],
          environment: ServedNode.environment([:]), in: directory)
        #expect(outcome.status == 1 && outcome.errors.split(separator: "\n").count == 1)
        return outcome.errors
      }
      let other = try cluster.file(ShardCluster.json(2, cluster.shards, remark: "other"))
      let stored = cluster.data(address) + "/config"
      let both = try await refusal(other)
      #expect(
        both.hasPrefix(
          "error: \(other) and \(stored) are both version 2, and differ: raise the version"),
        "\(both)")
      // The same, however it is written.
      try await cluster.start(
        address, try cluster.file(ShardCluster.json(2, cluster.shards) + "\n\n")
      )
      .stop()
      var bytes = Array(try Data(contentsOf: URL(fileURLWithPath: stored)))
      bytes[40] ^= 1
      try Data(bytes).write(to: URL(fileURLWithPath: stored))
      let damaged = try await refusal(one)
      #expect(
        damaged.contains("\(stored): at byte 0: damaged") && damaged.contains("kv config show"))
    }

    @Test("that is refused says why in one line, exit 1, and changes nothing")
    func refused() async throws {
      let cluster = ShardCluster(in: directory, [1, 1])
      let one = try cluster.file(ShardCluster.json(1, cluster.shards))
      let nodes = try await cluster.startAll(one)
      let address = cluster.shards[0][0]
      let fresh = LoopbackAddress.fresh()
      for (json, reason) in [
        (
          ShardCluster.json(1, cluster.shards, remark: "x"),
          "version 1 is not above version 1, which is here, and says something else: raise the version"
        ),
        (
          ShardCluster.json(2, [cluster.shards[0]]),
          "the number of shards cannot change while the nodes run"
        ),
        (
          ShardCluster.json(2, cluster.shards.reversed()),
          "is a node of shard 1, and cannot be one of shard 0"
        ),
        (
          ShardCluster.json(2, [[fresh, address], cluster.shards[1]]),
          "\(fresh) is to lead shard 0, of which it is no node yet"
        ),
      ] {
        let outcome = try await cluster.push(json, at: address)
        #expect(outcome.status == 1 && outcome.output.isEmpty)
        #expect(outcome.errors.hasPrefix("error: \(address): "), "\(outcome.errors)")
        #expect(outcome.errors.contains(reason), "\(outcome.errors)")
        #expect(outcome.errors.split(separator: "\n").count == 1)
      }
      let wrong = try await cluster.push("{\"shards\":[]}", at: address)
      #expect(wrong.status == 1 && wrong.errors.contains("shards: no shards"))
      let nobody = try await cluster.push(ShardCluster.json(2, cluster.shards), at: fresh)
      #expect(nobody.status == 1 && nobody.errors.contains("refused"))
      try await ShardCluster.await(version: 1, at: [address, cluster.shards[1][0]])
      for node in nodes { try await node.stop() }
      let alone = try await ServedNode.start(ServedNode.Settings(in: directory))
      let none = try await Executable.kv.run(
        ["config", "show", "--http-addr", "\(alone.address)"], in: directory)
      #expect(
        none.status == 1 && none.errors.contains("this node is alone: it has no configuration"))
      try await alone.stop()
    }

    @Test(
      "of two at once with one version, one counts at each node; where nodes differ, both are named"
    )
    func race() async throws {
      let cluster = ShardCluster(in: directory, [1, 1, 1])
      let one = try cluster.file(ShardCluster.json(1, cluster.shards))
      let nodes = try await cluster.startAll(one)
      let all = cluster.shards.flatMap(\.self)
      for version in 2..<6 {
        let outcomes = try await withThrowingTaskGroup(of: Outcome.self) { group in
          for (name, address) in [("p", all[0]), ("q", all[1])] {
            group.addTask {
              try await cluster.push(
                ShardCluster.json(version, cluster.shards, remark: name), at: address)
            }
          }
          return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(outcomes.contains { $0.status == 0 }, "\(outcomes)")
        try await ShardCluster.await(version: version, at: all)
      }
      // And now they differ for certain: each takes its own.
      for (address, name) in zip(all, ["a", "b", "b"]) {
        let body = ShardCluster.json(7, cluster.shards, remark: name)
        let status = try await Threads.runOne {
          try HTTPConnection(to: address).exchange(
            HTTPRequest(
              method: "PUT", target: "/admin/config?pass_on=false", body: Array(body.utf8))
          ).status
        }
        #expect(status == 200)
      }
      _ = try await nodes[0].process.errors { said in
        all.dropFirst().contains {
          said.contains(
            "error configuration: \($0) and this node, \(all[0]), have version 7, and what it says differs"
          )
        }
      }
      let healed = try await cluster.push(ShardCluster.json(8, cluster.shards), at: all[2])
      #expect(healed.output == "version 8: 3 of 3 nodes have it\n")
      for node in nodes { try await node.stop() }
    }

    @Test(
      "is the old or the new one at a node that is killed while it takes it, and comes to count")
    func killed() async throws {
      let cluster = ShardCluster(in: directory, [1, 2])
      let one = try cluster.file(ShardCluster.json(1, cluster.shards))
      let nodes = try await cluster.startAll(one)
      let victim = cluster.shards[1][1]
      var current = nodes[2]
      for round in 0..<12 {
        let killed = current
        async let pushed = cluster.push(
          ShardCluster.json(round + 2, cluster.shards, remark: "r\(round)-"),
          at: cluster.shards[0][0])
        try await Task.sleep(for: .microseconds(round * 2_500 + 4_000))
        try await killed.kill()
        #expect(try await pushed.status == 0)
        current = try await cluster.start(victim, one)
        try await ShardCluster.await(version: round + 2, at: [victim])
      }
      try await current.stop()
      for node in nodes[..<2] { try await node.stop() }
    }
  }
}

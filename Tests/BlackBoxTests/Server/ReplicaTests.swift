import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A leader with replicas") struct ReplicaTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    @Test(
      "has on every replica what it has, frame by frame, whoever is killed or emptied meanwhile")
    func killedAtRandom() async throws {
      let set = try ReplicaSet(
        in: directory, replicas: 2,
        flags: ["--snapshot-wal-bytes", "262144", "--wal-retain-bytes", "262144"])
      var numbers = SeededNumbers(seed: 5)
      var nodes = [try await set.start(0), try await set.start(1), try await set.start(2)]
      var writers = (0..<6).map {
        NodeWriter("w\($0)", depth: $0 % 2 == 0 ? 1 : 8, seed: UInt64($0))
      }
      for round in 0..<14 {
        let address = nodes[0].address
        let begun = writers
        async let ended = Threads.run(begun.count) { index in
          var writer = begun[index]
          writer.write(to: address)
          return writer
        }
        try await Task.sleep(for: .milliseconds(Int.random(in: 30...250, using: &numbers)))
        // A replica goes while the leader writes, and comes back, or begins with nothing.
        let victim = 1 + round % 2
        try await nodes[victim].kill()
        if round % 5 == 4 { try set.empty(victim) }
        try await Task.sleep(for: .milliseconds(Int.random(in: 0...150, using: &numbers)))
        nodes[victim] = try await set.start(victim)
        try await Task.sleep(for: .milliseconds(Int.random(in: 0...150, using: &numbers)))
        try await nodes[0].kill()
        writers = try await ended
        if round % 3 == 2 {
          try await nodes[3 - victim].kill()
          nodes[0] = try await set.start(0)
          nodes[3 - victim] = try await set.start(3 - victim)
        } else {
          nodes[0] = try await set.start(0)
        }
        try await ReplicaSet.catchUp(nodes[0], [nodes[1], nodes[2]])
        writers = try await check(writers, nodes[round % 3], "round \(round)")
        try await ReplicaSet.expectEqual(nodes, "round \(round)")
      }
      #expect(writers.map(\.history.acknowledgedCount).reduce(0, +) > 1_000)
      // The last mark of a quiet log, too.
      try await Task.sleep(for: .milliseconds(300))
      try await nodes[0].stop()
      try await Task.sleep(for: .milliseconds(300))
      for node in nodes.dropFirst() { try await node.stop() }
      try await set.expectEqualLogs()
    }

    /// Looks each writer's keys up on a node.
    private func check(
      _ begun: [NodeWriter], _ node: ServedNode, _ moment: String
    ) async throws -> [NodeWriter] {
      let checked = try await Threads.runOne {
        let connection = try node.connect()
        var writers = begun
        var faults: [String] = []
        for index in writers.indices { faults += try writers[index].check(connection) }
        return (writers, faults)
      }
      #expect(checked.1 == [], "\(moment)")
      return checked.0
    }

    @Test("is not held up by a replica that stands still, which catches up when it goes on")
    func stopped() async throws {
      let set = try ReplicaSet(
        in: directory, replicas: 2, flags: ["--segment-bytes", "1048576"])
      let leader = try await set.start(0)
      let replicas = [try await set.start(1), try await set.start(2)]
      try await ReplicaSet.catchUp(leader, replicas)
      replicas[1].process.send(SIGSTOP)
      let value = String(repeating: "value", count: 2_000)
      let before = try leader.residentBytes()
      let statuses = try await Threads.runOne {
        let connection = try leader.connect()
        return try (0..<3_000).map { try connection.put("key-\($0 % 10)", value).status }
      }
      #expect(statuses.allSatisfy { $0 == 200 || $0 == 201 })
      // 30 MB of log. The ring of recent commits is shared, and bounded.
      #expect(try leader.residentBytes() - before < 40 << 20)
      try await ReplicaSet.catchUp(leader, [replicas[0]])
      replicas[1].process.send(SIGCONT)
      try await ReplicaSet.catchUp(leader, replicas)
      try await ReplicaSet.expectEqual([leader] + replicas, "behind the pause")
      for node in [leader] + replicas { try await node.stop() }
    }

    @Test("goes on without them, and they without it")
    func alone() async throws {
      let set = try ReplicaSet(in: directory, replicas: 1)
      let replica = try await set.start(1)
      // Before its leader it has nothing to say.
      let early = try await Threads.runOne { try replica.connect().exchange(.status).status }
      #expect(early == 503)
      let leader = try await set.start(0)
      let first = try await Threads.runOne { try leader.connect().put("key", "one").status }
      #expect(first == 201)
      try await ReplicaSet.catchUp(leader, [replica])
      try await leader.kill()
      let read = try await Threads.runOne {
        let connection = try replica.connect()
        return (try connection.get("key").text, try connection.put("key", "two").status)
      }
      #expect(read.0 == "one" && read.1 == 403)
      let again = try await set.start(0)
      _ = try await Threads.runOne { try again.connect().put("key", "three").status }
      try await ReplicaSet.catchUp(again, [replica])
      let after = try await Threads.runOne { try replica.connect().get("key").text }
      #expect(after == "three")
      try await again.stop()
      try await replica.stop()
    }

    @Test("keeps what it has when its leader begins a new log while it is away, and says so")
    func emptiedLeader() async throws {
      let set = try ReplicaSet(in: directory, replicas: 1)
      let leader = try await set.start(0)
      let replica = try await set.start(1)
      _ = try await Threads.runOne { try leader.connect().put("key", "kept").status }
      try await ReplicaSet.catchUp(leader, [replica])
      // Nobody is there whom the leader could ask.
      try await replica.stop()
      try await leader.kill()
      try set.empty(0)
      let emptied = try await set.start(0)
      _ = try await Threads.runOne { try emptied.connect().put("other", "new").status }
      let again = try await set.start(1)
      let found = try await Threads.runOne {
        let deadline = ContinuousClock.now + .seconds(20)
        var alarm: String?
        while alarm == nil, ContinuousClock.now < deadline {
          let own = try ReplicaSet.status(again)["leader"] as? [String: Any]
          alarm = own?["alarm"] as? String
          Thread.sleep(forTimeInterval: 0.05)
        }
        let connection = try again.connect()
        return (alarm, try connection.get("key").text, try connection.get("other").status)
      }
      #expect(found.0?.contains("another one") == true, "\(found.0 ?? "no alarm")")
      #expect(found.1 == "kept" && found.2 == 404)
      #expect(!FileManager.default.fileExists(atPath: set.settings[1].data + "/diverged"))
      for node in [emptied, again] { try await node.stop() }
    }

    @Test("says how far each replica is, and each replica how far it is itself")
    func told() async throws {
      let set = try ReplicaSet(in: directory, replicas: 1, flags: ["--max-lag", "1"])
      let leader = try await set.start(0)
      let replica = try await set.start(1)
      try await ReplicaSet.catchUp(leader, [replica])
      let (rows, own, ready) = try await Threads.runOne {
        // The acknowledgement may still be on its way.
        var row: [String: Any] = [:]
        for _ in 0..<500 {
          row = (try ReplicaSet.status(leader)["replicas"] as? [[String: Any]])?.first ?? [:]
          if row["lag_records"] as? Int == 0 { break }
          Thread.sleep(forTimeInterval: 0.01)
        }
        let own = try ReplicaSet.status(replica)["leader"] as? [String: Any] ?? [:]
        return (
          "\(row["id"] ?? "") \(row["state"] ?? "") \(row["lag_records"] ?? "")",
          "\(own["address"] ?? "") \(own["state"] ?? "")",
          try replica.connect().exchange(HTTPRequest(method: "GET", target: "/ready")).status
        )
      }
      #expect(rows == "\(replica.address) streaming 0" && own == "\(leader.address) streaming")
      #expect(ready == 200)
      try await leader.kill()
      // What it is behind is not known any more, and after a second that is too much.
      let late = try await Threads.runOne {
        let deadline = ContinuousClock.now + .seconds(20)
        while ContinuousClock.now < deadline {
          let answer = try replica.connect().exchange(HTTPRequest(method: "GET", target: "/ready"))
          if answer.status == 503 { return answer.text }
          Thread.sleep(forTimeInterval: 0.05)
        }
        return "it is ready for ever"
      }
      #expect(late.contains("behind its leader"), "\(late)")
      let unknown = try await Threads.runOne {
        let own = try ReplicaSet.status(replica)["leader"] as? [String: Any] ?? [:]
        return own["lag_records"] is NSNull || own["lag_records"] == nil
      }
      #expect(unknown, "a lag that is not known is not 0")
      try await replica.stop()
    }
  }
}

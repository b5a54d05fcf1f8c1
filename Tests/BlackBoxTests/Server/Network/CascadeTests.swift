import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A replica that follows a replica") struct CascadeTests {
    @Test("has what the leader has, whoever of them is killed and started again")
    func killed() async throws {
      var set = try ReplicaSet(in: try TemporaryDirectory(), replicas: 2)
      set.follow(2, set.settings[1].address)
      var nodes = [try await set.start(0), try await set.start(1), try await set.start(2)]
      // Twice each: with the others running, and while the node that it follows is away.
      for (round, victim) in [0, 1, 2, 0, 1].enumerated() {
        try await LinkedReplicas.write(40, to: nodes[0], from: 100 * round)
        try await nodes[victim].kill()
        if victim > 0 {
          try await LinkedReplicas.write(40, to: nodes[0], from: 100 * round + 40)
        }
        nodes[victim] = try await set.start(victim)
        try await LinkedReplicas.write(20, to: nodes[0], from: 100 * round + 80)
        try await ReplicaSet.catchUp(nodes[0], [nodes[1], nodes[2]])
        try await ReplicaSet.expectEqual(nodes, "round \(round)")
      }
      let (leader, followed, status) = try await Threads.runOne { [nodes] in
        let found = try ReplicaSet.following(nodes[2])
        let status = try nodes[2].connect().put("key", "value").status
        return ("\(found["address"] ?? "")", "\(found["follows"] ?? "")", status)
      }
      // Writes go to the leader, whomever it follows.
      #expect(leader == "\(nodes[0].address)" && followed == "\(nodes[1].address)")
      #expect(status == 403)
      try await Task.sleep(for: .milliseconds(300))
      for node in nodes {
        try await node.stop()
        try await Task.sleep(for: .milliseconds(300))
      }
      try await set.expectEqualLogs()
    }

    @Test("needs no configuration to follow a node, and refuses what cannot be followed")
    func withoutConfiguration() async throws {
      let directory = try TemporaryDirectory()
      let leader = try await ServedNode.start(
        ServedNode.Settings(in: directory, data: directory.path("leader")))
      try await LinkedReplicas.write(10, to: leader)
      var settings = ServedNode.Settings(in: directory, data: directory.path("replica"))
      settings.flags += ["--follow", "\(leader.address)"]
      let replica = try await ServedNode.start(settings)
      try await ReplicaSet.catchUp(leader, [replica])
      try await ReplicaSet.expectEqual([leader, replica], "without a configuration")
      let write = try await Threads.runOne { try replica.connect().put("key", "value").status }
      #expect(write == 403)
      for node in [replica, leader] { try await node.stop() }
      let set = try ReplicaSet(in: directory, replicas: 1)
      for (number, address, reason) in [
        (0, "\(set.settings[1].address)", "leads its shard"),
        (1, "\(set.settings[1].address)", "is this node"), (1, "nowhere", "--follow"),
      ] {
        var wrong = set.settings[number]
        wrong.flags += ["--follow", address]
        let outcome = try await ServedNode(wrong).process.outcome()
        #expect(outcome.status == 64 && outcome.errors.contains(reason), "\(outcome.errors)")
        #expect(!FileManager.default.fileExists(atPath: wrong.data))
      }
    }
  }
}

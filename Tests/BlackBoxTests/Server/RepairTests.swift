import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A node with damaged files") struct RepairTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    // MARK: - What is damaged

    private func segments(_ settings: ServedNode.Settings) throws -> [String] {
      try FileManager.default.contentsOfDirectory(atPath: settings.data + "/wal")
        .filter { $0.hasSuffix(".wal") }.sorted().map { settings.data + "/wal/" + $0 }
    }

    private func zero(_ path: String, at offset: UInt64, count: Int = 512) throws {
      let file = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
      try file.seek(toOffset: offset)
      try file.write(contentsOf: Data(count: count))
      try file.close()
    }

    private func bytes(_ path: String) throws -> Data {
      try Data(contentsOf: URL(fileURLWithPath: path))
    }

    /// Writes half a megabyte to a leader, and waits until its replicas have it.
    private func fill(_ leader: ServedNode, _ replicas: [ServedNode]) async throws {
      let value = String(repeating: "value", count: 200)
      let statuses = try await Threads.runOne {
        let connection = try leader.connect()
        return try (0..<500).map { try connection.put("key-\($0 % 300)", "\($0)\(value)").status }
      }
      #expect(statuses.allSatisfy { $0 == 200 || $0 == 201 })
      try await ReplicaSet.catchUp(leader, replicas)
    }

    private func verify(_ settings: ServedNode.Settings) async throws {
      let verdict = try await Executable.dump.run(["--verify", settings.data], in: directory)
      #expect(verdict.status == 0, "\(verdict.output)")
    }

    private func kv(_ arguments: String...) async throws -> Outcome {
      try await Executable.kv.run(arguments, in: directory)
    }

    private func stop(_ nodes: [ServedNode]) async throws {
      try await Task.sleep(for: .milliseconds(300))
      for node in nodes {
        try await node.stop()
        try await Task.sleep(for: .milliseconds(100))
      }
    }

    // MARK: - At the start

    @Test(
      "is healed at its start by its leader, or by its replica, however it ended",
      arguments: [(0, true), (1, true), (0, false), (1, false)])
    func start(number: Int, isKilled: Bool) async throws {
      let set = try ReplicaSet(in: directory, replicas: 1)
      var nodes = [try await set.start(0), try await set.start(1)]
      try await fill(nodes[0], [nodes[1]])
      if isKilled { try await nodes[number].kill() } else { try await nodes[number].stop() }
      let paths = try segments(set.settings[number])
      try #require(paths.count > 5)
      try zero(paths[2], at: 4_096)
      try zero(paths[4], at: 0)
      let damaged = try bytes(paths[2])
      nodes[number] = try await set.start(number)
      let said = try await nodes[number].process.errors { $0.contains("listening on ") }
      #expect(said.contains("whole again"), "\(said)")
      #expect(said.contains("healed from \(nodes[1 - number].address)"), "\(said)")
      let name = URL(fileURLWithPath: paths[2]).lastPathComponent
      #expect(try bytes(set.settings[number].data + "/quarantine/" + name) == damaged)
      try await fill(nodes[0], [nodes[1]])
      try await ReplicaSet.expectEqual(nodes, "healed")
      try await stop(nodes)
      try await set.expectEqualLogs()
      try await verify(set.settings[0])
    }

    @Test("is refused where nobody has what is missing, and says who was asked and what to do")
    func nobody() async throws {
      let set = try ReplicaSet(in: directory, replicas: 1)
      let nodes = [try await set.start(0), try await set.start(1)]
      try await fill(nodes[0], [nodes[1]])
      try await stop(nodes)
      let path = try segments(set.settings[0])[2]
      try zero(path, at: 4_096)
      let damaged = try bytes(path)
      let refused = try ServedNode(set.settings[0])
      let outcome = try await refused.process.outcome()
      #expect(outcome.status == 1)
      for words in [path, "refused", "\(nodes[1].address)", "kv repair --data-dir"] {
        #expect(outcome.errors.contains(words), "\(outcome.errors)")
      }
      let alone = try await kv("repair", "--data-dir", set.settings[0].data)
      #expect(alone.status == 1 && alone.errors.contains(path), "\(alone.errors)")
      #expect(alone.errors.split(separator: "\n").count == 1, "\(alone.errors)")
      let asked = try await kv(
        "repair", "--data-dir", set.settings[0].data, "--from", "\(nodes[1].address)")
      #expect(asked.status == 1 && asked.errors.contains("\(nodes[1].address)"))
      #expect(try bytes(path) == damaged)
      // Its replica is there again.
      let replica = try await set.start(1)
      let leader = try await set.start(0)
      try await ReplicaSet.catchUp(leader, [replica])
      try await ReplicaSet.expectEqual([leader, replica], "later")
      try await stop([leader, replica])
    }

    @Test("takes its leader's snapshot where the leader's log does not go back that far")
    func snapshot() async throws {
      let set = try ReplicaSet(in: directory, replicas: 1)
      var settings = set.settings
      settings[0].flags += ["--snapshot-wal-bytes", "65536", "--wal-retain-bytes", "65536"]
      let leader = try await ServedNode.start(settings[0])
      var replica = try await ServedNode.start(settings[1])
      for _ in 0..<4 { try await fill(leader, [replica]) }
      try await replica.stop()
      let paths = try segments(settings[1])
      let first = try segments(settings[0])[0]
      try #require(
        URL(fileURLWithPath: first).lastPathComponent
          > URL(fileURLWithPath: paths[2]).lastPathComponent)
      try zero(paths[1], at: 8_192)
      replica = try await ServedNode.start(settings[1])
      let said = try await replica.process.errors { $0.contains("listening on ") }
      #expect(said.contains("covered by the snapshot"), "\(said)")
      try await fill(leader, [replica])
      try await ReplicaSet.expectEqual([leader, replica], "behind the snapshot")
      try await stop([leader, replica])
    }

    // MARK: - By command

    @Test("is healed by kv repair while it is stopped")
    func stopped() async throws {
      let set = try ReplicaSet(in: directory, replicas: 1)
      let leader = try await set.start(0)
      var replica = try await set.start(1)
      try await fill(leader, [replica])
      let data = set.settings[1].data
      let used = try await kv("repair", "--data-dir", data, "--from", "\(leader.address)")
      #expect(used.status == 1 && used.errors.contains("in use"), "\(used.errors)")
      try await replica.stop()
      let paths = try segments(set.settings[1])
      try FileManager.default.removeItem(atPath: paths[3])
      try zero(paths[1], at: 512, count: 8_192)
      let repaired = try await kv("repair", "--data-dir", data, "--from", "\(leader.address)")
      #expect(repaired.status == 0, "\(repaired.errors)")
      #expect(repaired.output.contains("healed from \(leader.address)"), "\(repaired.output)")
      #expect(repaired.output.contains("\(data): repaired; "))
      try await verify(set.settings[1])
      let config = directory.path("sharding.json")
      let again = try await kv("repair", "--data-dir", data, "--config-file", config, "--json")
      #expect(again.status == 0 && again.output.contains("\"whole\":true"), "\(again.output)")
      #expect(again.output.contains("\"healed\":[]"))
      replica = try await set.start(1)
      try await fill(leader, [replica])
      try await ReplicaSet.expectEqual([leader, replica], "repaired")
      try await stop([leader, replica])
      try await set.expectEqualLogs()
    }

    @Test("is healed by kv repair while it runs, each of three that are damaged in other places")
    func running() async throws {
      let set = try ReplicaSet(in: directory, replicas: 2)
      let nodes = [try await set.start(0), try await set.start(1), try await set.start(2)]
      try await fill(nodes[0], [nodes[1], nodes[2]])
      for number in 0...2 {
        let paths = try segments(set.settings[number])
        // In files of their own, and in one file.
        try zero(paths[1 + number], at: 8_192)
        try zero(paths[4], at: UInt64(8_192 + number * 16_384), count: 1_024)
      }
      for node in nodes.reversed() {
        let outcome = try await kv("repair", "--http-addr", "\(node.address)")
        #expect(outcome.status == 0, "\(outcome.errors)")
        #expect(outcome.output.contains("healed from"), "\(outcome.output)")
        #expect(!outcome.output.contains("covers it"), "\(outcome.output)")
      }
      for node in nodes {
        let outcome = try await kv("repair", "--http-addr", "\(node.address)")
        #expect(outcome.output.contains("nothing is damaged"), "\(outcome.output)")
      }
      try await fill(nodes[0], [nodes[1], nodes[2]])
      try await ReplicaSet.expectEqual(nodes, "repaired")
      try await stop(nodes)
      try await set.expectEqualLogs()
      try await verify(set.settings[0])
    }

    @Test("makes a new snapshot in place of a damaged one while it runs")
    func damagedSnapshot() async throws {
      let node = try await ServedNode.start(.init(in: directory))
      _ = try await Threads.runOne { try node.connect().put("key", "value").status }
      #expect(try await kv("snapshot", "--http-addr", "\(node.address)").status == 0)
      let place = node.settings.data + "/snapshots/"
      let names = try FileManager.default.contentsOfDirectory(atPath: place)
      let name = try #require(names.first { $0.hasSuffix(".snap") })
      try zero(place + name, at: 60, count: 20)
      let outcome = try await kv("repair", "--http-addr", "\(node.address)")
      #expect(outcome.status == 0 && outcome.output.contains(name), "\(outcome.output)")
      try await node.kill()
      try await verify(node.settings)
      let again = try await ServedNode.start(node.settings)
      let value = try await Threads.runOne { try again.connect().get("key").text }
      #expect(value == "value")
      try await again.stop()
      #expect(
        FileManager.default.fileExists(atPath: node.settings.data + "/quarantine/" + name))
    }

    @Test("is not what a wrong call is about: exit 64")
    func usage() async throws {
      for arguments in [
        ["repair", "--from", "127.0.0.1:1"], ["repair", "--data-dir", ""],
        ["repair", "--data-dir", "d", "--from", "nowhere"],
      ] {
        let outcome = try await Executable.kv.run(arguments, in: directory)
        #expect(outcome.status == 64, "\(arguments)")
      }
      let nothing = try await kv("repair", "--data-dir", directory.path("nothing"))
      #expect(nothing.status == 1 && nothing.errors.split(separator: "\n").count == 1)
    }
  }
}

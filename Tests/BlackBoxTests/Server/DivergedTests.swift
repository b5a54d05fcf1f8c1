import Foundation
import Testing

extension NodeProcessTests {
  @Suite("An old leader that comes back to another one's history") struct DivergedTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private static func put(_ pairs: [(String, String)], to node: ServedNode) async throws {
      let statuses = try await Threads.runOne {
        let connection = try node.connect()
        return try pairs.map { try connection.put($0.0, $0.1).status }
      }
      #expect(statuses.allSatisfy { $0 == 200 || $0 == 201 }, "\(statuses)")
    }

    private static func values(_ node: ServedNode, _ keys: [String]) async throws -> [String?] {
      try await Threads.runOne {
        let connection = try node.connect()
        return try keys.map { key in
          let answer = try connection.get(key)
          return answer.status == 200 ? answer.text : nil
        }
      }
    }

    private static func status(_ node: ServedNode) async throws -> String {
      try await Threads.runOne {
        let answer = try node.connect().exchange(.status)
        return answer.text
      }
    }

    /// A leader whose last writes no replica has, and the replica leading in a higher epoch since.
    private struct Fork {
      /// What the old leader is started with to follow, and the new one to lead.
      let old: ServedNode.Settings
      let new: ServedNode.Settings
      let leader: ServedNode
    }

    private static func configuration(
      _ directory: TemporaryDirectory, _ name: String, leader: LoopbackAddress,
      replica: LoopbackAddress
    ) throws -> [String] {
      let path = directory.path(name)
      try Data(
        """
        {"version":1,"shards":[{"name":"only","index":0,"leader":"\(leader)",
          "replicas":["\(replica)"]}]}
        """.utf8
      ).write(to: URL(fileURLWithPath: path))
      return ["--config-file", path, "--segment-bytes", "65536"]
    }

    /// - Parameter common: how many keys both have before the leader's last writes.
    private func fork(
      common: Int, flags: [String] = [],
      lost: @escaping @Sendable (HTTPConnection) throws -> Void
    ) async throws -> Fork {
      let set = try ReplicaSet(in: directory, replicas: 1, flags: flags)
      let first = try await set.start(0)
      let replica = try await set.start(1)
      try await Self.put((0..<common).map { ("key-\($0)", "common-\($0)") }, to: first)
      try await ReplicaSet.catchUp(first, [replica])
      try await replica.kill()
      try await Threads.runOne { try lost(try first.connect()) }
      try await first.kill()
      var (old, new) = (set.settings[0], set.settings[1])
      old.flags =
        try Self.configuration(
          directory, "old.json", leader: new.address, replica: old.address) + flags
      // Its configuration does not name the node any more that led last: it begins a new epoch.
      new.flags =
        try Self.configuration(
          directory, "new.json", leader: new.address, replica: .fresh()) + flags
      return Fork(old: old, new: new, leader: try await ServedNode.start(new))
    }

    /// Waits until the old leader has what the new one has: before, it may have more, of its own.
    private static func rejoined(_ leader: ServedNode, _ back: ServedNode) async throws {
      try await Threads.runOne {
        let wanted = try #require(try ReplicaSet.status(leader)["epoch"] as? Int)
        let deadline = ContinuousClock.now + .seconds(30)
        while true {
          // While it is being taken back nothing is served, and connections may end.
          let status = try? ReplicaSet.status(back)
          if status?["epoch"] as? Int == wanted { return }
          guard ContinuousClock.now < deadline else {
            throw ReplicaSet.NotInTime(description: "\(back.address) stays at \(status ?? [:])")
          }
          Thread.sleep(forTimeInterval: 0.01)
        }
      }
      try await ReplicaSet.catchUp(leader, [back])
    }

    private func kv(_ arguments: [String]) async throws -> Outcome {
      try await Executable.kv.run(arguments, in: directory)
    }

    @Test(
      "takes its log back to where the two part, keeps the rest, follows, and lists what was lost")
    func rewound() async throws {
      let fork = try await fork(common: 200) { connection in
        for number in 0..<50 { _ = try connection.put("key-\(number)", "lost-\(number)") }
        _ = try connection.put("only-\u{e9}", "lost")
        _ = try connection.exchange(.delete("key-60"))
        _ = try connection.exchange(
          .batch([.init(key: "key-61", value: "batch"), .init(key: "key-62", value: nil)]))
      }
      let leader = fork.leader
      try await Self.put((0..<10).map { ("key-\($0)", "new-\($0)") }, to: leader)
      _ = try await Threads.runOne { try leader.connect().exchange(.delete("key-11")).status }
      let back = try await ServedNode.start(fork.old)
      try await Self.rejoined(leader, back)
      try await ReplicaSet.expectEqual([leader, back], "behind the return")
      let said = try back.process.errorsSoFar()
      #expect(said.contains("The log was taken back to ") && !said.contains("fetched the snapshot"))
      // Not copied: what it had of the first epoch is where it was.
      let names = try FileManager.default.contentsOfDirectory(atPath: fork.old.data + "/diverged")
      #expect(names.count == 1 && names[0].hasPrefix("1-"), "\(names)")
      let saved = fork.old.data + "/diverged/" + names[0]
      let verdict = try await Executable.dump.run(["--verify", saved], in: directory)
      #expect(verdict.status == 0, "\(verdict.output)\(verdict.errors)")
      let status = try await Self.status(back)
      #expect(status.contains("\"diverged\":{\"records\":54,\"tails\":1}"), "\(status)")
      let metrics = try await Threads.runOne {
        try back.connect().exchange(HTTPRequest(method: "GET", target: "/metrics")).text
      }
      #expect(metrics.contains("shiplog_diverged_records 54"))

      let local = try await kv(["diverged", "--data-dir", fork.old.data, "--values", "--json"])
      let remote = try await kv([
        "diverged", "--http-addr", "\(back.address)", "--values", "--json",
      ])
      #expect(local.status == 0 && local.output == remote.output, "\(local.errors)\(remote.errors)")
      #expect(local.lines.count == 55 && local.lines.last == "{\"tails\":1,\"records\":54}")
      #expect(local.output.contains("\"type\":\"delete\",\"key\":\"key-60\""))
      #expect(local.output.contains("\"key\":\"only-\u{e9}\",\"value_size\":4,\"value\":\"lost\""))
      let text = try await kv(["diverged", "--data-dir", fork.old.data])
      #expect(
        text.lines.last == "1 tail, 54 writes" && text.output.contains("put  \"key-61\"  5 bytes"))

      try await leader.stop()
      try await back.stop()
      let logs = try await Executable.dump.run(["--verify", fork.old.data], in: directory)
      #expect(logs.status == 0, "\(logs.output)")
      let difference = try await Executable.dump.run(
        ["--diff", fork.old.data, fork.new.data], in: directory)
      #expect(difference.status == 0, "\(difference.output)")
    }

    @Test("has its lost writes written back, but for those keys that were written since")
    func replayed() async throws {
      let far = UInt64(Date().timeIntervalSince1970 * 1_000) + 3_600_000
      let fork = try await fork(common: 30) { connection in
        for number in 0..<10 { _ = try connection.put("key-\(number)", "lost-\(number)") }
        _ = try connection.put("key-1", "lost again")
        _ = try connection.put("new", "lost")
        _ = try connection.put("since", "lost")
        _ = try connection.exchange(.delete("key-20"))
        _ = try connection.exchange(.delete("key-21"))
        _ = try connection.exchange(
          HTTPRequest(method: "PUT", target: "/kv/brief?ttl=1", body: Array("gone".utf8)))
        _ = try connection.exchange(
          HTTPRequest(method: "PUT", target: "/kv/long?ttl=3600", body: Array("kept".utf8)))
      }
      let leader = fork.leader
      try await Self.put([("key-3", "newer"), ("key-21", "newer"), ("since", "x")], to: leader)
      _ = try await Threads.runOne {
        let connection = try leader.connect()
        _ = try connection.exchange(.delete("key-4"))
        _ = try connection.exchange(.delete("since"))
      }
      let back = try await ServedNode.start(fork.old)
      try await Self.rejoined(leader, back)
      try await Task.sleep(for: .milliseconds(1_100))
      let replay = ["diverged", "--replay", "--http-addr", "\(leader.address)"]
      let sources = [["--from", "\(back.address)"], ["--data-dir", fork.old.data]]
      let first = try await kv(replay + sources[0])
      #expect(
        first.status == 0
          && first.lines.last
            == "10 written back, 1 deleted, 0 already so, 4 not written back, 1 expired",
        "\(first.output)\(first.errors)")
      #expect(first.output.contains("\"key-3\": not written back: it was written since"))
      #expect(first.output.contains("\"key-4\": not written back: it was written since"))
      #expect(first.output.contains("\"since\": not written back: it was written since"))
      let expected = [
        "lost-0", "lost again", "lost-2", "newer", nil, "lost-5", "lost", nil, nil, "newer", nil,
        "kept", "common-15",
      ]
      let keys = [
        "key-0", "key-1", "key-2", "key-3", "key-4", "key-5", "new", "since", "key-20", "key-21",
        "brief", "long", "key-15",
      ]
      #expect(try await Self.values(leader, keys) == expected)
      let expiry = try await kv(["get", "long", "--http-addr", "\(leader.address)", "--json"])
      #expect(expiry.status == 0)
      // Again: nothing new, whoever has deleted meanwhile.
      _ = try await Threads.runOne { try leader.connect().exchange(.delete("new")).status }
      let digest = try await Self.digest(leader)
      for source in sources {
        let again = try await kv(replay + source + ["--json"])
        #expect(again.status == 0, "\(again.errors)")
        #expect(
          again.lines.last
            == """
            {"put":0,"deleted":0,"absent":1,"present":9,"since":5,"unknown":0,"expired":1,"not_keys":0}
            """, "\(again.output)")
      }
      #expect(try await Self.digest(leader) == digest)
      #expect(try await Self.expiry("long", leader) <= far + 5_000)
      let stranger = try await ServedNode.start(.init(in: directory, data: directory.path("other")))
      let wrong = try await kv(
        ["diverged", "--replay", "--http-addr", "\(stranger.address)"] + sources[1])
      #expect(wrong.status == 1 && wrong.errors.contains("has the log"), "\(wrong.errors)")
      for node in [leader, back, stranger] { try await node.stop() }
    }

    private static func digest(_ node: ServedNode) async throws -> String {
      try await Threads.runOne { "\(try ReplicaSet.status(node)["digest"] ?? "none")" }
    }

    /// When a key that was written back expires, by the log of its node.
    private static func expiry(
      _ key: String, _ node: ServedNode
    ) async throws -> UInt64 {
      let lines = try await Threads.runOne {
        try node.connect().exchange(
          HTTPRequest(method: "GET", target: "/admin/diverged?log=current&limit=10000")
        ).text
      }
      let line = try #require(
        lines.split(separator: "\n").last { $0.contains("\"key\":\"\(key)\"") })
      let members = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
      return try #require((members?["expiry"] as? NSNumber)?.uint64Value)
    }

    @Test("copies its leader anew where no snapshot is below the fork, and lists that too")
    func noSnapshot() async throws {
      let flags = ["--snapshot-wal-bytes", "65536", "--wal-retain-bytes", "65536"]
      let value = String(repeating: "v", count: 1_000)
      let fork = try await fork(common: 20, flags: flags) { connection in
        for number in 0..<1_500 { _ = try connection.put("lost-\(number)", value) }
        // Two snapshots behind the fork, and the log behind the older.
        for _ in 0..<3 {
          _ = try connection.exchange(HTTPRequest(method: "POST", target: "/admin/snapshot"))
          for number in 0..<200 { _ = try connection.put("more-\(number)", value) }
        }
      }
      try await Self.put([("key-1", "new")], to: fork.leader)
      let back = try await ServedNode.start(fork.old)
      try await Self.rejoined(fork.leader, back)
      try await ReplicaSet.expectEqual([fork.leader, back], "behind the return")
      let found = try FileManager.default.contentsOfDirectory(atPath: fork.old.data + "/diverged")
      #expect(found == ["copy-1"])
      let listed = try await kv(["diverged", "--data-dir", fork.old.data])
      #expect(listed.status == 0 && listed.lines.count > 200, "\(listed.errors)")
      #expect(listed.output.hasPrefix("copy-1: log ") && listed.output.contains("\"more-199\""))
      for node in [fork.leader, back] { try await node.stop() }
    }

    @Test("says what is wrong with a command for them")
    func usage() async throws {
      for (arguments, status) in [
        (["--from", "127.0.0.1:1"], 64), (["--values", "--replay"], 64),
        (["--replay", "--from", "127.0.0.1:1", "--data-dir", "x"], 64),
        (["--data-dir", directory.path("nowhere")], 1), (["--http-addr", "127.0.0.1:1"], 1),
      ] as [([String], Int32)] {
        let outcome = try await kv(["diverged"] + arguments)
        #expect(outcome.status == status, "\(arguments): \(outcome.errors)")
      }
      let node = try await ServedNode.start(.init(in: directory))
      let none = try await kv(["diverged", "--http-addr", "\(node.address)"])
      #expect(none.status == 0 && none.output == "0 tails, 0 writes\n")
      for target in [
        "tail=x&log=current", "log=other", "tail=x&from=0", "tail=x&limit=10001", "tail=x&values=1",
      ] {
        let answer = try await Threads.runOne {
          try node.connect().exchange(
            HTTPRequest(method: "GET", target: "/admin/diverged?\(target)")
          ).status
        }
        #expect(answer == 400, "\(target)")
      }
      let unknown = try await Threads.runOne {
        try node.connect().exchange(
          HTTPRequest(method: "GET", target: "/admin/diverged?tail=../wal")
        ).status
      }
      #expect(unknown == 404)
      try await node.stop()
    }
  }
}

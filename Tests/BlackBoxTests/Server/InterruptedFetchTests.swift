import Foundation
import Testing

extension NodeProcessTests {
  @Suite("An emptied leader that is killed while it fetches") struct InterruptedFetchTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private func isThere(_ path: String) -> Bool { FileManager.default.fileExists(atPath: path) }

    /// Kills it at a write further and further on, until a part of the log is there.
    private func interrupt(_ set: ReplicaSet) async throws {
      let data = set.settings[0].data
      var traced = set.settings[0]
      for write in 2..<40 {
        if isThere(data) { try set.empty(0) }
        traced.tracing = [
          "-e", "trace=pwrite64", "-e", "inject=pwrite64:signal=KILL:when=\(write)",
        ]
        let outcome = try await ServedNode(traced).process.outcome()
        try #require(outcome.status == -SIGKILL, "\(outcome.errors)")
        let frames = try await Executable.dump.run([data], in: directory)
        if frames.output.contains("key-") {
          #expect(!frames.output.contains("key-299"), "all of it is there")
          return
        }
      }
      Issue.record("it is never killed with a part of the log")
    }

    private static func promise(_ node: ServedNode, origin: String) async throws -> HTTPAnswer {
      try await Threads.runOne {
        try node.connect().exchange(
          HTTPRequest(
            method: "POST",
            target: "/admin/promise?epoch=2-00000000000000aa&origin=\(origin)"))
      }
    }

    @Test("neither leads with what it has, nor stands for what it had, over a restart")
    func promises() async throws {
      let set = try ReplicaSet(in: directory, replicas: 2, flags: ["-w", "2"])
      async let first = set.start(0)
      async let second = set.start(1)
      async let third = set.start(2)
      var nodes = try await [first, second, third]
      try await ReplicaSet.awaitStreaming(nodes[0], count: 2)
      let value = String(repeating: "v", count: 1_000)
      let leader = nodes[0]
      let statuses = try await Threads.runOne {
        let connection = try leader.connect()
        return try (0..<300).map { try connection.put("key-\($0)", "\(value)\($0)").status }
      }
      #expect(statuses.allSatisfy { $0 == 201 })
      try await ReplicaSet.catchUp(nodes[0], [nodes[1], nodes[2]])
      let origin = try await Threads.runOne {
        try #require(try ReplicaSet.status(leader)["origin"] as? String)
      }
      try await nodes[0].kill()
      try await interrupt(set)
      for number in 1...2 { try await nodes[number].kill() }
      // Nobody else is there: it does not lead with what it has, and says that it lacks something.
      let alone = try await set.start(0)
      let (role, lacks) = try await Threads.runOne {
        let status = try ReplicaSet.status(alone)
        return (status["role"] as? String, status["lacks"] as? Bool)
      }
      #expect(role == "replica" && lacks == true)
      let promised = try await Self.promise(alone, origin: origin)
      #expect(promised.status == 200 && promised.text.contains("\"lacks\":true"), "\(promised)")
      let position = try await Threads.runOne {
        try alone.connect().exchange(HTTPRequest(method: "GET", target: "/wal/position")).status
      }
      #expect(position == 503)
      try await alone.kill()
      let note = set.settings[0].data + "/lacks"
      #expect(isThere(note))
      // It leads once it has all of it, in a new epoch.
      async let again = set.start(0)
      async let secondAgain = set.start(1)
      async let thirdAgain = set.start(2)
      nodes = try await [again, secondAgain, thirdAgain]
      let all = nodes
      try await Threads.runOne {
        let deadline = ContinuousClock.now + .seconds(30)
        while try ReplicaSet.status(all[0])["role"] as? String != "leader" {
          try #require(ContinuousClock.now < deadline, "it does not lead")
          Thread.sleep(forTimeInterval: 0.01)
        }
        let connection = try all[0].connect()
        for number in 0..<300 {
          let found = try connection.exchange(
            HTTPRequest(method: "GET", target: "/kv/key-\(number)")
          ).text
          #expect(found == "\(value)\(number)")
        }
      }
      #expect(!isThere(note))
      try await ReplicaSet.catchUp(nodes[0], [nodes[1], nodes[2]])
      try await ReplicaSet.expectEqual(nodes, "in the end")
      for node in nodes { try await node.stop() }
    }

    @Test("with a quorum of 1 waits for who has more, and takes nobody's log for the whole")
    func alone() async throws {
      let set = try ReplicaSet(in: directory, replicas: 1)
      let leader = try await set.start(0)
      let replica = try await set.start(1)
      let value = String(repeating: "v", count: 1_000)
      let statuses = try await Threads.runOne {
        let connection = try leader.connect()
        return try (0..<300).map { try connection.put("key-\($0)", "\(value)\($0)").status }
      }
      #expect(statuses.allSatisfy { $0 == 201 })
      try await ReplicaSet.catchUp(leader, [replica])
      try await leader.kill()
      try await interrupt(set)
      try await replica.kill()
      let waiting = try ServedNode(set.settings[0])
      _ = try await waiting.process.errors { $0.contains("it waits until 1 other members") }
      let back = try await set.start(1)
      _ = try await waiting.process.errors { $0.contains("listening on ") }
      let last = try await Threads.runOne { try waiting.connect().get("key-299").text }
      #expect(last == "\(value)299")
      try await ReplicaSet.catchUp(waiting, [back])
      try await ReplicaSet.expectEqual([waiting, back], "in the end")
      for node in [waiting, back] { try await node.stop() }
    }
  }
}

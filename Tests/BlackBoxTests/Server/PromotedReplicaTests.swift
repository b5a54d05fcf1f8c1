import Foundation
import Synchronization
import Testing

extension NodeProcessTests {
  @Suite("A replica that is promoted") struct PromotedReplicaTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private static func put(_ key: String, _ node: ServedNode) async throws -> Int {
      try await Threads.runOne { try node.connect().put(key, "value of \(key)").status }
    }

    private static func promote(_ node: ServedNode, _ query: String = "") async throws -> (
      status: Int, text: String
    ) {
      try await Threads.runOne {
        let answer = try node.connect().exchange(
          HTTPRequest(method: "POST", target: "/admin/promote" + query))
        return (answer.status, answer.text)
      }
    }

    @Test("takes over from a leader that lives, which follows it, and nothing is lost")
    func livingLeader() async throws {
      let set = try ReplicaSet(in: directory, replicas: 2)
      let nodes = [try await set.start(0), try await set.start(1), try await set.start(2)]
      for number in 0..<50 { #expect(try await Self.put("a\(number)", nodes[0]) == 201) }
      // It may be behind: the most advanced log is taken first.
      let promoted = try await Self.promote(nodes[1])
      #expect(promoted.status == 200 && promoted.text.contains(#""epoch":2"#), "\(promoted)")
      #expect(promoted.text.contains(#""promises":3,"members":3"#), "\(promoted)")
      #expect(try await Self.put("b", nodes[1]) == 201)
      #expect(try await Self.put("c", nodes[0]) == 403)
      try await ReplicaSet.awaitRole(nodes[0], "replica")
      try await ReplicaSet.catchUp(nodes[1], [nodes[0], nodes[2]])
      try await ReplicaSet.expectEqual(nodes, "behind the promotion")
      let again = try await Self.promote(nodes[1])
      #expect(again.status == 200 && again.text.contains(#""promoted":false"#))
      let found = try await Threads.runOne { try nodes[1].connect().get("a49").text }
      #expect(found == "value of a49")
      // The first leader in the configuration asks, and follows.
      try await nodes[0].stop()
      let back = try await set.start(0)
      try await ReplicaSet.awaitRole(back, "replica")
      #expect(try await Self.put("d", nodes[1]) == 201)
      try await ReplicaSet.catchUp(nodes[1], [back, nodes[2]])
      for node in [back, nodes[1], nodes[2]] { try await node.stop() }
      try await set.expectEqualLogs()
    }

    @Test("with a write quorum is refused where too few promise, and loses nothing otherwise")
    func quorum() async throws {
      let set = try ReplicaSet(in: directory, replicas: 2, flags: ["-w", "2"])
      async let first = set.start(0)
      async let second = set.start(1)
      async let third = set.start(2)
      var nodes = try await [first, second, third]
      try await ReplicaSet.awaitStreaming(nodes[0], count: 2)
      for number in 0..<20 { #expect(try await Self.put("a\(number)", nodes[0]) == 201) }
      // One of the two may not have the last ones: it is not the one that is promoted first.
      try await nodes[0].kill()
      try await nodes[2].kill()
      let refused = try await Self.promote(nodes[1])
      #expect(refused.status == 503 && refused.text.contains("it takes 2"), "\(refused)")
      nodes[2] = try await set.start(2)
      let promoted = try await Self.promote(nodes[2])
      #expect(promoted.status == 200, "\(promoted)")
      try await ReplicaSet.awaitStreaming(nodes[2], count: 1)
      #expect(try await Self.put("b", nodes[2]) == 201)
      let leader = nodes[2]
      let found = try await Threads.runOne {
        let connection = try leader.connect()
        return try (0..<20).map { try connection.get("a\($0)").text }
      }
      #expect(found == (0..<20).map { "value of a\($0)" })
      nodes[0] = try await set.start(0)
      try await ReplicaSet.awaitRole(nodes[0], "replica")
      try await ReplicaSet.catchUp(nodes[2], [nodes[0], nodes[1]])
      try await ReplicaSet.expectEqual(nodes, "with the old leader")
      for node in nodes { try await node.stop() }
    }

    @Test(
      "takes over by a hand-over, for which writes wait and do not fail",
      arguments: [[], ["-w", "2"]])
    func handOver(flags: [String]) async throws {
      let set = try ReplicaSet(in: directory, replicas: 2, flags: flags)
      async let first = set.start(0)
      async let second = set.start(1)
      async let third = set.start(2)
      let nodes = try await [first, second, third]
      try await ReplicaSet.awaitStreaming(nodes[0], count: 2)
      let isOver = Flag()
      async let written = withThrowingTaskGroup(of: [String].self) { group in
        for writer in 0..<4 {
          group.addTask {
            try await Threads.runOne { try Self.write(writer, to: nodes[0], until: isOver) }
          }
        }
        return try await group.reduce(into: []) { $0 += $1 }
      }
      let promoted = try await Self.promote(nodes[1], "?handover=true")
      #expect(promoted.status == 200 && promoted.text.contains(#""epoch":2"#), "\(promoted)")
      // What comes behind it is handed on.
      #expect(try await Self.put("behind", nodes[0]) == 201)
      isOver.set()
      let keys = try await written
      try await ReplicaSet.awaitRole(nodes[0], "replica")
      let found = try await Threads.runOne {
        let connection = try nodes[1].connect()
        return try keys.filter { try connection.get($0).text != "value of \($0)" }
      }
      #expect(found.isEmpty && !keys.isEmpty, "\(found.count) of \(keys.count)")
      try await ReplicaSet.catchUp(nodes[1], [nodes[0], nodes[2]])
      try await ReplicaSet.expectEqual(nodes, "behind the hand-over")
      let again = try await Self.promote(nodes[1], "?handover=true")
      #expect(again.status == 200 && again.text.contains(#""promoted":false"#), "\(again)")
      #expect(try await Self.promote(nodes[2], "?handover=true&force=true").status == 400)
      for node in nodes { try await node.stop() }
      try await set.expectEqualLogs()
    }

    /// Writes one key after the other; every write has to be acknowledged.
    private static func write(
      _ writer: Int, to node: ServedNode, until isOver: Flag
    ) throws -> [String] {
      let connection = try node.connect()
      var keys: [String] = []
      while !isOver.isSet {
        let key = "w\(writer)-\(keys.count)"
        let answer = try connection.put(key, "value of \(key)")
        try #require(answer.status == 201, "\(key): \(answer.status) \(answer.text)")
        keys.append(key)
      }
      return keys
    }

    @Test("is not handed over to where it cannot go, and the leader goes on")
    func noHandOver() async throws {
      let set = try ReplicaSet(in: directory, replicas: 2)
      let leader = try await set.start(0)
      let replica = try await set.start(1)
      #expect(try await Self.put("a", leader) == 201)
      for to in ["", "?to=", "?to=127.0.0.1:1", "?to=\(leader.address)"] {
        let answer = try await Threads.runOne {
          try leader.connect().exchange(
            HTTPRequest(method: "POST", target: "/admin/handover" + to)
          ).status
        }
        #expect(answer == 400, "\(to)")
      }
      let absent = set.settings[2].address
      let answer = try await Threads.runOne {
        try leader.connect().exchange(
          HTTPRequest(method: "POST", target: "/admin/handover?to=\(absent)"))
      }
      #expect(answer.status == 503 && answer.text.contains("does not stream"), "\(answer.text)")
      #expect(try await Self.put("b", leader) == 201)
      for node in [leader, replica] { try await node.stop() }
    }

    @Test("keeps its promise over a restart: it waits, and is promoted again")
    func promise() async throws {
      let set = try ReplicaSet(in: directory, replicas: 1)
      let leader = try await set.start(0)
      let replica = try await set.start(1)
      #expect(try await Self.put("a", leader) == 201)
      try await ReplicaSet.catchUp(leader, [replica])
      let origin = try await Threads.runOne { try ReplicaSet.status(leader)["origin"] as? String }
      let asked = HTTPRequest(
        method: "POST",
        target: "/admin/promise?epoch=7-00000000000000aa&origin=\(try #require(origin))")
      let promised = try await Threads.runOne { try leader.connect().exchange(asked).text }
      #expect(promised.contains(#""promised":"7-00000000000000aa""#), "\(promised)")
      #expect(try await Self.put("b", leader) == 403)
      try await leader.kill()
      let back = try await set.start(0)
      #expect(try await Self.put("b", back) == 403)
      // Above it nobody could lead.
      let highest = HTTPRequest(
        method: "POST",
        target: asked.target.replacingOccurrences(of: "=7-", with: "=\(UInt64.max)-"))
      #expect(try await Threads.runOne { try back.connect().exchange(highest).status } == 400)
      let lower = HTTPRequest(
        method: "POST", target: asked.target.replacingOccurrences(of: "=7-", with: "=6-"))
      #expect(try await Threads.runOne { try back.connect().exchange(lower).status } == 409)
      let promoted = try await Self.promote(back)
      #expect(promoted.status == 200 && promoted.text.contains(#""epoch":8"#), "\(promoted)")
      #expect(try await Self.put("b", back) == 201)
      try await ReplicaSet.catchUp(back, [replica])
      try await ReplicaSet.expectEqual([back, replica], "behind the second promotion")
      for node in [back, replica] { try await node.stop() }
      try await set.expectEqualLogs()
    }
  }
}

/// Set by one, seen by others.
private final class Flag: Sendable {
  private let value = Atomic(false)
  var isSet: Bool { value.load(ordering: .relaxed) }
  func set() { value.store(true, ordering: .relaxed) }
}

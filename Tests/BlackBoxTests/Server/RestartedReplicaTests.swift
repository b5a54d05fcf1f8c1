import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A replica that starts and hears of no leader") struct RestartedReplicaTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    @Test("shows what its log says that a write quorum has confirmed, and no more")
    func confirmed() async throws {
      let set = try ReplicaSet(in: directory, replicas: 2, flags: ["-w", "2"])
      async let first = set.start(0)
      async let second = set.start(1)
      async let third = set.start(2)
      let nodes = try await [first, second, third]
      try await ReplicaSet.awaitStreaming(nodes[0], count: 2)
      let statuses = try await Threads.runOne {
        let connection = try nodes[0].connect()
        return try ["a", "b"].map { try connection.put($0, "value of \($0)").status }
      }
      #expect(statuses == [201, 201])
      try await ReplicaSet.catchUp(nodes[0], [nodes[1]])
      // The leader first: it writes nothing behind them that says so of the last one.
      for node in nodes { try await node.kill() }
      let back = try await set.start(1)
      let found = try await Threads.runOne {
        try back.connect().exchange(HTTPRequest(method: "GET", target: "/kv/a?timeout_ms=1")).text
      }
      #expect(found == "value of a")
      let confirmed = try await Threads.runOne {
        let sequence = try ReplicaSet.status(back)["sequence"] as? [String: Any]
        return (sequence?["confirmed"] as? Int, sequence?["applied"] as? Int)
      }
      #expect(confirmed.0 ?? 0 > 0 && confirmed.0 ?? 0 < confirmed.1 ?? 0, "\(confirmed)")
      try await back.stop()
    }
  }
}

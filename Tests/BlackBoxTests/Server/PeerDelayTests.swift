import Foundation
import Testing

extension NodeProcessTests {
  @Suite("Nodes that seem far apart") struct PeerDelayTests {
    private static let delayMilliseconds = 50
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    /// What one exchange over the same connection took.
    private static func time(
      _ connection: HTTPConnection, _ request: HTTPRequest, status: Int
    ) throws -> Duration {
      let clock = ContinuousClock()
      let begin = clock.now
      let answer = try connection.exchange(request)
      #expect(answer.status == status, "\(answer.text)")
      return clock.now - begin
    }

    /// Many batches of 50 values of 20 KB each: more than a link holds.
    private static func writeMany(_ node: ServedNode) throws {
      let connection = try node.connect()
      for batch in 0..<8 {
        let value = String(repeating: "\(batch)", count: 20_000)
        let changes = (0..<50).map {
          WriterHistory.Change(key: "many-\(batch)-\($0)", value: value)
        }
        let answer = try connection.exchange(.batch(changes))
        #expect(answer.status == 200, "\(answer.text)")
      }
    }

    @Test("need a round trip for a write of three of five and a read of three, and lose nothing")
    func roundTrip() async throws {
      let delay = Self.delayMilliseconds
      let set = try ReplicaSet(
        in: directory, replicas: 4, flags: ["-w", "3", "--peer-delay-ms", "\(delay)"])
      // All at once: the leader asks the others before it listens.
      let nodes = try await withThrowingTaskGroup(of: (Int, ServedNode).self) { group in
        for number in set.settings.indices {
          group.addTask { (number, try await set.start(number)) }
        }
        var found: [Int: ServedNode] = [:]
        for try await (number, node) in group { found[number] = node }
        return set.settings.indices.map { found[$0]! }
      }
      try await ReplicaSet.awaitStreaming(nodes[0], count: 4)
      try await Threads.runOne {
        let leader = try nodes[0].connect()
        let replica = try nodes[4].connect()
        for number in 0..<10 {
          let write = try Self.time(leader, .put("key-\(number)", "value-\(number)"), status: 201)
          #expect(write >= .milliseconds(2 * delay), "write \(number): \(write)")
          let target = "/kv/key-\(number)?r=3"
          let read = try Self.time(
            replica, HTTPRequest(method: "GET", target: target), status: 200)
          #expect(read >= .milliseconds(2 * delay), "read \(number): \(read)")
        }
        // Alone it needs nobody.
        var alone = Duration.seconds(60)
        for number in 0..<5 {
          let request = HTTPRequest(method: "PUT", target: "/kv/alone-\(number)?w=1", body: [1])
          alone = min(alone, try Self.time(leader, request, status: 201))
        }
        #expect(alone < .milliseconds(2 * delay), "\(alone)")
        try Self.writeMany(nodes[0])
      }
      try await ReplicaSet.catchUp(nodes[0], Array(nodes.dropFirst()))
      try await ReplicaSet.expectEqual(nodes, "behind the writes")
      try await Threads.runOne {
        for node in nodes {
          let connection = try node.connect()
          for number in 0..<10 {
            let answer = try connection.exchange(
              HTTPRequest(method: "GET", target: "/local_read/key-\(number)"))
            #expect(answer.text.contains("\"value-\(number)\""), "\(node.address): \(answer.text)")
          }
          for batch in 0..<8 {
            let answer = try connection.exchange(
              HTTPRequest(method: "GET", target: "/local_read/many-\(batch)-49"))
            #expect(answer.status == 200)
          }
        }
      }
      // The last mark of a quiet log, too.
      try await Task.sleep(for: .milliseconds(500))
      for node in nodes { try await node.stop() }
      try await set.expectEqualLogs()
    }

    @Test("may be ten seconds apart, and no more", arguments: ["-1", "10001", "x"])
    func refusals(text: String) async throws {
      let outcome = try await Executable.kv.run(
        ["serve", "--data-dir", directory.path("none"), "--peer-delay-ms", text], in: directory)
      #expect(outcome.status == 64 && outcome.errors.contains("--peer-delay-ms"))
    }
  }
}

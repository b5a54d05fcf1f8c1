import Foundation
import Testing

extension NodeProcessTests {
  @Suite("The load tester on a leader with replicas") struct ReplicaLoadTests {
    /// Reads of replicas, and those of them that were stale.
    private static func bench(
      _ nodes: LinkedReplicas, _ name: String, _ flags: [String]
    ) async throws -> [String: Any] {
      let output = nodes.set.directory.path(name)
      let outcome = try await Executable.kv.run(
        [
          "bench", "--target", "\(nodes.leader.address)", "--write-ratio", "0.5", "--keys", "20",
          "--read-from", "replicas", "--stale-check", "--warmup", "0", "--connections", "8",
          "--output", output, "--key-prefix", name,
        ] + flags, in: nodes.set.directory)
      #expect(outcome.status == 0, "\(outcome.errors)")
      #expect(outcome.output.contains("stale reads"), "\(outcome.output)")
      let data = try Data(contentsOf: URL(fileURLWithPath: output))
      return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    }

    /// Answers to `GET /kv/KEY` so far.
    private static func reads(of node: ServedNode) async throws -> Int {
      try await Threads.runOne {
        let text = try node.connect().exchange(
          HTTPRequest(method: "GET", target: "/metrics")
        ).text
        let lines = text.split(separator: "\n").filter {
          $0.hasPrefix("shiplog_requests_total{") && $0.contains("\"kv_get\"")
        }
        return lines.reduce(0) { $0 + (Int($1.split(separator: " ").last ?? "") ?? 0) }
      }
    }

    @Test(
      "reads from the replicas, counts what is stale, and with all members confirming nothing is")
    func staleReads() async throws {
      var nodes = try await LinkedReplicas(2)
      try await nodes.startReplicas()
      try await ReplicaSet.catchUp(nodes.leader, nodes.replicas)
      // One of the two is always behind.
      nodes.links[0].set(.toFollower) { $0.delayMilliseconds = 40 }
      let result = try await Self.bench(nodes, "behind", ["--requests", "4000"])
      let stale = try #require(result["stale_reads"] as? [String: Any])
      #expect(stale["checked"] as? Bool == true)
      let judged = try #require(stale["reads"] as? Int)
      #expect(judged > 1_500)
      let found = try #require(stale["stale"] as? Int)
      #expect(found > 0 && found <= judged)
      #expect(stale["concurrent"] as? Int != nil && stale["percent"] != nil)
      let parameters = try #require(result["parameters"] as? [String: Any])
      #expect(parameters["read_from"] as? String == "replicas" && parameters["w"] as? Int == 0)
      #expect(
        try await Self.reads(of: nodes.leader) < 40, "but for the look whether there are keys")
      for replica in nodes.replicas { #expect(try await Self.reads(of: replica) > 500) }

      nodes.links[0].heal()
      try await ReplicaSet.catchUp(nodes.leader, nodes.replicas)
      try await ReplicaSet.awaitStreaming(nodes.leader, count: 2)
      let confirmed = try await Self.bench(nodes, "confirmed", ["--requests", "3000", "--w", "3"])
      let none = try #require(confirmed["stale_reads"] as? [String: Any])
      #expect(none["stale"] as? Int == 0 && none["reads"] as? Int ?? 0 > 1_000, "\(none)")
      let statistics = try #require(confirmed["statistics"] as? [String: Any])
      #expect(statistics["failures"] as? Int == 0)
      #expect((confirmed["parameters"] as? [String: Any])?["w"] as? Int == 3)
      try await nodes.expectEqualInTheEnd()
    }
  }
}

import Foundation
import Testing

extension NodeProcessTests {
  /// The load tester as a process, against a node that is one, too.
  struct BenchCommandTests {
    private func withNode(
      _ body: (ServedNode, TemporaryDirectory) async throws -> Void
    ) async throws {
      let directory = try TemporaryDirectory()
      let node = try await ServedNode.start(.init(in: directory))
      try await body(node, directory)
    }

    private func bench(
      _ node: ServedNode, _ flags: [String], in directory: TemporaryDirectory
    ) throws -> RunningProcess {
      try RunningProcess(
        .kv, ["bench", "--target", "\(node.address)", "--keys", "100"] + flags, in: directory)
    }

    /// Waits until the node has taken so many writes.
    private func writes(_ count: Int, to node: ServedNode) async throws {
      while true {
        let status = try node.connect().exchange(.status).members()
        let sequence = try #require(status["sequence"] as? [String: Any])
        if sequence["applied"] as? Int ?? 0 > count { return }
        try await Task.sleep(for: .milliseconds(5))
      }
    }

    @Test("Ctrl-C prints what was measured, and is no error")
    func interruption() async throws {
      try await withNode { node, directory in
        let output = directory.path("result.json")
        let flags = ["--write-ratio", "0.5", "--duration", "3600", "--warmup", "0"]
        let process = try bench(node, flags + ["--output", output], in: directory)
        try await writes(1_000, to: node)
        process.send(SIGINT)
        let outcome = try await process.outcome()
        #expect(outcome.status == 0, "\(outcome.errors)")
        #expect(outcome.output.contains("; interrupted"))
        #expect(outcome.output.contains("P99.9"))
        let data = try Data(contentsOf: URL(fileURLWithPath: output))
        let object = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        let statistics = try #require(object["statistics"] as? [String: Any])
        #expect(statistics["interrupted"] as? Bool == true)
        #expect(statistics["requests"] as? Int ?? 0 > 500)
        try await node.stop()
      }
    }

    @Test("A node that is killed is reported, and the run ends at its time")
    func death() async throws {
      try await withNode { node, directory in
        let process = try bench(
          node, ["--write-ratio", "1", "--duration", "3", "--warmup", "0"], in: directory)
        try await writes(100, to: node)
        try await node.kill()
        let outcome = try await process.outcome()
        #expect(outcome.status == 0, "\(outcome.errors)")
        #expect(outcome.output.contains("connection lost"))
        #expect(outcome.output.contains("cannot connect"))
      }
    }

    @Test("Every workload runs against a node, without a failure or a stale read")
    func workloads() async throws {
      try await withNode { node, directory in
        for workload in ["a", "b", "c", "d", "e", "f"] {
          var flags = ["--workload", workload, "--requests", "500", "--warmup", "0"]
          if workload != "c" && workload != "e" { flags.append("--stale-check") }
          let outcome = try await bench(node, flags, in: directory).outcome()
          #expect(outcome.status == 0, "\(workload): \(outcome.errors)")
          let lines = outcome.lines.map {
            $0.split(separator: " ").joined(separator: " ")
          }
          #expect(lines.contains("failures 0"), "\(outcome.output)")
          #expect(!outcome.output.contains("found no such key"))
          if flags.contains("--stale-check") {
            #expect(lines.contains { $0.hasPrefix("stale reads 0 of ") }, "\(outcome.output)")
          }
        }
        try await node.stop()
      }
    }

    @Test("The classic report is the text of the benchmarks before it")
    func classicReport() async throws {
      try await withNode { node, directory in
        let outcome = try await bench(
          node, ["--requests", "300", "--connections", "3", "--report", "classic"], in: directory
        ).outcome()
        #expect(outcome.status == 0)
        #expect(outcome.lines.count { $0.hasPrefix("func write- avg: ") } == 3)
        #expect(outcome.lines.count { $0.hasPrefix("func read- avg: ") } == 3)
        #expect(outcome.lines.count { $0.hasPrefix("Total QPS= ") } == 2)
        try await node.stop()
      }
    }

    @Test("What cannot be done is said in one line")
    func refusals() async throws {
      try await withNode { node, directory in
        let replicas = try await bench(node, ["--read-from", "replicas"], in: directory).outcome()
        #expect(replicas.status == 1)
        #expect(replicas.errors.contains("--read-from replicas: \(node.address) has no replicas"))
        let check = try await bench(
          node, ["--write-ratio", "0", "--stale-check"], in: directory
        ).outcome()
        #expect(check.status == 1)
        #expect(check.errors == "error: --stale-check needs reads and writes in the mix\n")
        for flags in [["--workload", "g"], ["--qps", "0"], ["--connections", "0"]] {
          #expect(try await bench(node, flags, in: directory).outcome().status == 64)
        }
        try await node.stop()
        let nobody = try await bench(node, [], in: directory).outcome()
        #expect(nobody.status == 1)
        #expect(nobody.errors.split(separator: "\n").count == 1)
      }
    }
  }
}

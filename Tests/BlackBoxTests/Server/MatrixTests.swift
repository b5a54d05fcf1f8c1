import Foundation
import Testing

extension NodeProcessTests {
  @Suite("scripts/run-all-tests") struct MatrixTests {
    private static let run = "leader_w3r3_50w50r"
    private let directory: TemporaryDirectory
    /// Where the script has its nodes' directories.
    private let room: URL

    init() throws {
      directory = try TemporaryDirectory()
      room = directory.url.appendingPathComponent("room")
      try FileManager.default.createDirectory(at: room, withIntermediateDirectories: false)
    }

    private var results: URL { directory.url.appendingPathComponent("results") }

    private func start(_ flags: [String], kv: String = Executable.kv.url.path) throws
      -> RunningProcess
    {
      let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
      return try RunningProcess(
        .installed("python3"),
        [
          root.appendingPathComponent("scripts/run-all-tests").path, "--kv", kv, "--connections",
          "4", "--out", results.path,
        ] + flags, environment: ServedNode.environment(["TMPDIR": room.path]), in: directory)
    }

    private func result(_ name: String) throws -> [String: Any] {
      let data = try Data(contentsOf: results.appendingPathComponent("\(name).json"))
      return try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
    }

    /// What the script has left in its room.
    private func left() throws -> [String] {
      try FileManager.default.contentsOfDirectory(atPath: room.path)
    }

    @Test(
      "measures five nodes of its own, and leaves the result and nothing else",
      arguments: [
        (run, 3, 3, ["leader"] + Array(repeating: "replica", count: 4)),
        ("leaderless_w5r1_50w50r", 5, 1, Array(repeating: "leaderless", count: 5)),
      ])
    func one(name: String, write: Int, read: Int, roles: [String]) async throws {
      let outcome = try await start(["--only", name, "--seconds", "0.5"]).outcome()
      #expect(outcome.status == 0, "\(outcome.output) \(outcome.errors)")
      #expect(outcome.lines.contains { $0.hasPrefix(name) })
      #expect(outcome.output.contains("1 runs, 0 faults"))
      let result = try result(name)
      #expect(result["mode"] as? String == (write == 5 ? "leaderless" : "leader-follower"))
      let parameters = try #require(result["parameters"] as? [String: Any])
      #expect(parameters["w"] as? Int == write && parameters["r"] as? Int == read)
      let targets = try #require(result["targets"] as? [[String: Any]])
      #expect(targets.map { $0["role"] as? String ?? "" } == roles)
      let stale = try #require(result["stale_reads"] as? [String: Any])
      #expect(stale["checked"] as? Bool == true && stale["reads"] as? Int ?? 0 > 0)
      #expect(stale["stale"] as? Int == 0)
      #expect(try left() == [])
    }

    /// The program, but what `bench` writes to its file is changed by sed.
    private func bench(changing expression: String) async throws -> String {
      let path = directory.path("kv")
      try await directory.makeScript(
        path,
        """
        "\(Executable.kv.url.path)" "$@" || exit
        [ "$1" = bench ] || exit 0
        while [ "$1" != --output ]; do shift; done
        sed -i '\(expression)' "$2"
        """)
      return path
    }

    @Test(
      "fails where a read was stale, a request failed, or no read was judged",
      arguments: [
        ("s/\"stale\":0,/\"stale\":2,/", "2 of "),
        ("s/\"failures\":{\"total\":0,/\"failures\":{\"total\":7,/", "7 requests failed"),
        ("s/\"checked\":true,/\"checked\":false,/", "no read was judged"),
      ])
    func faults(expression: String, fault: String) async throws {
      let outcome = try await start(
        ["--only", Self.run, "--seconds", "0.2"], kv: try await bench(changing: expression)
      ).outcome()
      #expect(outcome.status == 1, "\(outcome.output) \(outcome.errors)")
      #expect(outcome.output.contains("WRONG  \(Self.run): \(fault)"), "\(outcome.output)")
      #expect(try left() == [])
    }

    @Test("fails where nodes do not start, says why, and takes no older result for this run's")
    func noNodes() async throws {
      try FileManager.default.createDirectory(at: results, withIntermediateDirectories: false)
      try Data("{}".utf8).write(to: results.appendingPathComponent("\(Self.run).json"))
      let outcome = try await start(["--only", Self.run, "--sync", "often"]).outcome()
      #expect(outcome.status == 1)
      #expect(outcome.output.contains("has ended: "), "\(outcome.output)")
      #expect(try FileManager.default.contentsOfDirectory(atPath: results.path) == [])
      #expect(try left() == [])
    }

    /// The addresses of a run that is being measured.
    private func addresses() async throws -> [LoopbackAddress] {
      let deadline = ContinuousClock.now + .seconds(60)
      while ContinuousClock.now < deadline {
        if let name = try left().first {
          let nodes = room.appendingPathComponent(name)
          // Made when the load tester begins.
          if FileManager.default.fileExists(
            atPath: nodes.appendingPathComponent("result.json").path)
          {
            let text = try String(
              contentsOf: nodes.appendingPathComponent("sharding.json"), encoding: .utf8)
            return text.matches(of: #/"(127[.0-9]+):(\d+)"/#).map {
              LoopbackAddress(ip: String($0.1), port: UInt16($0.2)!)
            }
          }
        }
        try await Task.sleep(for: .milliseconds(20))
      }
      throw ConnectionError.timedOut
    }

    private func expectNobody(at addresses: [LoopbackAddress]) async throws {
      let deadline = ContinuousClock.now + .seconds(30)
      for address in addresses {
        while let connection = try? HTTPConnection(to: address) {
          withExtendedLifetime(connection) {}
          try #require(ContinuousClock.now < deadline, "\(address)")
          try await Task.sleep(for: .milliseconds(20))
        }
      }
    }

    @Test(
      "stops its nodes and takes their directories away when it is interrupted",
      arguments: [SIGINT, SIGTERM])
    func interruption(signal: Int32) async throws {
      let process = try start(["--only", Self.run, "--seconds", "600"])
      let addresses = try await addresses()
      #expect(addresses.count == 5)
      process.send(signal)
      let outcome = try await process.outcome()
      #expect(outcome.status == 128 + signal, "\(outcome.errors)")
      #expect(outcome.errors.contains("the nodes are stopped"))
      #expect(try left() == [])
      try await expectNobody(at: addresses)
    }

    /// Whether there are processes whose arguments name the script's room.
    private func hasProcesses() throws -> Bool {
      for id in try FileManager.default.contentsOfDirectory(atPath: "/proc") where Int(id) != nil {
        // One that has just ended has none.
        guard let words = FileManager.default.contents(atPath: "/proc/\(id)/cmdline") else {
          continue
        }
        if String(decoding: words, as: UTF8.self).contains(room.path) { return true }
      }
      return false
    }

    @Test("has nodes that end by themselves when it is killed")
    func killed() async throws {
      let process = try start(["--only", Self.run, "--seconds", "3"])
      let addresses = try await addresses()
      process.send(SIGKILL)
      _ = try await process.outcome()
      try await expectNobody(at: addresses)
      // The load tester too, and what nodes still do with their directories.
      let deadline = ContinuousClock.now + .seconds(30)
      while try hasProcesses() {
        try #require(ContinuousClock.now < deadline)
        try await Task.sleep(for: .milliseconds(50))
      }
    }

    @Test("knows its configurations, and says which")
    func usage() async throws {
      let outcome = try await start(["--only", "leader_w2r2"]).outcome()
      #expect(outcome.status == 64 && outcome.errors.contains("leaderless_w5r1"))
    }
  }
}

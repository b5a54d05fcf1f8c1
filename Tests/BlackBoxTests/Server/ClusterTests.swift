import Foundation
import Testing

extension NodeProcessTests {
  @Suite("kv cluster") struct ClusterTests {
    private let directory: TemporaryDirectory
    private let address = LoopbackAddress.fresh()

    init() throws { directory = try TemporaryDirectory() }

    private func start(_ flags: [String] = [], json: String? = nil) throws -> RunningProcess {
      let path = directory.path("sharding.json")
      let json = json ?? #"{"shards":[{"name":"only","index":0,"leader":"\#(address)"}]}"#
      try Data(json.utf8).write(to: URL(fileURLWithPath: path))
      return try RunningProcess(
        .kv,
        ["cluster", "--config-file", path, "--data-dir", directory.path("data")] + flags
          + ["--", "--segment-bytes", "65536"],
        environment: ServedNode.environment(["NODE_ID": "not for the nodes", "PORT": "nor this"]),
        in: directory)
    }

    /// Those whose parent a process is.
    private func children(of id: pid_t) throws -> [pid_t] {
      let path = "/proc/\(id)/task"
      return try FileManager.default.contentsOfDirectory(atPath: path).flatMap { thread in
        try String(contentsOfFile: "\(path)/\(thread)/children", encoding: .utf8)
          .split(separator: " ").compactMap { pid_t($0) }
      }
    }

    private func child(of process: RunningProcess) throws -> pid_t {
      let children = try children(of: process.id)
      try #require(children.count == 1)
      return children[0]
    }

    /// Waits until nothing listens any more.
    private func waitUntilGone() async throws {
      for _ in 0..<3_000 {
        do {
          _ = try HTTPConnection(to: address)
        } catch ConnectionError.refused {
          return
        }
        try await Task.sleep(for: .milliseconds(10))
      }
      Issue.record("the node outlives its cluster")
    }

    /// Waits until a node listens.
    private func waitUntilThere() async throws {
      for _ in 0..<3_000 {
        do {
          if try HTTPConnection(to: address).get("/ready-or-not").status == 404 { return }
        } catch is ConnectionError {}
        try await Task.sleep(for: .milliseconds(10))
      }
      Issue.record("no node listens")
    }

    @Test(
      "runs its nodes, shows their logs and a table, and stops them", arguments: [SIGTERM, SIGINT])
    func runs(signal: Int32) async throws {
      let process = try start()
      let table = try await process.output { $0.contains("try: curl ") }
      #expect(table.contains("shard  role    address"), "\(table)")
      #expect(table.contains("only   leader  \(address)"), "\(table)")
      #expect(table.contains(directory.path("data/only-leader")))
      #expect(try HTTPConnection(to: address).put("key", "value").status == 201)
      let id = try child(of: process)
      process.send(signal)
      let outcome = try await process.outcome()
      #expect(outcome.status == 0, "\(outcome.errors)")
      #expect(kill(id, 0) != 0 && errno == ESRCH)
      let lines = outcome.errors.split(separator: "\n")
      #expect(lines.contains { $0.hasPrefix("only-leader | ") && $0.hasSuffix("stopped") })
      #expect(lines.contains { $0 == "stopping the node" })
      #expect(!outcome.errors.contains("\u{1B}") && !outcome.output.contains("\u{1B}"))
      // What was written is there when it is run again, by itself too.
      var settings = ServedNode.Settings(in: directory, data: directory.path("data/only-leader"))
      settings.address = address
      let node = try await ServedNode.start(settings)
      #expect(!(try node.process.errorsSoFar()).contains("unclean"))
      #expect(try node.connect().get("key").text == "value")
      try await node.stop()
    }

    @Test("starts a node that was killed again, with its data")
    func restarts() async throws {
      let process = try start()
      _ = try await process.output { $0.contains("try: curl ") }
      #expect(try HTTPConnection(to: address).put("key", "value").status == 201)
      kill(try child(of: process), SIGKILL)
      _ = try await process.errors {
        $0.contains("only-leader at \(address) has ended: killed by signal 9")
      }
      _ = try await process.errors { $0.components(separatedBy: "listening on").count == 3 }
      #expect(try HTTPConnection(to: address).get("key").text == "value")
      process.send(SIGTERM)
      #expect(try await process.outcome().status == 0)
    }

    @Test(
      "ends with 1 when a node was killed that is not to be started again, and no other is left")
    func noRestart() async throws {
      let process = try start(["--no-restart"])
      _ = try await process.output { $0.contains("try: curl ") }
      kill(try child(of: process), SIGKILL)
      let outcome = try await process.outcome()
      #expect(outcome.status == 1)
      #expect(outcome.errors.hasSuffix("error: no node runs any more\n"), "\(outcome.errors)")
    }

    @Test("leaves no node behind when it is killed itself, and they stop in order")
    func killed() async throws {
      let process = try start()
      _ = try await process.output { $0.contains("try: curl ") }
      #expect(try HTTPConnection(to: address).put("key", "value").status == 201)
      process.send(SIGKILL)
      _ = try await process.outcome()
      try await waitUntilGone()
      var settings = ServedNode.Settings(in: directory, data: directory.path("data/only-leader"))
      settings.address = address
      // The last node may still be closing its log.
      var node: ServedNode?
      for _ in 0..<100 where node == nil {
        do {
          node = try await ServedNode.start(settings)
        } catch let timeout as RunningProcess.Timeout {
          guard timeout.errors.contains("in use by process") else { throw timeout }
          try await Task.sleep(for: .milliseconds(100))
        }
      }
      let served = try #require(node)
      #expect(!(try served.process.errorsSoFar()).contains("unclean"))
      #expect(try served.connect().get("key").text == "value")
      try await served.stop()
    }

    @Test("stops while a node waits to be started again")
    func stopsWhileWaiting() async throws {
      let process = try start()
      _ = try await process.output { $0.contains("try: curl ") }
      kill(try child(of: process), SIGKILL)
      _ = try await process.errors { $0.contains("has ended") }
      process.send(SIGTERM)
      #expect(try await process.outcome().status == 0)
      try await waitUntilGone()
    }

    @Test("kills its nodes at the second signal")
    func secondSignal() async throws {
      let process = try start()
      _ = try await process.output { $0.contains("try: curl ") }
      // Half a request keeps the node waiting.
      let connection = try HTTPConnection(to: address)
      try connection.send(Array("PUT /kv/k HTTP/1.1\r\nContent-Length: 10\r\n\r\nhalf".utf8))
      try await Task.sleep(for: .milliseconds(50))
      let id = try child(of: process)
      process.send(SIGINT)
      _ = try await process.errors { $0.contains("| ") && $0.contains(" stopping\n") }
      process.send(SIGINT)
      #expect(try await process.outcome().status == 0)
      #expect(kill(id, 0) != 0 && errno == ESRCH)
    }

    @Test("ends with 1 when a node does not start, and says which")
    func notStarted() async throws {
      let taken = try await ServedNode.start(
        {
          var settings = ServedNode.Settings(in: directory, data: directory.path("other"))
          settings.address = address
          return settings
        }())
      let outcome = try await start().outcome()
      #expect(outcome.status == 1)
      #expect(
        outcome.errors.contains("only-leader | error: cannot listen on \(address)"),
        "\(outcome.errors)")
      #expect(
        outcome.errors.hasSuffix(
          "error: only-leader at \(address) did not start: exit code 1. The lines above say why\n"))
      #expect(outcome.output == "")
      try await taken.stop()
    }

    @Test("runs the nodes of a shard without a leader, each of which takes writes")
    func leaderless() async throws {
      let other = LoopbackAddress.fresh()
      let process = try start(
        json: #"{"mode":"leaderless","nodes":["\#(address)","\#(other)"]}"#)
      let output = try await process.output { $0.contains("try: curl ") }
      for number in 1...2 { #expect(output.contains("default-node-\(number)")) }
      for (number, address) in [address, other].enumerated() {
        let answer = try HTTPConnection(to: address).exchange(.put("k\(number)", "v"))
        #expect(answer.status == 201)
      }
      process.send(SIGINT)
      #expect(try await process.outcome().status == 0)
    }

    @Test("refuses what is no configuration, exit 1")
    func refused() async throws {
      let wrong = try await start(json: "{}").outcome()
      #expect(wrong.status == 1 && wrong.errors.hasSuffix("sharding.json: shards: missing\n"))
      #expect(!FileManager.default.fileExists(atPath: directory.path("data")))
    }
  }
}

import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A node that has a configuration") struct ConfiguredNodeTests {
    private let directory: TemporaryDirectory
    private let address = LoopbackAddress.fresh()

    init() throws { directory = try TemporaryDirectory() }

    private func file(_ json: String) throws -> String {
      let path = directory.path("sharding.json")
      try Data(json.utf8).write(to: URL(fileURLWithPath: path))
      return path
    }

    private func one(_ rest: String = "", replicas: String = "") throws -> String {
      try file(
        """
        {"version":1\(rest),"shards":[
          {"name":"only","index":0,"leader":"\(address)","replicas":[\(replicas)]}]}
        """)
    }

    /// Runs `kv serve` to its end: one line on standard error.
    private func refusal(
      _ flags: [String], environment: [String: String] = [:], status: Int32 = 1
    ) async throws -> String {
      let outcome = try await Executable.kv.run(
        ["serve", "--data-dir", directory.path("data")] + flags,
        environment: ServedNode.environment(environment), in: directory)
      #expect(outcome.status == status, "\(outcome.errors)")
      #expect(!FileManager.default.fileExists(atPath: directory.path("data")))
      if status == 1 {
        #expect(outcome.errors.split(separator: "\n").count == 1, "\(outcome.errors)")
      }
      return outcome.errors
    }

    @Test(
      "finds itself by its address, or by its shard",
      arguments: ["--config-file", "--config"], [true, false])
    func found(flag: String, byAddress: Bool) async throws {
      let path = try one(#","hash":"fnv1-64-mix""#)
      let place = byAddress ? ["--http-addr", "\(address)"] : ["--shard", "only"]
      let process = try RunningProcess(
        .kv,
        ["serve", "--segment-bytes", "65536", "--data-dir", directory.path("data"), flag, path]
          + place, environment: ServedNode.environment([:]), in: directory)
      _ = try await process.errors { $0.contains("listening on \(address)") }
      let connection = try HTTPConnection(to: address)
      #expect(try connection.put("key", "value").status == 201)
      let shard = try #require(
        try connection.exchange(.status).members()["shard"] as? [String: Any])
      #expect(shard["name"] as? String == "only" && shard["index"] as? Int == 0)
      #expect(shard["count"] as? Int == 1)
      process.send(SIGTERM)
      #expect(try await process.outcome().status == 0)
      let note = try String(contentsOfFile: directory.path("data/shard"), encoding: .utf8)
      #expect(note.hasPrefix("0 of 1 fnv1-64-mix "))
    }

    @Test("is refused a directory whose keys another hash spreads, exit 1")
    func otherHash() async throws {
      let settings = ServedNode.Settings(in: directory)
      try await ServedNode.start(settings).stop()
      let path = try one(#","hash":"fnv1-64-mix""#)
      let outcome = try await Executable.kv.run(
        ["serve", "--data-dir", settings.data, "--config", path, "--http-addr", "\(address)"],
        environment: ServedNode.environment([:]), in: directory)
      #expect(outcome.status == 1)
      #expect(
        outcome.errors.contains(
          "\(settings.data): it holds shard 0 of 1 (fnv1-64), and does not serve as shard 0 of 1 "
            + "(fnv1-64-mix)"), "\(outcome.errors)")
      // As before.
      try await ServedNode.start(settings).stop()
    }

    @Test("is refused where it is not in it, or contradicts it, exit 1")
    func notFound() async throws {
      let path = try one(replicas: #""127.0.0.1:9""#)
      let config = ["--config-file", path]
      let elsewhere = try await refusal(config + ["--http-addr", "127.0.0.1:10"])
      #expect(
        elsewhere.hasPrefix(
          "error: \(path): 127.0.0.1:10 is none of its nodes, which are \(address), 127.0.0.1:9."))
      let nobody = try await refusal(config)
      #expect(nobody.contains("which of its nodes is this one?"), "\(nobody)")
      let potato = try await refusal(config + ["--shard", "potato"])
      #expect(
        potato == "error: \(path): shards: Shard \"potato\" not found. There is only\n", "\(potato)"
      )
      let leader = try await refusal(
        config + ["--http-addr", "\(address)", "--shard", "only", "--replica"])
      #expect(leader.contains("is the leader of \"only\": leave --replica out"), "\(leader)")
      let named = try await refusal(
        config + ["--http-addr", "\(address)"], environment: ["NODE_ID": "me"])
      #expect(named.contains("NODE_ID is \"me\"") && named.contains("unset it"), "\(named)")
    }

    @Test("is refused a file that is wrong, with file and field, exit 1")
    func wrongFile() async throws {
      let missing = try await refusal(["--config", directory.path("none")])
      #expect(
        missing == "error: \(directory.path("none")): cannot read: No such file or directory\n")
      let other = try await refusal(["--config", directory.url.path])
      #expect(other == "error: \(directory.url.path): cannot read: Is a directory\n")
      let path = try file(#"{"shards":[{"name":"a","index":0,"leader":"a:1","replica":[]}]}"#)
      let unknown = try await refusal(["--config", path])
      #expect(unknown == "error: \(path): shards[0].replica: unknown field\n")
    }

    @Test("refuses quorums of more members than there are, exit 1")
    func quorums() async throws {
      let here = ["--http-addr", "\(address)"]
      for flags in [["-w", "3"], ["--write-quorum", "3"]] {
        let replicated = try one(replicas: #""127.0.0.1:9""#)
        let quorum = try await refusal(["--config", replicated] + here + flags)
        #expect(
          quorum == "error: a write quorum of 3: shard \"only\" has 2 members\n", "\(quorum)")
      }
      let path = try one(replicas: #""127.0.0.1:9""#)
      for (flags, environment) in [(["-r", "3"], [:]), ([], ["R": "3"])]
        as [([String], [String: String])]
      {
        let said = try await refusal(["--config", path] + here + flags, environment: environment)
        #expect(said == "error: a read quorum of 3: shard \"only\" has 2 members\n", "\(said)")
      }
      let leaderless = try file(
        #"{"mode":"leaderless","nodes":["\#(address)"],"write_quorum":2}"#)
      let said = try await refusal(["--config", leaderless] + here)
      #expect(said.contains("write_quorum"), "\(said)")
    }

    @Test("refuses flags that make no sense, exit 64")
    func usage() async throws {
      for flags in [["-w", "0"], ["-r", "-1"], ["--shard", "a"], ["--replica"]] {
        _ = try await refusal(flags, status: 64)
      }
      #expect(try await refusal([], environment: ["W": "many"], status: 64).contains("W must be"))
      #expect(try await refusal(["-w", "2"]).contains("there is one node only"))
    }

    @Test("stops when its standard input ends, if it is told to")
    func stopsWithInput() async throws {
      let process = try RunningProcess(
        .kv,
        [
          "serve", "--segment-bytes", "65536", "--data-dir", directory.path("data"), "--http-addr",
          "\(address)", "--stop-with-input",
        ], input: Data("what is read is not looked at".utf8),
        environment: ServedNode.environment([:]), in: directory)
      // Its input ends at once, maybe before it can say so.
      let outcome = try await process.outcome()
      #expect(outcome.status == 0 || outcome.status == -SIGTERM, "\(outcome.errors)")
    }
  }
}

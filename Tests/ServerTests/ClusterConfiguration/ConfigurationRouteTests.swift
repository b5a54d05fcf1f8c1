import Server
import Sharding
import Testing

@Suite("The configuration over HTTP")
struct ConfigurationRouteTests {
  private static let nobody = "127.0.0.1:1"

  private static func map(_ version: Int, more: String = "") throws -> ShardMap {
    try ShardMap(
      json: Array(
        #"{"version":\#(version),"shards":[{"name":"s0","index":0,"leader":"a:1"\#(more)},{"name":"s1","index":1,"leader":"\#(nobody)"}]}"#
          .utf8), file: "f")
  }

  /// Runs `body` beside a node that is the first of two shards.
  private static func with(
    _ lane: ConfiguredLane, _ body: (RunningNode) async throws -> Void
  ) async throws {
    let map = try map(1)
    try await RunningNode.with(
      lane,
      {
        $0.map = map
        $0.shardCount = 2
        $0.keeper = ConfigurationKeeper(
          map, address: "a:1", dataDirectory: $0.dataDirectory, logger: .silent
        ) { try ConfigurationKeeperTests.place($0, "a:1") }
      }, body)
  }

  @Test("is told, with its version; not where it is not above", arguments: ConfiguredLane.allCases)
  func told(lane: ConfiguredLane) async throws {
    try await Self.with(lane) { node in
      let answer = try await node.ask("GET", "/admin/config")
      #expect(answer.status == 200 && answer["content-type"] == "application/json")
      #expect(answer["x-kv-config-version"] == "1")
      #expect(answer.body == (try Self.map(1)).json)
      try await #expect(node.ask("GET", "/admin/config?above=0").body == answer.body)
      for above in ["1", "2", "18446744073709551615"] {
        let none = try await node.ask("GET", "/admin/config?above=\(above)")
        #expect(none.status == 204 && none["x-kv-config-version"] == "1")
        #expect(none["x-kv-config-check"] == answer["x-kv-config-check"])
      }
      let head = try await node.ask("HEAD", "/admin/config")
      #expect(head.status == 200 && head.body.isEmpty)
      for bad in ["x", "-1", ""] {
        try await #expect(node.ask("GET", "/admin/config?above=\(bad)").status == 400)
      }
      let status = try await node.ask("GET", "/status").text
      #expect(status.contains(#""config_version":1,"#), "\(status)")
      let metrics = try await node.ask("GET", "/metrics").text
      #expect(metrics.contains("\nshiplog_config_version 1\n"))
    }
  }

  @Test("takes another one, says who has it, and tells it from then on")
  func taken() async throws {
    try await Self.with(.fast) { node in
      let two = String(decoding: try Self.map(2).json, as: UTF8.self)
      let answer = try await node.ask("PUT", "/admin/config", body: two)
      #expect(answer.status == 200)
      #expect(
        answer.text.hasPrefix(
          #"{"version":2,"have":["a:1"],"missing":[{"node":"127.0.0.1:1","reason":""#),
        "\(answer.text)")
      try await #expect(node.ask("GET", "/admin/config").text == two)
      #expect(
        try ConfigurationNote(node.dataDirectory).read()?.isSame(as: try Self.map(2)) == true)
      let alone = try await node.ask("PUT", "/admin/config?pass_on=false", body: two)
      #expect(alone.status == 200)
      #expect(alone.text == #"{"version":2,"have":["a:1"],"missing":[]}"#)
    }
  }

  @Test("refuses what is malformed with 400, and what does not fit with 409; nothing changes")
  func refused() async throws {
    try await Self.with(.standard) { node in
      func put(_ body: String, _ query: String = "") async throws -> ClientAnswer {
        try await node.ask("PUT", "/admin/config\(query)", body: body)
      }
      for (body, reason) in [
        ("", "request: line 1, column 1: not JSON: "),
        ("{", "request: line 1, column 2: not JSON: "),
        (#"{"shards":[]}"#, "request: shards: no shards"),
        (#"{"shard":[]}"#, "request: shard: unknown field"),
        (#"{"version":0,"nodes":[]}"#, "request: "),
      ] {
        let answer = try await put(body)
        #expect(answer.status == 400 && answer.text.hasPrefix(#"{"error":"\#(reason)"#), "\(body)")
      }
      try await #expect(put(#"{"shards":[]}"#, "?pass_on=maybe").status == 400)
      let other = try await put(
        String(decoding: try Self.map(1, more: #","replicas":["a:2"]"#).json, as: UTF8.self))
      #expect(other.status == 409 && other.text.contains("version 1 is not above version 1"))
      let fewer = try await put(#"{"version":9,"shards":[{"name":"s0","index":0,"leader":"a:1"}]}"#)
      #expect(fewer.status == 409 && fewer.text.contains("the number of shards cannot change"))
      try await #expect(put(String(repeating: " ", count: ShardMap.fileBytesMax + 1)).status == 413)
      let method = try await node.ask("POST", "/admin/config")
      #expect(method.status == 405 && method["allow"] == "GET, HEAD, PUT")
      try await #expect(node.ask("GET", "/admin/config")["x-kv-config-version"] == "1")
      #expect(try ConfigurationNote(node.dataDirectory).read() == nil)
    }
  }

  @Test("is none for a node alone, and not to be changed where a leader's environment tells it")
  func alone() async throws {
    try await RunningNode.with(.fast) { node in
      for method in ["GET", "PUT"] {
        let answer = try await node.ask(method, "/admin/config", body: method == "PUT" ? "{}" : "")
        #expect(answer.status == 404 && answer.text.contains("this node is alone"))
      }
      try await #expect(!node.ask("GET", "/status").text.contains("config_version"))
    }
    let map = try Self.map(1)
    try await RunningNode.with(.fast, { $0.map = map }) { node in
      try await #expect(node.ask("GET", "/admin/config").body == map.json)
      let answer = try await node.ask("PUT", "/admin/config", body: "{}")
      #expect(answer.status == 409 && answer.text.contains("FOLLOWER_URLS"))
    }
  }

  @Test("that does not name a node any more makes it not ready")
  func removed() async throws {
    try await RunningNode.with(.fast, { $0.wasRemoved = true }) { node in
      let answer = try await node.ask("GET", "/ready")
      #expect(answer.status == 503 && answer.text.contains("does not name this node any more"))
      try await #expect(node.ask("GET", "/health").status == 200)
    }
  }
}

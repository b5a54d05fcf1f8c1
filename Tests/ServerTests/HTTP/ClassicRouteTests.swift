import Server
import Testing

@Suite struct ClassicRouteTests {
  @Test(arguments: ConfiguredLane.allCases)
  func theClassicDialectSaysWhatTheFirstSystemSaid(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      let value = "Shard = 0, current shard = 0, addr = \"\(node.address)\", Value = "
      let done = "Error = <nil>, shardIdx = 0, current shard = 0"
      try await #expect(client.ask("GET", "/set?key=party&value=Great").text == done)
      try await #expect(
        client.ask("GET", "/get?key=party").text == value + "\"Great\", error = <nil>")
      let absent = try await client.ask("GET", "/get?key=none")
      #expect(absent.status == 404 && absent.text == value + "\"\", error = <nil>")
      let deleted = try await client.ask("GET", "/delete?key=party")
      #expect(deleted.status == 200 && deleted.text == done)
      let again = try await client.ask("DELETE", "/delete?key=party")
      #expect(again.status == 404 && again.text == done)
      try await #expect(client.ask("GET", "/purge").text == "Error = <nil>")
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func theCompactDialectShowsTheValueOfEveryAnswer(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane, { $0.dialect = .compact }) { node in
      let client = try node.connect()
      func line(_ value: String) -> String {
        "shard=0 addr=\(node.address) value=\"\(value)\", error:<nil>"
      }
      try await #expect(client.ask("GET", "/set?key=a&value=full").text == line("full"))
      try await #expect(client.ask("GET", "/get?key=a").text == line("full"))
      try await #expect(client.ask("POST", "/delete?key=a").text == line(""))
      let absent = try await client.ask("GET", "/get?key=a")
      #expect(absent.status == 404 && absent.text == line(""))
      try await #expect(client.ask("POST", "/purge").text == "err=<nil>")
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func thePlainDialectSpeaksInSentences(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane, { $0.dialect = .plain }) { node in
      let client = try node.connect()
      try await #expect(
        client.ask("PUT", "/set?key=a&value=full").text == "Key set successfully on shard 0")
      try await #expect(client.ask("GET", "/get?key=a").text == "Value: full")
      try await #expect(
        client.ask("GET", "/delete?key=a").text == "Key deleted successfully on shard 0")
      for path in ["/get", "/delete"] {
        let absent = try await client.ask("GET", "\(path)?key=a")
        #expect(absent.status == 404 && absent.text == "Error: key not found")
      }
      try await #expect(client.ask("GET", "/purge").text == "Extra keys deleted successfully")
    }
  }

  @Test(
    arguments: ConfiguredLane.allCases,
    [
      ("GET", "/get", "Missing key"), ("GET", "/get?key=", "Missing key"),
      ("GET", "/set?key=a", "Missing key or value"),
      ("POST", "/set?value=a", "Missing key or value"), ("GET", "/delete?k=a", "Missing key"),
    ])
  func whatIsMissingIsNamed(
    lane: ConfiguredLane, request: (method: String, target: String, says: String)
  ) async throws {
    try await RunningNode.with(lane) { node in
      let answer = try await node.ask(request.method, request.target)
      #expect(answer.status == 400 && answer.text == request.says)
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func keyAndValueComeInTheQueryOrInAForm(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane, { $0.dialect = .plain }) { node in
      let client = try node.connect()
      func value(_ key: String) async throws -> String {
        try await client.ask("GET", "/get?key=" + key).text
      }
      _ = try await client.ask("POST", "/set?key=a+b&value=1%2B1+%3D+2")
      try await #expect(value("a%20b") == "Value: 1+1 = 2")
      _ = try await client.ask("POST", "/set", body: "key=form&value=x+y%21")
      try await #expect(value("form") == "Value: x y!")
      let type = "Content-Type: application/x-www-form-urlencoded"
      _ = try await client.ask("PUT", "/set?key=typed", [type], body: "value={}")
      try await #expect(value("typed") == "Value: {}")
      // The query comes first.
      _ = try await client.ask("POST", "/set?key=both&value=query", body: "value=form")
      try await #expect(value("both") == "Value: query")
      _ = try await client.ask("POST", "/set?key=empty&value=")
      try await #expect(value("empty") == "Value: ")
      try await #expect(client.ask("POST", "/delete", body: "key=form").status == 200)
      try await #expect(value("form") == "Error: key not found")
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func aPurgeSaysHowManyKeysItRemovesOrWould(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      _ = try await client.ask("GET", "/set?key=a&value=b")
      for target in ["/purge", "/purge?dry_run=true", "/purge?dry_run=false&force=true"] {
        let answer = try await client.ask("POST", target)
        #expect(answer.status == 200 && answer.text == "Error = <nil>")
        #expect(answer["x-kv-purged"] == "0")
      }
      try await #expect(client.ask("GET", "/purge?dry_run=maybe").status == 400)
      try await #expect(client.ask("GET", "/purge?force=1").status == 400)
      try await #expect(client.ask("GET", "/get?key=a").status == 200)
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func theRoutesOfTheOldReplicationAreGone(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      for path in [
        "/next-replication-key", "/delete-next-replication-key", "/delete-replication-key",
      ] {
        let answer = try await client.ask("GET", path)
        #expect(answer.status == 410 && answer.text.contains("/wal/stream"))
      }
    }
  }
}

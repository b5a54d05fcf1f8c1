import Testing

@Suite struct MultiKeyRouteTests {
  @Test(arguments: ConfiguredLane.allCases)
  func aBatchHappensAsAWhole(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      _ = try await client.ask("PUT", "/kv/gone", body: "x")
      let batch = """
        {"op":"put","key":"a","value":"1"}

        {"op":"delete","key":"gone"}
        {"op":"put","key_base64":"/w==","value_base64":""}
        """
      let answer = try await client.ask("POST", "/batch", body: batch)
      let version = try #require(answer["x-kv-version"])
      #expect(answer.status == 200)
      #expect(answer.text == #"{"version":\#(version),"count":3}"#)
      try await #expect(client.ask("GET", "/kv/a").text == "1")
      try await #expect(client.ask("GET", "/kv/gone").status == 404)
      try await #expect(client.ask("GET", "/kv/%ff")["content-length"] == "0")
    }
  }

  @Test(
    arguments: ConfiguredLane.allCases,
    [
      ("", 400), ("\n \r\n", 400), ("{}", 400), (#"{"op":"swap","key":"b"}"#, 400),
      (#"{"op":"put","key":"b"}"#, 400), (#"{"op":"delete","key":"b","value":""}"#, 400),
      (#"{"op":"delete","key":""}"#, 400),
      (#"{"op":"delete","key":"\#(String(repeating: "k", count: 21))"}"#, 414),
      (#"{"op":"put","key":"b","value":"\#(String(repeating: "v", count: 41))"}"#, 413),
      (String(repeating: #"{"op":"delete","key":"b"}"# + "\n", count: 3), 413),
    ])
  func aBatchThatIsNotSoundDoesNothing(
    lane: ConfiguredLane, batch: (lines: String, status: Int)
  ) async throws {
    try await RunningNode.with(
      lane,
      {
        $0.limits.batchOperationsMax = 3
        $0.limits.keyBytesMax = 20
        $0.limits.valueBytesMax = 40
      }
    ) { node in
      let client = try node.connect()
      let first = #"{"op":"put","key":"a","value":"1"}"# + "\n"
      let lines = batch.lines.contains("{") ? first + batch.lines : batch.lines
      let answer = try await client.ask("POST", "/batch", body: lines)
      #expect(answer.status == batch.status && answer.text.hasPrefix(#"{"error":""#))
      try await #expect(client.ask("GET", "/kv/a").status == 404)
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func severalKeysAreReadInTheOrderAskedFor(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      let a = try await client.ask("PUT", "/kv/a", body: "1")["x-kv-version"] ?? ""
      let b = try await client.ask("PUT", "/kv/b+c", body: "2")["x-kv-version"] ?? ""
      let answer = try await client.ask("GET", "/kv?key=b%2Bc&key=none&key=a")
      #expect(answer.status == 200 && answer["content-type"] == "application/x-ndjson")
      #expect(
        answer.text == """
          {"key":"b+c","value":"2","version":\(b)}
          {"error":"key not found","key":"none"}
          {"key":"a","value":"1","version":\(a)}

          """)
      try await #expect(client.ask("GET", "/kv?key=a&key=").status == 400)
    }
  }
}

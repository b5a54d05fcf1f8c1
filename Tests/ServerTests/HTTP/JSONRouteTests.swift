import Testing

@Suite struct JSONRouteTests {
  @Test(arguments: ConfiguredLane.allCases)
  func whatIsSetAsJSONIsReadAsJSON(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      let set = try await client.ask("POST", "/set", body: #"{"key":"mykey","value":"myvalue"}"#)
      #expect(set.status == 201)
      let version = try #require(set["x-kv-version"])
      #expect(set.text == #"{"message":"Key set successfully","version":\#(version)}"#)
      #expect(set["content-type"] == "application/json")
      for path in ["/get/mykey", "/local_read/mykey", "/get/my%6bey"] {
        let answer = try await client.ask("GET", path)
        #expect(answer.status == 200)
        #expect(answer.text == #"{"key":"mykey","value":"myvalue","version":\#(version)}"#)
        #expect(answer["x-kv-version"] == version && answer["x-kv-shard"] == "0")
        #expect(answer["x-kv-node"] == node.address)
      }
      for path in ["/get/other", "/local_read/other"] {
        let absent = try await client.ask("GET", path)
        #expect(absent.status == 404)
        #expect(absent.text == #"{"error":"key not found","key":"other"}"#)
      }
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func whatIsNoTextIsGivenInBase64(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      let body = #"{"key_base64":"/w==","value_base64":"AP8="}"#
      let set = try await client.ask("POST", "/set", body: body)
      let version = try #require(set["x-kv-version"])
      try await #expect(
        client.ask("GET", "/get/%ff").text
          == #"{"key_base64":"/w==","value_base64":"AP8=","version":\#(version)}"#)
      try await #expect(client.ask("GET", "/kv/%FF").body == [0x00, 0xff])
    }
  }

  @Test(
    arguments: ConfiguredLane.allCases,
    [
      #"{"#, #"{"key":"a"}"#, #"{"key":"","value":"b"}"#, #"{"key":1,"value":"b"}"#,
      #"{"key":"a","value":"b","x":"c"}"#, #"{"key":"a","key":"b","value":"c"}"#,
      #"{"key":"a","value_base64":"?"}"#, #"{"key":"a","value":"\ud800"}"#,
    ])
  func whatIsNoSuchJSONIsRefused(lane: ConfiguredLane, body: String) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      let answer = try await client.ask(
        "POST", "/set", ["Content-Type: application/json"], body: body)
      #expect(answer.status == 400 && answer.text.hasPrefix(#"{"error":""#))
      // The request was sound, so the connection is of further use.
      try await #expect(client.ask("GET", "/get/a").status == 404)
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func anEmptyKeyInThePathIsRefused(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      for path in ["/get/", "/local_read/", "/kv/"] {
        let answer = try await node.ask("GET", path)
        #expect(answer.status == 400 && answer.text.hasPrefix(#"{"error":""#))
      }
    }
  }
}

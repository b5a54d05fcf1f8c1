import Testing

@Suite struct RESTRouteTests {
  @Test(arguments: ConfiguredLane.allCases)
  func aValueIsPutReadReplacedAndDeleted(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      try await #expect(client.ask("GET", "/kv/a").status == 404)
      let created = try await client.ask("PUT", "/kv/a", body: "one")
      #expect(created.status == 201 && created.body.isEmpty)
      let replaced = try await client.ask("PUT", "/kv/a", body: "two")
      #expect(replaced.status == 200)
      #expect(try Self.version(created) < Self.version(replaced))
      let read = try await client.ask("GET", "/kv/a")
      #expect(read.status == 200 && read.text == "two")
      #expect(read["x-kv-version"] == replaced["x-kv-version"])
      #expect(read["content-type"] == "application/octet-stream")
      #expect(read["etag"] == replaced["etag"] && read["etag"] != created["etag"])
      let deleted = try await client.ask("DELETE", "/kv/a")
      #expect(deleted.status == 204 && deleted["content-length"] == nil)
      try await #expect(client.ask("DELETE", "/kv/a").status == 404)
    }
  }

  private static func version(_ answer: ClientAnswer) throws -> UInt64 {
    try #require(answer["x-kv-version"].flatMap { UInt64($0) })
  }

  @Test(arguments: ConfiguredLane.allCases)
  func aHeadIsWhatAGetWouldBeWithoutTheBody(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      _ = try await client.ask("PUT", "/kv/a", body: "value")
      for target in ["/kv/a", "/kv/none", "/get/a", "/get?key=a", "/health", "/kv?key=a"] {
        let get = try await client.ask("GET", target)
        let head = try await client.ask("HEAD", target)
        #expect(head.status == get.status && head.body.isEmpty)
        for name in ["content-length", "content-type", "etag", "x-kv-version"] {
          #expect(head[name] == get[name], "\(name) of \(target)")
        }
      }
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func anEmptyValueIsAValue(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      try await #expect(client.ask("PUT", "/kv/a", ["Content-Length: 0"]).status == 201)
      // Without a length there is no body, either.
      try await #expect(client.ask("PUT", "/kv/a").status == 200)
      let read = try await client.ask("GET", "/kv/a")
      #expect(read.status == 200 && read.body.isEmpty && read["content-length"] == "0")
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func keysOfAnyBytesComeInThePath(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      for (target, key) in [
        ("a/b", #""key":"a/b""#), ("a%2Fc", #""key":"a/c""#), ("a+b", #""key":"a+b""#),
        ("%20", #""key":" ""#), ("caf%C3%A9", #""key":"café""#), ("%00", #""key":"\u0000""#),
        ("%fe", #""key_base64":"/g==""#), ("..", #""key":"..""#),
      ] {
        try await #expect(client.ask("PUT", "/kv/" + target, body: target).status == 201)
        try await #expect(client.ask("GET", "/kv/" + target).text == target)
        try await #expect(client.ask("GET", "/get/" + target).text.hasPrefix("{" + key))
      }
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func aLargeValueComesBackWhole(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      let value = String((0..<300_000).map { "\($0)," }.joined().prefix(1_500_000))
      try await #expect(client.ask("PUT", "/kv/a", body: value).status == 201)
      try client.send("GET", "/kv/a")
      try client.send("HEAD", "/kv/a")
      try client.send("GET", "/health")
      try await #expect(client.answer().text == value)
      try await #expect(client.answer(toHead: true)["content-length"] == "1500000")
      try await #expect(client.answer().text == "ok")
    }
  }

  // MARK: - Conditions

  @Test(arguments: ConfiguredLane.allCases)
  func aWriteHappensOnlyWhereItsConditionHolds(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      func put(_ condition: String) async throws -> Int {
        try await client.ask("PUT", "/kv/a", [condition], body: "v").status
      }
      try await #expect(put("If-Match: *") == 412)
      try await #expect(put("If-None-Match: *") == 201)
      try await #expect(put("If-None-Match: *") == 412)
      let tag = try #require(try await client.ask("GET", "/kv/a")["etag"])
      try await #expect(put("If-None-Match: \(tag)") == 412)
      // Weak tags are never strongly equal, and tags of others are none of ours.
      try await #expect(put("If-Match: W/\(tag)") == 412)
      try await #expect(put("If-Match: \"x\"") == 412)
      try await #expect(put("If-Match: \"x\", \(tag)") == 200)
      try await #expect(put("If-Match: \(tag)") == 412)
      try await #expect(client.ask("DELETE", "/kv/a", ["If-Match: \(tag)"]).status == 412)
      try await #expect(client.ask("DELETE", "/kv/a", ["If-Match: *"]).status == 204)
      try await #expect(put("If-None-Match: \(tag)") == 201)
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func aReadSaysNotModifiedOrThatItsConditionFails(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      let tag = try #require(try await client.ask("PUT", "/kv/a", body: "v")["etag"])
      for condition in ["*", tag, "W/\(tag)", "\"x\", \(tag)"] {
        for method in ["GET", "HEAD"] {
          let answer = try await client.ask(method, "/kv/a", ["If-None-Match: \(condition)"])
          #expect(answer.status == 304 && answer.body.isEmpty && answer["etag"] == tag)
          #expect(answer["content-length"] == nil)
        }
      }
      try await #expect(client.ask("GET", "/kv/a", ["If-None-Match: \"x\""]).text == "v")
      try await #expect(client.ask("GET", "/kv/a", ["If-Match: \(tag)"]).text == "v")
      try await #expect(client.ask("GET", "/kv/a", ["If-Match: \"x\""]).status == 412)
      // The stricter one is judged first (RFC 9110, 13.2.2).
      let both = try await client.ask("GET", "/kv/a", ["If-Match: \"x\"", "If-None-Match: *"])
      #expect(both.status == 412)
      try await #expect(client.ask("GET", "/kv/none", ["If-Match: *"]).status == 412)
      try await #expect(client.ask("GET", "/kv/none", ["If-None-Match: *"]).status == 404)
      try await #expect(client.ask("GET", "/kv/a", ["If-Match: x"]).status == 400)
    }
  }

  // MARK: - Options

  @Test(arguments: ConfiguredLane.allCases)
  func aReadWaitsForTheVersionThatItMustNotBeOlderThan(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      let first = try await client.ask("PUT", "/kv/a", body: "v")
      let plain = try #require(first["etag"]).dropFirst().dropLast()
      try await #expect(client.ask("GET", "/kv/a?min_version=%22\(plain)%22").status == 200)
      // The log has numbers of its own, too.
      let later = "\(try Self.version(first) + 100)" + plain.drop { $0 != "." }
      let early = try await client.ask("GET", "/kv/a?min_version=\(later)&timeout_ms=20")
      #expect(early.status == 503 && early["retry-after"] == "1")
      try client.send("GET", "/kv/a?min_version=\(later)")
      let batch = String(repeating: #"{"op":"put","key":"a","value":"w"}"# + "\n", count: 100)
      try await #expect(node.ask("POST", "/batch", body: batch).status == 200)
      try await #expect(client.answer().text == "w")
      // A version alone will do.
      let version = try Self.version(first)
      try await #expect(client.ask("GET", "/kv/a?min_version=\(version + 100)").text == "w")
      let far = try await client.ask(
        "GET", "/get?key=a&min_version=\(version + 9_999)&timeout_ms=0")
      #expect(far.status == 503)
      let other = "1.9-" + plain.suffix(16)
      try await #expect(client.ask("GET", "/kv/a?min_version=\(other)").status == 412)
      try await #expect(client.ask("GET", "/kv/a?min_version=x").status == 400)
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func readsThatWaitAreBoundedAndLetGoByAStop(lane: ConfiguredLane) async throws {
    let node = try await RunningNode.start(lane)
    let clients = try (0..<300).map { _ in try node.connect() }
    for client in clients {
      try client.send("GET", "/kv/a?min_version=1000000&timeout_ms=3600000")
    }
    let refused = #"route="kv_get",status="503"} 44"#
    while try await !node.ask("GET", "/metrics").text.contains(refused) {}
    async let stopping: Void = node.stop()
    var waited = 0
    for client in clients {
      let answer = try await client.answer()
      #expect(answer.status == 503 && answer["retry-after"] == "1")
      if answer.text.contains("too many") { continue }
      waited += 1
      #expect(answer["connection"] == "close")
    }
    #expect(waited == 256)
    try await stopping
  }

  @Test(arguments: ConfiguredLane.allCases)
  func quorumsOfMoreThanThisNodeAreRefused(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      for option in ["w=0", "w=2", "w=x", "w=", "timeout_ms=x"] {
        try await #expect(client.ask("PUT", "/kv/a?" + option, body: "v").status == 400)
        try await #expect(client.ask("GET", "/set?key=a&value=v&" + option).status == 400)
      }
      try await #expect(client.ask("GET", "/kv/a").status == 404)
      try await #expect(client.ask("PUT", "/kv/a?w=1&timeout_ms=100", body: "v").status == 201)
      try await #expect(client.ask("GET", "/kv/a?r=1").status == 200)
      try await #expect(client.ask("GET", "/get?key=a&r=2").status == 400)
    }
  }

  @Test(
    "a delete and a batch say what a read is not to be older than, as a put does",
    arguments: ConfiguredLane.allCases)
  func tagsOfWrites(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      let batch = #"{"op":"put","key":"a","value":"1"}"# + "\n" + #"{"op":"delete","key":"b"}"#
      for (method, target, body) in [
        ("PUT", "/kv/a", "v"), ("DELETE", "/kv/a", ""), ("POST", "/batch", batch),
      ] {
        let answer = try await client.ask(method, target, body: body)
        let version = try #require(answer["x-kv-version"])
        let tag = try #require(answer["etag"])
        #expect(tag.hasPrefix("\"\(version)."), "\(method)")
        let value = tag.filter { $0 != "\"" }
        let read = try await client.ask("GET", "/kv/c?min_version=\(value)")
        #expect(read.status == 404, "\(method)")
        // Of another history it is refused.
        let other = value.replacing(".1-", with: ".2-")
        try await #expect(client.ask("GET", "/kv/c?min_version=\(other)").status == 412)
      }
      try await #expect(client.ask("DELETE", "/kv/none").status == 404)
    }
  }
}

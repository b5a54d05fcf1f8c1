import Testing

/// Sound requests that are not done, each with the status that says why.
@Suite struct RefusalTests {
  @Test(
    arguments: ConfiguredLane.allCases,
    [
      ("PATCH", "/kv/a", "GET, HEAD, PUT, DELETE"), ("POST", "/kv/a", "GET, HEAD, PUT, DELETE"),
      ("DELETE", "/get/a", "GET, HEAD"), ("POST", "/get?key=a", "GET, HEAD"),
      ("DELETE", "/set?key=a&value=b", "GET, POST, PUT"), ("GET", "/batch", "POST"),
      ("PUT", "/delete?key=a", "GET, POST, DELETE"), ("PUT", "/status", "GET, HEAD"),
      ("DELETE", "/purge", "GET, POST"), ("POST", "/watch", "GET, HEAD"),
      ("POST", "/metrics", "GET, HEAD"),
    ])
  func aMethodThatAPathDoesNotHaveIsRefusedNamingThoseItHas(
    lane: ConfiguredLane, request: (method: String, target: String, allow: String)
  ) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      let answer = try await client.ask(request.method, request.target)
      #expect(answer.status == 405 && answer["allow"] == request.allow)
      try await #expect(client.ask("GET", "/health").status == 200)
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func whatIsNotThereOrNotYetThereIsToldApart(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      for path in ["/", "/x", "/kvs", "/get/../x?"] {
        try await #expect(client.ask("GET", path).status == 404)
      }
      try await #expect(client.ask("GET", "/kv/a").status == 404)
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func keysUpToTheBoundAreTakenAndLongerOnesNot(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane, { $0.limits.keyBytesMax = 20 }) { node in
      let client = try node.connect()
      for (count, expected) in [(20, [201, 200, 201, 200]), (21, [414, 414, 414, 414])] {
        // Percent-encoded, it is longer.
        let key = String(repeating: "%6b", count: count)
        let plain = String(repeating: "k", count: count)
        let answers = [
          try await client.ask("PUT", "/kv/" + key, body: "v"),
          try await client.ask("GET", "/set?key=\(key)&value=v"),
          try await client.ask("POST", "/set", body: #"{"key":"\#(plain)","value":"v"}"#),
          try await client.ask("GET", "/get/" + plain),
        ]
        #expect(answers.map(\.status) == expected)
      }
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func valuesUpToTheBoundAreTakenAndLargerOnesNot(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane, { $0.limits.valueBytesMax = 40 }) { node in
      for (count, expected) in [(40, [201, 200, 201]), (41, [413, 413, 413])] {
        let value = String(repeating: "v", count: count)
        let answers = [
          try await node.ask("PUT", "/kv/a", body: value),
          try await node.ask("GET", "/set?key=a&value=" + value),
          try await node.ask("POST", "/set", body: #"{"key":"a","value":"\#(value)"}"#),
        ]
        #expect(answers.map(\.status) == expected)
      }
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func theAnswerToABodyThatIsTooLargeArrivesThoughTheClientSendsOn(
    lane: ConfiguredLane
  ) async throws {
    try await RunningNode.with(lane, { $0.limits.valueBytesMax = 1_000 }) { node in
      let client = try node.connect()
      let body = String(repeating: "v", count: 4 << 20)
      let answer = try await client.ask("PUT", "/kv/a", body: body)
      #expect(answer.status == 413 && answer["connection"] == "close")
      try await #expect(client.isEnded())
      // In chunks, it is found out on the way.
      let other = try node.connect()
      try other.send("PUT", "/kv/a", ["Transfer-Encoding: chunked"])
      try other.send("400000\r\n" + body + "\r\n0\r\n\r\n")
      try await #expect(other.answer().status == 413)
      try await #expect(other.isEnded())
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func headsAndTargetsAreBounded(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      // What the contract promises at least.
      let long = "/get?key=a&x=" + String(repeating: "x", count: (32 << 10) - 13)
      try await #expect(client.ask("GET", long).status == 404)
      try await #expect(
        client.ask("GET", long, ["A: " + String(repeating: "a", count: 20_000)]).status == 404)
      for count in [50_000, 100_000] {
        let answer = try await node.ask("GET", "/get/" + String(repeating: "x", count: count))
        #expect(answer.status == 414 && answer["connection"] == "close")
      }
      let large = "A: " + String(repeating: "a", count: 70_000)
      for headers in [[large], [large, large, large], [String](repeating: "A: b", count: 300)] {
        let answer = try await node.ask("GET", "/health", headers)
        #expect(answer.status == 431 && answer["connection"] == "close")
      }
    }
  }

  // MARK: - No room

  @Test(arguments: ConfiguredLane.allCases)
  func putsAreRefusedWhereMemoryIsBoundAndNothingElseIs(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane, { $0.memoryBytesMax = 400_000 }) { node in
      let client = try node.connect()
      let value = String(repeating: "v", count: 1_000)
      var count = 0
      while try await client.ask("PUT", "/kv/k\(count)", body: value).status == 201 { count += 1 }
      #expect((1...400).contains(count))
      let refused = try await client.ask("PUT", "/kv/x", body: value)
      #expect(refused.status == 507 && refused.text.contains("nothing was written"))
      let classic = try await client.ask("GET", "/set?key=x&value=" + value)
      #expect(classic.status == 507 && classic.text.contains("the memory bound is reached"))
      let json = #"{"key":"x","value":"\#(value)"}"#
      try await #expect(client.ask("POST", "/set", body: json).status == 507)
      let batch = #"{"op":"put","key":"x","value":"\#(value)"}"#
      try await #expect(client.ask("POST", "/batch", body: batch).status == 507)
      try await #expect(client.ask("GET", "/kv/x").status == 404)
      try await #expect(client.ask("GET", "/kv/k0").text == value)
      try await #expect(client.ask("DELETE", "/kv/k0").status == 204)
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func bodiesAreBoundedAllConnectionsTogether(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane, { $0.limits.bodyBytesMax = 1_000 }) { node in
      let part = "2bc\r\n" + String(repeating: "v", count: 700) + "\r\n"
      let first = try node.connect()
      try first.send("PUT", "/kv/a", ["Transfer-Encoding: chunked"])
      try first.send(part)
      let watcher = try node.connect()
      while try await !watcher.ask("GET", "/metrics").text.contains("shiplog_body_bytes 700\n") {}
      let second = try node.connect()
      try second.send("PUT", "/kv/b", ["Transfer-Encoding: chunked"])
      try second.send(part)
      let refused = try await second.answer()
      #expect(refused.status == 503 && refused["retry-after"] == "1")
      #expect(refused.text.contains("nothing was written"))
      try await #expect(second.isEnded())
      try first.send("0\r\n\r\n")
      try await #expect(first.answer().status == 201)
      let metrics = try await watcher.ask("GET", "/metrics").text
      #expect(metrics.contains("shiplog_body_bytes 0\n"))
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func largeAnswersAreBoundedAllConnectionsTogether(lane: ConfiguredLane) async throws {
    try await RunningNode.with(
      lane,
      {
        $0.limits.outputBytesMax = 50_000
        $0.limits.answersBytesMax = 90_000
      }
    ) { node in
      let client = try node.connect()
      _ = try await client.ask("PUT", "/kv/a", body: String(repeating: "v", count: 80_000))
      _ = try await client.ask("PUT", "/kv/b", body: String(repeating: "v", count: 100_000))
      try await #expect(client.ask("GET", "/get/a").status == 200)
      let refused = try await client.ask("GET", "/get/b")
      #expect(refused.status == 503 && refused["retry-after"] == "1")
      // Raw, it is sent from where it is, which may be the only place.
      try await #expect(client.ask("GET", "/kv/b").status == 503)
      try await #expect(client.ask("GET", "/kv/a").body.count == 80_000)
      try await #expect(client.ask("GET", "/get/a").status == 200)
      try await #expect(client.ask("HEAD", "/kv/b").status == 200)
    }
  }

  /// The value may be gone from the index while it is being sent.
  @Test(arguments: ConfiguredLane.allCases)
  func aValueThatManyTakeCountsOnce(lane: ConfiguredLane) async throws {
    let size = 8 << 20
    try await RunningNode.with(
      lane,
      {
        $0.limits.answersBytesMax = 20 << 20
        // Those who take nothing are not cut off before they have counted.
        $0.limits.answerSeconds = 300
      }
    ) { node in
      let client = try node.connect()
      let value = String(repeating: "v", count: size)
      // Each takes nothing of it.
      var slow: [ClientConnection] = []
      for round in 1...2 {
        try await #expect(
          client.ask("PUT", "/kv/a", body: value).status == (round == 1 ? 201 : 200))
        for _ in 0..<3 {
          slow.append(try node.connect())
          try slow.last!.send("GET", "/kv/a")
        }
        let line = "shiplog_answer_bytes \(round * size)\n"
        while try await !client.ask("GET", "/metrics").text.contains(line) {}
        // All three of the round: the last may come after the next value otherwise.
        let count = "shiplog_requests_total{route=\"kv_get\",status=\"200\"} \(3 * round)\n"
        while try await !client.ask("GET", "/metrics").text.contains(count) {}
      }
      try await #expect(client.ask("PUT", "/kv/a", body: value).status == 200)
      let refused = try await client.ask("GET", "/kv/a")
      #expect(refused.status == 503 && refused["retry-after"] == "1")
      slow = []
      while try await !client.ask("GET", "/metrics").text.contains("shiplog_answer_bytes 0\n") {}
      try await #expect(client.ask("GET", "/kv/a").body.count == size)
    }
  }

  @Test func bodiesThatTheFastLaneWaitsForAreBoundedToo() async throws {
    try await RunningNode.with(.fast, { $0.limits.bodyBytesMax = 80_000 }) { node in
      let part = String(repeating: "v", count: 60_000)
      let watcher = try node.connect()
      do {
        let first = try node.connect()
        try first.send("PUT", "/kv/a", ["Content-Length: 60001"])
        try first.send(part)
        while try await !watcher.ask("GET", "/metrics").text.contains("shiplog_body_bytes 60") {}
        let second = try node.connect()
        try second.send("PUT", "/kv/b", ["Content-Length: 60001"])
        try second.send(part)
        try await #expect(second.answer().status == 503)
        try first.send("v")
        try await #expect(first.answer().status == 201)
        let third = try node.connect()
        try third.send("PUT", "/kv/b", ["Content-Length: 60001"])
        try third.send(part)
        while try await !watcher.ask("GET", "/metrics").text.contains("shiplog_body_bytes 60") {}
      }
      while try await !watcher.ask("GET", "/metrics").text.contains("shiplog_body_bytes 0\n") {}
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func targetAndHeadersCountTogether(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let target = "/kv/a?x=" + String(repeating: "x", count: 40_000)
      let field = "A: " + String(repeating: "a", count: 30_000)
      try await #expect(node.ask("GET", target).status == 404)
      try await #expect(node.ask("GET", target, [field]).status == 431)
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func oneOfSeveralKeysThatIsTooLongIs414(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane, { $0.limits.keyBytesMax = 20 }) { node in
      let key = String(repeating: "k", count: 21)
      try await #expect(node.ask("GET", "/kv?key=a&key=\(key)").status == 414)
      try await #expect(node.ask("GET", "/kv?key=a&key=").status == 400)
    }
  }
}

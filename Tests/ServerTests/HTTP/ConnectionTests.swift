import Testing

/// How connections begin, go on and end.
@Suite struct ConnectionTests {
  @Test(arguments: ConfiguredLane.allCases)
  func aReadSeesTheWriteBeforeItOnItsConnection(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      var requests = ""
      for index in 0..<300 {
        let value = String(index)
        requests +=
          "PUT /kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: \(value.count)\r\n\r\n\(value)"
        requests += "GET /kv/a HTTP/1.1\r\nHost: x\r\n\r\n"
        requests += "GET /set?key=b&value=\(value) HTTP/1.1\r\nHost: x\r\n\r\n"
        requests += "GET /get/b HTTP/1.1\r\nHost: x\r\n\r\n"
      }
      try client.send(requests)
      for index in 0..<300 {
        try await #expect(client.answer().status == (index == 0 ? 201 : 200))
        try await #expect(client.answer().text == String(index))
        try await #expect(client.answer().status == 200)
        try await #expect(client.answer().text.contains("\"value\":\"\(index)\","))
      }
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func aRequestToCloseIsTheLastThatIsAnswered(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      try client.send("PUT", "/kv/a", ["Connection: close"], body: "v")
      try client.send("DELETE", "/kv/a")
      let answer = try await client.answer()
      #expect(answer.status == 201 && answer["connection"] == "close")
      try await #expect(client.isEnded())
      try await #expect(node.ask("GET", "/kv/a").text == "v")
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func version10EndsTheConnectionUnlessAskedToKeepIt(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      try client.send("GET /get?key=a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
      let kept = try await client.answer()
      #expect(kept.status == 404 && kept["connection"] == "keep-alive")
      try client.send("GET /health HTTP/1.0\r\n\r\n")
      let last = try await client.answer()
      #expect(last.text == "ok" && last["connection"] == "close")
      try await #expect(client.isEnded())
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func aBodyIsAskedForWhereTheClientWaitsForThat(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane, { $0.limits.valueBytesMax = 10 }) { node in
      let client = try node.connect()
      let expects = "Expect: 100-continue"
      try client.send("PUT", "/kv/a", [expects, "Content-Length: 5"])
      try await #expect(client.answer().status == 100)
      try client.send("value")
      try await #expect(client.answer().status == 201)
      try client.send("PUT", "/kv/a", [expects, "Content-Length: 11"])
      try await #expect(client.answer().status == 413)
      try await #expect(client.isEnded())
      let odd = try node.connect()
      try odd.send("PUT", "/kv/a", ["Expect: 200-ok"], body: "value")
      try await #expect(odd.answer().status == 417)
      try await #expect(odd.isEnded())
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func whoeverEndsTheirOutputIsStillAnswered(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane) { node in
      let client = try node.connect()
      try client.send("PUT", "/kv/a", body: "v")
      try client.send("GET", "/kv/a")
      try client.send("GET", "/health")
      client.endOutput()
      try await #expect(client.answer().status == 201)
      try await #expect(client.answer().text == "v")
      try await #expect(client.answer().text == "ok")
      try await #expect(client.isEnded())
      // A request that was cut off is malformed.
      let other = try node.connect()
      try other.send("GET /kv/a HT")
      other.endOutput()
      try await #expect(other.answer().status == 400)
      try await #expect(other.isEnded())
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func oneConnectionTooManyIsToldSo(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane, { $0.limits.connectionsMax = 2 }) { node in
      let first = try node.connect()
      try await #expect(first.ask("GET", "/health").status == 200)
      do {
        let second = try node.connect()
        try await #expect(second.ask("GET", "/health").status == 200)
        let third = try node.connect()
        let refusal = try await third.answer()
        #expect(refusal.status == 503 && refusal.text == "too many connections")
        #expect(refusal["retry-after"] == "1" && refusal["connection"] == "close")
        try await #expect(third.isEnded())
      }
      // Both are gone: there is room again, as soon as the node has seen that.
      while try await !first.ask("GET", "/metrics").text.contains("shiplog_connections 1\n") {}
      try await #expect(node.ask("GET", "/health").status == 200)
      let metrics = try await first.ask("GET", "/metrics").text
      #expect(metrics.contains("shiplog_connections_refused_total 1\n"))
    }
  }

  @Test func whoeverCannotBeToldIsCutOff() async throws {
    try await RunningNode.with(.fast, { $0.limits.connectionsMax = 1 }) { node in
      let first = try node.connect()
      try await #expect(first.ask("GET", "/health").status == 200)
      // Those that are told keep theirs open.
      let others = try (0..<100).map { _ in try node.connect() }
      var told = 0
      for other in others {
        do {
          try await #expect(other.answer().status == 503)
          told += 1
        } catch ClientConnection.Failure.ended(after: "") {}
      }
      #expect(told == 64)
      try await #expect(first.ask("GET", "/health").status == 200)
    }
  }

  // MARK: - Time

  @Test(arguments: ConfiguredLane.allCases)
  func theStartOfARequestBehindAWriteHasItsTime(lane: ConfiguredLane) async throws {
    try await RunningNode.with(
      lane,
      {
        $0.limits.idleSeconds = 3
        $0.limits.headSeconds = 1
      }
    ) { node in
      let client = try node.connect()
      try client.send(
        "PUT /kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nvGET /kv/a HT")
      try await #expect(client.answer().status == 201)
      if lane == .fast { try await #expect(client.answer().status == 408) }
      try await #expect(client.isEnded())
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func eachRequestHasItsOwnTime(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane, { $0.limits.headSeconds = 1 }) { node in
      let request = Array("GET /kv/a HTTP/1.1\r\nHost: x\r\n\r\n".utf8)
      let clock = ContinuousClock()
      var client = try node.connect()
      var begun = clock.now
      try client.send(Array(request.prefix(10)))
      // Whatever comes ends within a request.
      for _ in 0..<15 {
        let next = clock.now
        try? client.send(Array(request.dropFirst(10) + request.prefix(10)))
        if try await client.answer().status == 404 {
          begun = next
          try await Task.sleep(for: .milliseconds(100))
          continue
        }
        // On a busy machine this one may have taken so long in fact.
        try #require(clock.now - begun > .seconds(1), "let go for the time of an earlier request")
        client = try node.connect()
        begun = clock.now
        try client.send(Array(request.prefix(10)))
      }
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func whoeverIsIdleOrTooSlowIsLetGo(lane: ConfiguredLane) async throws {
    try await RunningNode.with(
      lane,
      {
        $0.limits.idleSeconds = 1
        $0.limits.headSeconds = 1
        $0.limits.bodySeconds = 1
        $0.limits.answerSeconds = 1
        $0.limits.lingerSeconds = 1
      }
    ) { node in
      let silent = try node.connect()
      let idle = try node.connect()
      try await #expect(idle.ask("PUT", "/kv/a", body: "v").status == 201)
      let head = try node.connect()
      try head.send("GET /kv/a HTTP/1.1\r\nHost")
      let unusual = try node.connect()
      try unusual.send("OPTIONS")
      let body = try node.connect()
      try body.send("PUT", "/kv/a", ["Content-Length: 10"])
      try body.send("some")
      let trickle = try node.connect()
      try trickle.send("GET /kv/a")
      for _ in 0..<25 {
        try await Task.sleep(for: .milliseconds(100))
        // The end of the connection can be seen here.
        do { try trickle.send("a") } catch { break }
      }
      for (name, slow) in [("head", head), ("unusual", unusual), ("body", body)] {
        try await #expect(slow.answer().status == 408, "\(name)")
        try await #expect(slow.isEnded(), "\(name)")
      }
      try await #expect(trickle.answer().status == 408)
      try await #expect(silent.isEnded())
      try await #expect(idle.isEnded())
      try await #expect(node.ask("GET", "/kv/a").text == "v")
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func whoeverTakesNothingOfAnAnswerIsLetGo(lane: ConfiguredLane) async throws {
    try await RunningNode.with(lane, { $0.limits.answerSeconds = 1 }) { node in
      let watcher = try node.connect()
      let value = String(repeating: "v", count: 8 << 20)
      try await #expect(watcher.ask("PUT", "/kv/a", body: value).status == 201)
      let slow = try node.connect()
      // More than the system keeps for the client.
      for _ in 0..<4 { try slow.send("GET", "/kv/a") }
      // Until it has come, and until it is gone.
      for line in ["shiplog_connections_accepted_total 2\n", "shiplog_connections 1\n"] {
        while try await !watcher.ask("GET", "/metrics").text.contains(line) {
          try await Task.sleep(for: .milliseconds(20))
        }
      }
      withExtendedLifetime(slow) {}
    }
  }
}

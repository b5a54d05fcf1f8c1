import Server
import Synchronization
import Testing
import WAL

/// What waits for other members is bounded, and what is bounded says so.
@Suite("What waits for other members") struct BoundedWaitTests {
  /// Acknowledges everything up to that answer's version, as `b`.
  private static func acknowledge(
    _ answer: ClientAnswer, _ stream: LogStreamClient, _ node: RunningNode
  ) async throws {
    let version = try #require(answer["x-kv-version"].flatMap { UInt64($0) })
    let last = try await stream.frames(through: version).last!
    try await #expect(node.acknowledge(last.header.position, by: "b").status == 204)
  }

  private static func members(_ address: String = "127.0.0.1:1") -> [Member] {
    [
      Member(id: "node", address: "127.0.0.1:1"), Member(id: "b", address: address),
      Member(id: "c", address: "127.0.0.1:1"),
    ]
  }

  @Test(
    "counts for the bound on answers as long as it is not confirmed",
    arguments: ConfiguredLane.allCases)
  func heldAnswers(lane: ConfiguredLane) async throws {
    let value = String(repeating: "v", count: 200_000)
    try await RunningNode.with(
      lane,
      {
        $0.members = Self.members()
        $0.writeQuorum = 2
        $0.limits.answersBytesMax = 300_000
      }
    ) { node in
      let stream = try await LogStreamClient(node, "from=1&replica=b")
      // What was charged is free again: the second round is as the first.
      for round in 0..<2 {
        let written = try await node.ask("PUT", "/kv/k?w=1", body: value + "\(round)")
        let first = try node.connect()
        try first.send("GET", "/get/k")
        // It has come once another request on the same loop is answered.
        try await #expect(node.ask("GET", "/health").text == "ok")
        let second = try await node.ask("GET", "/get/k")
        #expect(second.status == 503 && second.text.contains("too many answers wait"), "\(round)")
        #expect(second["retry-after"] == "1")
        try await Self.acknowledge(written, stream, node)
        let answer = try await first.answer()
        #expect(answer.status == 200 && answer.body.count > 200_000)
        try await #expect(node.ask("GET", "/get/k").status == 200)
      }
    }
  }

  @Test("is a bounded number of reads", arguments: ConfiguredLane.allCases)
  func reads(lane: ConfiguredLane) async throws {
    let (release, releaser) = AsyncStream<Void>.makeStream()
    try await FakeMember.with({ _ in
      for await _ in release {}
      return FakeMember.Answer(status: 503)
    }) { member in
      try await RunningNode.with(
        lane,
        {
          $0.members = Self.members(member.address)
          $0.limits.askingReadsMax = 2
        }
      ) { node in
        let waiting = try (0..<2).map { _ in
          let client = try node.connect()
          try client.send("GET", "/kv/k?r=2")
          return client
        }
        try await #expect(node.ask("GET", "/health").text == "ok")
        let third = try await node.ask("GET", "/kv/k?r=2")
        #expect(third.status == 503 && third.text.contains("too many reads ask other members"))
        #expect(third["retry-after"] == "1")
        try await #expect(node.ask("GET", "/kv/k").status == 404)
        releaser.finish()
        for client in waiting { try await #expect(client.answer().status == 503) }
        // There is room again.
        let next = try await node.ask("GET", "/kv/k?r=2")
        #expect(next.text.contains("2 members are to be asked"), "\(next.text)")
      }
    }
  }

  @Test("has connections of its own: requests that are handed on are not in its way")
  func ownConnections() async throws {
    let told = Mutex("")
    let (release, releaser) = AsyncStream<Void>.makeStream()
    let handedOn = Mutex(0)
    try await FakeMember.with({ request in
      if request.head.uri.hasPrefix("/wal/position") {
        return FakeMember.Answer(body: told.withLock { $0 })
      }
      handedOn.withLock { $0 += 1 }
      for await _ in release {}
      return FakeMember.Answer(status: 200, body: "theirs")
    }) { member in
      try await RunningNode.with(
        .fast, { $0.members = Self.members(member.address) }
      ) { node in
        try await #expect(node.ask("PUT", "/kv/k", body: "v").status == 201)
        let parts = try await node.ask("GET", "/wal/position").text.split(separator: " ")
        let sequence = try #require(UInt64(parts[2]))
        told.withLock { $0 = "\(parts[0]) \(parts[1]) \(sequence + 1_000)" }
        // More than there are connections for requests of clients.
        let clients = try (0..<80).map { _ in
          let client = try node.connect()
          try client.send("GET", "/kv/k?r=2")
          return client
        }
        while handedOn.withLock({ $0 }) < 64 { try await Task.sleep(for: .milliseconds(2)) }
        told.withLock { $0 = "\(parts[0]) \(parts[1]) \(sequence)" }
        try await #expect(node.ask("GET", "/kv/k?r=2").text == "v")
        releaser.finish()
        for client in clients { try await #expect(client.answer().text == "theirs") }
      }
    }
  }

  @Test("is told to be written where its answer cannot be held", arguments: ConfiguredLane.allCases)
  func untold(lane: ConfiguredLane) async throws {
    let value = String(repeating: "v", count: 400_000)
    try await RunningNode.with(
      lane,
      {
        $0.dialect = .compact
        $0.limits.answersBytesMax = 300_000
      }
    ) { node in
      let answer = try await node.ask(
        "POST", "/set", ["Content-Type: application/x-www-form-urlencoded"],
        body: "key=k&value=" + value)
      let version = try #require(answer["x-kv-version"])
      #expect(answer.status == 504 && answer.text.contains("\"version\":\(version)}"))
      #expect(answer.text.contains("written at version \(version), and the answer is not told"))
      let status = try await node.ask("GET", "/local_read/k").status
      #expect(status == 503)
      try await #expect(node.ask("DELETE", "/kv/k").status == 204)
      // One that is small enough is echoed as ever.
      let small = try await node.ask("GET", "/set?key=k&value=small")
      #expect(small.status == 200 && small.text.hasSuffix("value=\"small\", error:<nil>"))
    }
  }
}

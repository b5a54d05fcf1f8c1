import Glibc
import Server
import Synchronization
import Testing

/// What becomes of requests that are handed on, and of their answers, in a node that is short of room or of time.
@Suite("A request that is handed on", .serialized) struct RelayedRequestTests {
  private static func answer(_ body: String) -> String {
    "HTTP/1.1 200 OK\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
  }

  /// A read with another one behind it, which keeps it from a connection of its own.
  private static func pair(_ key: String) -> String {
    ["GET", "HEAD"].map { "\($0) /kv/\(key) HTTP/1.1\r\nHost: x\r\n\r\n" }.joined()
  }

  /// Of the answer to the first of such a pair.
  private static func status(_ node: RunningNode) async throws -> Int {
    let client = try node.connect()
    try client.send(pair("watermelon"))
    return try await client.answer().status
  }

  private static let notThere = "HTTP/1.1 404 N\r\nContent-Length: 0\r\n\r\n"

  @Test(
    "has none of the fields that belong to a connection, or to a proxy",
    arguments: ConfiguredLane.allCases,
    [
      "Keep-Alive: timeout=5", "TE: trailers", "Trailer: X", "Upgrade: h2c",
      "Proxy-Connection: keep-alive", "Proxy-Authorization: Basic eA==", "proxy-anything: x",
      "Connection: X-Mine, keep-alive", "Connection: keep-alive",
    ])
  func connectionFields(lane: ConfiguredLane, field: String) async throws {
    try await FakeMember.with({ _ in
      FakeMember.Answer(
        headers: [("Keep-Alive", "x"), ("Proxy-Authenticate", "y"), ("X-Their", "z")],
        body: "theirs")
    }) { member in
      try await TwoShards.with(lane, leader: member.address) { node in
        for (method, target) in [("PUT", "/kv/adverb"), ("GET", "/kv/adverb")] {
          let answer = try await node.ask(
            method, target, [field, "X-Mine: 1", "X-Own: 2"], body: method == "PUT" ? "v" : "")
          #expect(answer.status == 200 && answer.text == "theirs" && answer["x-their"] == "z")
          #expect(answer["keep-alive"] == nil && answer["proxy-authenticate"] == nil)
          let taken = try #require(member.requests.last).head.headers
          let name = String(field.prefix { $0 != ":" })
          // That the connection is kept means the same between the nodes.
          #expect(taken[name].isEmpty || name == "Connection" && taken[name] == ["keep-alive"])
          #expect(taken["X-Mine"] == (field.contains("X-Mine") ? [] : ["1"]))
          #expect(taken["X-Own"] == ["2"])
        }
      }
    }
  }

  @Test("that comes in chunks goes on with a length", arguments: ConfiguredLane.allCases)
  func chunks(lane: ConfiguredLane) async throws {
    try await FakeMember.with({ FakeMember.Answer(body: "their \($0.body)") }) { member in
      try await TwoShards.with(lane, leader: member.address) { node in
        let client = try node.connect()
        try client.send("PUT /kv/adverb HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        try client.send("3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        try await #expect(client.answer().text == "their abcde")
        let taken = try #require(member.requests.last).head.headers
        #expect(taken["Transfer-Encoding"].isEmpty && taken["Content-Length"] == ["5"])
      }
    }
  }

  @Test("whose answer has to be kept, and finds no room here, may be asked again: 503, not 502")
  func noRoom() async throws {
    let size = Mutex(3 << 20)
    try await FakeMember.with({ request in
      request.head.uri == "/status"
        ? TwoShards.status("leader")
        : FakeMember.Answer(body: String(repeating: "v", count: size.withLock { $0 }))
    }) { member in
      try await TwoShards.with(
        .fast, leader: member.address, { $0.limits.answersBytesMax = 1 << 20 }
      ) { node in
        // Nothing is kept of the answer to a request that has none behind it.
        let client = try node.connect()
        try client.send(Self.pair("adverb"))
        let refused = try await client.answer()
        #expect(refused.status == 503 && refused["retry-after"] == "1", "\(refused.text)")
        #expect(refused.text.contains("too many large answers"))
        size.withLock { $0 = 800_000 }
        try await #expect(node.ask("GET", "/kv/adverb").body.count == 800_000)
      }
    }
  }

  @Test("counts in the bound on bodies until it is answered", arguments: ConfiguredLane.allCases)
  func bodyCharges(lane: ConfiguredLane) async throws {
    let (asked, isAsked) = AsyncStream<Void>.makeStream()
    let (released, release) = AsyncStream<Void>.makeStream()
    let isHeld = Mutex(true)
    try await FakeMember.with({ request in
      if isHeld.withLock({ $0 }) {
        isAsked.yield()
        for await _ in released { break }
      }
      return FakeMember.Answer(body: "\(request.body.utf8.count)")
    }) { member in
      try await TwoShards.with(lane, leader: member.address, { $0.limits.bodyBytesMax = 100_000 }) {
        node in
        let value = String(repeating: "v", count: 60_000)
        let first = try node.connect()
        try first.send("PUT", "/kv/adverb", body: value)
        for await _ in asked { break }
        isHeld.withLock { $0 = false }
        let refused = try await node.ask("PUT", "/kv/watermelon", body: value)
        #expect(refused.status == 503 && refused["retry-after"] == "1", "\(refused.text)")
        // What fits is taken beside it.
        let small = try await node.ask("GET", "/kv/watermelon")
        #expect(small.status == 200, "\(small.text)")
        release.yield()
        try await #expect(first.answer().text == "60000")
        try await #expect(node.ask("PUT", "/kv/watermelon", body: value).text == "60000")
      }
    }
  }

  @Test(
    "is answered whole however slowly a large answer comes, which counts from its first bytes on")
  func growingAnswer() async throws {
    let (pieces, piece) = AsyncStream<String>.makeStream()
    let value = String(repeating: "v", count: 3_000_000)
    try await RawPeer.with({ _, head in
      if !head.hasPrefix("GET /kv/") { return .bytes(Self.notThere) }
      return head.contains("adverb") ? .pieces(pieces) : .bytes(Self.answer(value))
    }) { peer in
      try await TwoShards.with(
        .fast, leader: peer.address,
        {
          $0.limits.answersBytesMax = 4 << 20
          // What comes meanwhile has another connection.
          $0.limits.relayStallMilliseconds = 0
        }
      ) { node in
        let first = try node.connect()
        try first.send(Self.pair("adverb"))
        let bytes = Array(Self.answer(value).utf8)
        let half = bytes.count / 2
        piece.yield(String(decoding: bytes[..<half], as: UTF8.self))
        // There is room for one of them, of which half is there.
        let deadline = ContinuousClock.now + .seconds(60)
        while try await !node.ask("GET", "/metrics").text.contains("shiplog_answer_bytes 3000000\n")
        {
          try #require(ContinuousClock.now < deadline)
          try await Task.sleep(for: .milliseconds(2))
        }
        try await #expect(Self.status(node) == 503)
        for start in stride(from: half, to: bytes.count, by: 100_000) {
          let part = bytes[start..<min(start + 100_000, bytes.count)]
          piece.yield(String(decoding: part, as: UTF8.self))
        }
        piece.finish()
        try await #expect(first.answer().text == value)
        // It counts until the system has taken all of it.
        var last = 503
        for _ in 0..<1_000 where last == 503 {
          last = try await Self.status(node)
          if last == 503 { try await Task.sleep(for: .milliseconds(5)) }
        }
        #expect(last == 200)
      }
    }
  }

  @Test("is given time for a large answer, also behind another one that was taken")
  func slowClient() async throws {
    let value = String(repeating: "v", count: 24 << 20)
    try await FakeMember.with({ _ in FakeMember.Answer(body: value) }) { member in
      try await TwoShards.with(.fast, leader: member.address, { $0.limits.idleSeconds = 1 }) {
        node in
        let client = try node.connect()
        try client.send("GET", "/kv/adverb")
        try client.send("GET", "/kv/watermelon")
        try await #expect(client.answer().body.count == value.utf8.count)
        // Far longer than a connection may be idle; the second answer does not fit into the sockets.
        try await Task.sleep(for: .milliseconds(3_500))
        try await #expect(client.answer().body.count == value.utf8.count)
      }
    }
  }

  @Test(
    "and is tried again overtakes nothing: what is behind a lost write is refused, or done later")
  func orderOfRetries() async throws {
    for count in [1, 2, 5] {
      let hint = Mutex("")
      try await FakeMember.with({ request in
        request.head.uri == "/status"
          ? TwoShards.status("replica")
          : FakeMember.Answer(
            status: 403, headers: [("X-KV-Leader", hint.withLock { $0 })], body: "no")
      }) { former in
        try await FakeMember.with({ request in
          request.head.uri == "/status"
            ? TwoShards.status("leader", epoch: 2) : FakeMember.Answer(body: request.body)
        }) { leader in
          hint.withLock { $0 = leader.address }
          try await TwoShards.with(
            .fast, leader: former.address, replicas: [leader.address]
          ) { node in
            let client = try node.connect()
            let values = (0..<count).map { "value-\($0)" }
            let requests = values.map {
              "PUT /kv/adverb HTTP/1.1\r\nHost: x\r\nContent-Length: \($0.utf8.count)\r\n\r\n\($0)"
            }
            try client.send(requests.joined())
            var done: [String] = []
            for value in values {
              let answer = try await client.answer()
              if answer.status == 200 {
                #expect(answer.text == value)
                done.append(value)
              } else {
                #expect(answer.status == 502 && answer.text.contains("nothing was done"))
              }
            }
            // In their order, and nothing that was refused.
            #expect(leader.requests.map(\.body) == done)
            if count == 1 { #expect(done == values) }
          }
        }
      }
    }
  }

  @Test("does not wait for a hand-over of this node's shard", arguments: ConfiguredLane.allCases)
  func handOver(lane: ConfiguredLane) async throws {
    let (asked, isAsked) = AsyncStream<Void>.makeStream()
    let (released, release) = AsyncStream<Void>.makeStream()
    try await FakeMember.with({ request in
      if request.head.uri.hasPrefix("/admin/promise") {
        return FakeMember.Answer(
          status: 409, body: #"{"error":"known","highest":"9-00000000000000aa"}"#)
      }
      guard request.head.uri.hasPrefix("/admin/promote") else {
        return FakeMember.Answer(status: 404)
      }
      isAsked.yield()
      for await _ in released { break }
      return FakeMember.Answer(status: 500, body: "no")
    }) { successor in
      try await FakeMember.with({ FakeMember.Answer(body: "their \($0.body)") }) { other in
        try await TwoShards.with(
          lane, leader: other.address,
          {
            $0.members = [
              Member(id: "node", address: "127.0.0.9:1"),
              Member(id: "b", address: successor.address),
            ]
          }
        ) { node in
          let written = try await node.ask("PUT", "/kv/adjective", body: "v")
          let version = try #require(written["x-kv-version"].flatMap { UInt64($0) })
          let stream = try await LogStreamClient(node, "from=1&replica=b")
          let last = try await stream.frames(through: version + 1).last!
          try await #expect(node.acknowledge(last.header.position, by: "b").status == 204)
          try await node.awaitStatus(#""state":"streaming""#)
          let order = try node.connect()
          try order.send("POST", "/admin/handover?to=b")
          for await _ in asked { break }
          // A write of its own waits; those for another shard, on the same connection even, do not.
          let own = try node.connect()
          try own.send("PUT", "/kv/adjective", body: "w")
          for _ in 0..<3 {
            try await #expect(node.ask("PUT", "/kv/adverb", body: "x").text == "their x")
          }
          try await #expect(node.ask("GET", "/kv/adjective").text == "v")
          release.yield()
          try await #expect(order.answer().status == 503)
          try await #expect(own.answer().status == 200)
        }
      }
    }
  }
}

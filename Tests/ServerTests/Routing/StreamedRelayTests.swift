import Glibc
import Server
import Synchronization
import Testing

/// Large bodies and answers go through a node piece by piece, on connections of their own.
@Suite("A large request that is handed on", .serialized) struct StreamedRelayTests {
  private static let goOn = "HTTP/1.1 100 Continue\r\n\r\n"
  private static let size = 1_000_000
  /// A body whose end `RawPeer` takes for that of a head.
  private static let body = String(repeating: "v", count: size - 4) + "\r\n\r\n"

  private static func answer(_ status: Int, _ fields: [String] = [], _ body: String = "") -> String
  {
    (["HTTP/1.1 \(status) X", "Content-Length: \(body.utf8.count)"] + fields)
      .joined(separator: "\r\n") + "\r\n\r\n" + body
  }

  private static func head(_ fields: [String] = []) -> String {
    (["PUT /kv/adverb?w=1 HTTP/1.1", "Host: x", "Content-Length: \(size)"] + fields)
      .joined(separator: "\r\n") + "\r\n\r\n"
  }

  private static func wait(_ isDone: () -> Bool) async throws {
    for _ in 0..<6_000 where !isDone() { try await Task.sleep(for: .milliseconds(5)) }
    #expect(isDone())
  }

  /// Says that it leads, wants bodies, and answers what comes behind them.
  private static func takesBody(_ number: Int, _ head: String) -> RawPeer.Reaction {
    if head.hasPrefix("GET /status") {
      return .bytes(answer(200, [], TwoShards.status("leader").body))
    }
    return .bytes(head.hasPrefix("PUT") ? goOn : answer(201, ["X-KV-Version: 7"]))
  }

  @Test("goes on as it comes, whatever the node has room for", arguments: ConfiguredLane.allCases)
  func body(lane: ConfiguredLane) async throws {
    let heads = Mutex<[String]>([])
    try await RawPeer.with({ number, head in
      if head.hasPrefix("PUT") { heads.withLock { $0.append(head) } }
      return Self.takesBody(number, head)
    }) { peer in
      try await TwoShards.with(lane, leader: peer.address, { $0.limits.bodyBytesMax = 2_000_000 }) {
        node in
        let clients = try (0..<4).map { _ in try node.connect() }
        let bytes = Array(Self.body.utf8)
        for client in clients {
          try client.send(Self.head(["X-Own: 1"]))
          try client.send(Array(bytes[..<600_000]))
        }
        // Nobody has sent the end of anything.
        try await Self.wait { peer.receivedBytes > 4 * 600_000 }
        for client in clients { try client.send(Array(bytes[600_000...])) }
        for client in clients {
          let answer = try await client.answer()
          #expect(answer.status == 201 && answer["x-kv-version"] == "7")
          #expect(answer["x-kv-forwarded-by"] != nil)
          // The connection is kept.
          try await #expect(client.ask("GET", "/kv/adjective").status == 404)
        }
      }
    }
    let head = try #require(heads.withLock { $0.first })
    #expect(heads.withLock { $0.count } == 4)
    #expect(head.hasPrefix("PUT /kv/adverb?w=1 HTTP/1.1\r\n"))
    for field in ["X-Own: 1", "Content-Length: \(Self.size)", "Expect: 100-continue"] {
      #expect(head.contains("\r\n\(field)"), "\(head)")
    }
    #expect(head.contains("X-KV-Forwarded-By") && head.contains("X-KV-Shards"))
  }

  @Test("asks its client for the body once its node does", arguments: ConfiguredLane.allCases)
  func expectation(lane: ConfiguredLane) async throws {
    try await RawPeer.with(Self.takesBody) { peer in
      try await TwoShards.with(lane, leader: peer.address) { node in
        let client = try node.connect()
        try client.send(Self.head(["Expect: 100-continue"]))
        try await #expect(client.head().status == 100)
        try client.send(Self.body)
        try await #expect(client.answer().status == 201)
      }
    }
  }

  @Test(
    "goes to whoever leads, whole, where the first one does not want it",
    arguments: ConfiguredLane.allCases, ["refuses", "closes", "is gone", "says nothing"])
  func otherLeader(lane: ConfiguredLane, former: String) async throws {
    let hint = Mutex("")
    try await RawPeer.with({ _, head in
      guard head.hasPrefix("PUT") else {
        return former == "says nothing"
          ? .silence : .bytes(Self.answer(200, [], TwoShards.status("replica").body))
      }
      return switch former {
      case "refuses": .bytes(Self.answer(403, ["X-KV-Leader: \(hint.withLock { $0 })"]))
      case "closes": .close
      default: .silence
      }
    }) { old in
      try await FakeMember.with({ request in
        request.head.uri == "/status"
          ? TwoShards.status("leader", epoch: 2)
          : FakeMember.Answer(body: "\(request.body.utf8.count)")
      }) { leader in
        hint.withLock { $0 = leader.address }
        try await TwoShards.with(
          lane, leader: former == "is gone" ? TwoShards.nobody : old.address,
          replicas: [leader.address],
          {
            $0.limits.leaderSearchMilliseconds = 500
            $0.limits.silenceMilliseconds = 200
          }
        ) { node in
          let client = try node.connect()
          try client.send(Self.head())
          try client.send(Self.body)
          let answer = try await client.answer()
          #expect(answer.status == 200 && answer.text == "\(Self.size)", "\(answer.text)")
          #expect(leader.requests.last?.body == Self.body)
        }
      }
    }
  }

  @Test(
    "in chunks goes on in chunks, whole, also where its client has ended before the leader is found",
    arguments: ConfiguredLane.allCases)
  func halfClosed(lane: ConfiguredLane) async throws {
    let isAsked = Mutex(false)
    try await FakeMember.with({ request in
      guard request.head.uri == "/status" else { return FakeMember.Answer(body: "taken") }
      isAsked.withLock { $0 = true }
      // The search takes longer than the client.
      try? await Task.sleep(for: .milliseconds(300))
      return TwoShards.status("leader", epoch: 2)
    }) { leader in
      try await TwoShards.with(lane, leader: TwoShards.nobody, replicas: [leader.address]) { node in
        let client = try node.connect()
        let bytes = Array(Self.body.utf8)
        try client.send("PUT /kv/adverb HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in stride(from: 0, to: bytes.count, by: 100_000) {
          try client.send("186a0\r\n")
          try client.send(Array(bytes[start..<start + 100_000]))
          try client.send("\r\n")
          if start == 600_000 { try await Self.wait { isAsked.withLock { $0 } } }
        }
        try client.send("0\r\n\r\n")
        client.endOutput()
        try await #expect(client.answer().text == "taken")
        let taken = try #require(leader.requests.last)
        #expect(taken.body == Self.body && taken.head.headers["Transfer-Encoding"] == ["chunked"])
      }
    }
  }

  @Test("beside too many others is kept until it is whole", arguments: ConfiguredLane.allCases)
  func tooMany(lane: ConfiguredLane) async throws {
    try await FakeMember.with({ FakeMember.Answer(body: $0.body) }) { member in
      try await TwoShards.with(lane, leader: member.address, { $0.limits.streamedRelaysMax = 0 }) {
        node in
        let client = try node.connect()
        try client.send(Self.head())
        try client.send(Self.body)
        let written = try await client.answer()
        #expect(written.text == Self.body)
        #expect(member.requests.last?.head.headers["Expect"] == [])
      }
    }
    try await FakeMember.with({ _ in FakeMember.Answer(body: Self.body) }) { member in
      try await TwoShards.with(
        .standard, leader: member.address, { $0.limits.streamedRelaysMax = 0 }
      ) { node in
        try await #expect(node.ask("GET", "/kv/adverb").status == 503)
      }
    }
  }

  @Test(
    "that is lost is said to be: nothing done before the end of its body, unknown behind it",
    arguments: ConfiguredLane.allCases)
  func lost(lane: ConfiguredLane) async throws {
    try await RawPeer.with({ _, head in
      if head.hasPrefix("PUT") { return .bytes(Self.goOn) }
      return head.hasPrefix("GET") ? .bytes(Self.answer(404)) : .close
    }) { peer in
      try await TwoShards.with(lane, leader: peer.address) { node in
        let early = try node.connect()
        try early.send(Self.head())
        try early.send("stop\r\n\r\n")
        let nothing = try await early.answer()
        #expect(
          nothing.status == 502 && nothing.text.contains("nothing was done"), "\(nothing.text)")
        try await #expect(early.isEnded())
        let late = try node.connect()
        try late.send(Self.head())
        try late.send(String(repeating: "v", count: Self.size - 8) + "stop\r\n\r\n")
        let unknown = try await late.answer()
        #expect(
          unknown.status == 502 && unknown.text.contains("outcome unknown"), "\(unknown.text)")
      }
    }
  }

  @Test(
    "is refused early where its node does so, and is not the next request",
    arguments: ConfiguredLane.allCases)
  func refused(lane: ConfiguredLane) async throws {
    try await RawPeer.with({ _, head in
      head.hasPrefix("PUT")
        ? .bytes(Self.answer(503, ["Retry-After: 1"], "full")) : .bytes(Self.answer(404))
    }) { peer in
      try await TwoShards.with(lane, leader: peer.address) { node in
        let client = try node.connect()
        try client.send(Self.head())
        try client.send(String(Self.body.prefix(100_000)))
        let answer = try await client.answer()
        #expect(answer.status == 503 && answer.text == "full" && answer["retry-after"] == "1")
        #expect(answer["connection"] == "close")
        try await #expect(client.isEnded())
      }
    }
  }

  @Test(
    "in chunks ends above the bound, and with its client", arguments: ConfiguredLane.allCases)
  func ends(lane: ConfiguredLane) async throws {
    try await RawPeer.with(Self.takesBody) { peer in
      try await TwoShards.with(
        lane, leader: peer.address,
        {
          $0.limits.valueBytesMax = 1_000_000
          $0.limits.bodySeconds = 1
        }
      ) { node in
        let head = "PUT /kv/adverb HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        let chunk = "927c0\r\n" + String(repeating: "v", count: 600_000) + "\r\n"
        let client = try node.connect()
        try client.send(head + chunk + chunk)
        try await #expect(client.answer().status == 413)
        try await Self.wait { peer.openConnections == 0 }
        // One that is cut off.
        let cut = try node.connect()
        try cut.send(head + chunk)
        try await Self.wait { peer.openConnections == 1 }
        cut.endOutput()
        try await Self.wait { peer.openConnections == 0 }
        // One that stops.
        let slow = try node.connect()
        try slow.send(head + chunk)
        try await #expect(slow.answer().status == 408)
        try await Self.wait { peer.openConnections == 0 }
      }
    }
  }

  @Test("has its answer as it comes", arguments: ConfiguredLane.allCases)
  func answer(lane: ConfiguredLane) async throws {
    let (pieces, piece) = AsyncStream<String>.makeStream()
    let value = String(repeating: "v", count: 3_000_000)
    let count = Mutex(0)
    try await RawPeer.with({ _, head in
      if !head.hasPrefix("GET /kv/") { return .bytes(Self.answer(404)) }
      // The first ones are given up for one that has a connection of its own.
      let number = count.withLock { count in
        count += 1
        return count
      }
      let bytes = Self.answer(200, ["X-Their: z"], value)
      return number < (lane == .fast ? 3 : 2)
        ? .bytes(String(bytes.prefix(70_000))) : .pieces(pieces)
    }) { peer in
      try await TwoShards.with(
        lane, leader: peer.address, { $0.limits.answersBytesMax = 1 << 20 }
      ) { node in
        let client = try node.connect()
        try client.send("GET", "/kv/adverb")
        let bytes = Array(Self.answer(200, ["X-Their: z"], value).utf8)
        piece.yield(String(decoding: bytes[..<1_000_000], as: UTF8.self))
        let head = try await client.head()
        #expect(head.status == 200 && head["content-length"] == "3000000" && head["x-their"] == "z")
        #expect(head["x-kv-forwarded-by"] != nil)
        let first = try await client.bytes(900_000)
        piece.yield(String(decoding: bytes[1_000_000...], as: UTF8.self))
        try await #expect(client.bytes(value.utf8.count - first.count).count == 2_100_000)
        try await #expect(client.ask("GET", "/kv/adjective").status == 404)
      }
    }
    piece.finish()
  }

  @Test(
    "has no more of its answer on the way than the connections hold, and ends with either of them",
    arguments: ConfiguredLane.allCases)
  func slowReader(lane: ConfiguredLane) async throws {
    let streams = Mutex<[AsyncStream<String>.Continuation]>([])
    let size = 200 << 20
    let part = String(repeating: "v", count: 1 << 20)
    try await RawPeer.with({ _, head in
      if !head.hasPrefix("GET /kv/") { return .bytes(Self.answer(404)) }
      let (pieces, piece) = AsyncStream<String>.makeStream()
      streams.withLock { $0.append(piece) }
      piece.yield("HTTP/1.1 200 OK\r\nContent-Length: \(size)\r\n\r\n")
      for _ in 0..<64 { piece.yield(part) }
      return .pieces(pieces)
    }) { peer in
      try await TwoShards.with(lane, leader: peer.address) { node in
        do {
          let client = try node.connect()
          try client.send("GET", "/kv/adverb")
          try await #expect(client.head().status == 200)
          try await Task.sleep(for: .milliseconds(500))
          // What the sockets of three connections take, one of which was given up; 64 MiB and more were there.
          let sent = peer.sentBytes
          #expect(sent < 48 << 20, "\(sent)")
          try await #expect(client.bytes(32 << 20).count == 32 << 20)
        }
        // The client is gone.
        try await Self.wait { peer.openConnections == 0 }
      }
      try await TwoShards.with(lane, leader: peer.address) { node in
        let client = try node.connect()
        try client.send("GET", "/kv/adverb")
        try await #expect(client.head().status == 200)
        try await Self.wait { peer.openConnections == 1 }
        try await #expect(client.bytes(1 << 20).count == 1 << 20)
      }
    }
    for stream in streams.withLock({ $0 }) { stream.finish() }
  }
}

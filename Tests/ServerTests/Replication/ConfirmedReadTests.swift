import Server
import Testing
import WAL

@Suite("What a failover could take back") struct ConfirmedReadTests {
  /// A node whose writes are confirmed by two of three, and a follower that acknowledges what it is told to.
  private static func with(
    _ lane: ConfiguredLane = .fast, _ configure: @escaping (inout Configuration) -> Void = { _ in },
    _ body: (RunningNode, LogStreamClient) async throws -> Void
  ) async throws {
    try await RunningNode.with(
      lane,
      {
        $0.members = ["node", "b", "c"].map { Member(id: $0, address: "127.0.0.1:1") }
        $0.writeQuorum = 2
        configure(&$0)
      }
    ) { node in
      try await body(node, try await LogStreamClient(node, "from=1&replica=b"))
    }
  }

  /// Acknowledges everything up to that number.
  private static func acknowledge(
    _ answer: ClientAnswer, _ stream: LogStreamClient, _ node: RunningNode
  ) async throws {
    let version = try #require(answer["x-kv-version"].flatMap { UInt64($0) })
    while let frame = try await stream.frame() {
      guard frame.header.lastSequence >= version else { continue }
      try await #expect(node.acknowledge(frame.header.position, by: "b").status == 204)
      return
    }
    Issue.record("the stream has ended")
  }

  private static let reads = [
    "/kv/k", "/get?key=k", "/get/k", "/kv?key=k", "/kv?prefix=k",
  ]

  @Test("is not told before it is confirmed, by any route", arguments: ConfiguredLane.allCases)
  func values(lane: ConfiguredLane) async throws {
    try await Self.with(lane) { node, stream in
      let written = try await node.ask("PUT", "/kv/k?w=1", body: "v")
      #expect(written.status == 201)
      try await #expect(node.ask("GET", "/local_read/k").status == 200)
      for read in Self.reads {
        let more = read.contains("?") ? "&timeout_ms=1" : "?timeout_ms=1"
        let answer = try await node.ask("GET", read + more)
        #expect(answer.status == 503 && answer["retry-after"] == "1", "\(read)")
        #expect(
          answer.text.contains("not confirmed by 2 members")
            || read.contains("prefix") && answer.text.contains("put in order"), "\(read)")
      }
      let clients = try Self.reads.map { read in
        let client = try node.connect()
        try client.send("GET", read)
        return client
      }
      let head = try node.connect()
      try head.send("HEAD", "/kv/k")
      // They have come once another request on the same loop is answered.
      try await #expect(node.ask("GET", "/health").text == "ok")
      try await Self.acknowledge(written, stream, node)
      for client in clients {
        let answer = try await client.answer()
        #expect(answer.status == 200 && answer.text.contains("v"), "\(answer.text)")
        try await #expect(client.ask("GET", "/kv/k").text == "v")
      }
      let answer = try await head.answer(toHead: true)
      #expect(answer.status == 200 && answer["content-length"] == "1")
    }
  }

  @Test(
    "is what was read when the request came, not what came behind it",
    arguments: ConfiguredLane.allCases)
  func moment(lane: ConfiguredLane) async throws {
    try await Self.with(lane) { node, stream in
      let first = try await node.ask("PUT", "/kv/k?w=1", body: "first")
      let client = try node.connect()
      // All in one: the answers keep their order.
      try client.send(
        "GET /kv/k HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n")
      try await #expect(node.ask("GET", "/health").text == "ok")
      _ = try await node.ask("PUT", "/kv/k?w=1", body: "second")
      try await Self.acknowledge(first, stream, node)
      try await #expect(client.answer().text == "first")
      try await #expect(client.answer().text == "ok")
    }
  }

  @Test("is also that a key is gone, and a condition", arguments: ConfiguredLane.allCases)
  func absence(lane: ConfiguredLane) async throws {
    try await Self.with(lane) { node, stream in
      let written = try await node.ask("PUT", "/kv/k?w=1", body: "v")
      try await Self.acknowledge(written, stream, node)
      let tag = try #require(written["etag"])
      let deleted = try await node.ask("DELETE", "/kv/k?w=1")
      #expect(deleted.status == 204)
      for read in ["/kv/k?timeout_ms=1", "/get/k?timeout_ms=1", "/get?key=k&timeout_ms=1"] {
        try await #expect(node.ask("GET", read).status == 503, "\(read)")
      }
      // Judged by what may come back.
      let conditional = try await node.ask(
        "PUT", "/kv/k?w=2&timeout_ms=1", ["If-Match: \(tag)"], body: "w")
      #expect(conditional.status == 503, "\(conditional.text)")
      let client = try node.connect()
      try client.send("GET", "/kv/k")
      try await #expect(node.ask("GET", "/health").text == "ok")
      try await Self.acknowledge(deleted, stream, node)
      try await #expect(client.answer().status == 404)
      try await #expect(node.ask("GET", "/kv/k").status == 404)
    }
  }

  @Test("is told at once where the node is told to", arguments: ConfiguredLane.allCases)
  func unconfirmed(lane: ConfiguredLane) async throws {
    try await Self.with(lane, { $0.showsUnconfirmed = true }) { node, _ in
      try await #expect(node.ask("PUT", "/kv/k?w=1", body: "v").status == 201)
      for read in Self.reads { try await #expect(node.ask("GET", read).status == 200, "\(read)") }
    }
  }

  @Test("is no change for those who watch")
  func watch() async throws {
    try await Self.with { node, stream in
      let written = try await node.ask("PUT", "/kv/k?w=1", body: "first")
      let watcher = try await WatchClient(node, "?from=1&prefix=k")
      _ = try await node.ask("PUT", "/kv/k?w=1", body: "second")
      try await Self.acknowledge(written, stream, node)
      let line = try await watcher.line()
      #expect(line?.contains(#""value":"first""#) == true, "\(line ?? "none")")
      let third = try await node.ask("PUT", "/kv/k?w=1", body: "third")
      try await Self.acknowledge(third, stream, node)
      let lines = try await watcher.lines(2)
      #expect(lines.map { $0.contains("second") || $0.contains("third") } == [true, true])
    }
  }

  @Test("is not said to be confirmed by the marks of a node that has started")
  func marks() async throws {
    let first = try await RunningNode.start(.fast) {
      $0.members = ["node", "b"].map { Member(id: $0, address: "127.0.0.1:1") }
      $0.writeQuorum = 2
    }
    let written = try await first.ask("PUT", "/kv/k?w=1", body: "v")
    let version = try #require(written["x-kv-version"].flatMap { UInt64($0) })
    try await first.stop()
    let second = try await first.reopened()
    let stream = try await LogStreamClient(second, "from=1&replica=b")
    // The mark of the stop, and whatever a start writes.
    for frame in try await stream.frames(through: version + 1) {
      #expect(frame.header.confirmedSequence < version, "\(frame.header)")
    }
    try await second.stop()
  }

  @Test("is known over a restart, as far as the log says it")
  func restart() async throws {
    let first = try await RunningNode.start(.fast) {
      $0.members = ["node", "b"].map { Member(id: $0, address: "127.0.0.1:1") }
      $0.writeQuorum = 2
    }
    let stream = try await LogStreamClient(first, "from=1&replica=b")
    let written = try await first.ask("PUT", "/kv/k?w=1", body: "v")
    try await Self.acknowledge(written, stream, first)
    // This one says so of the one before it, and is not confirmed itself.
    try await #expect(first.ask("PUT", "/kv/l?w=1", body: "v").status == 201)
    try await first.stop()
    let second = try await first.reopened()
    try await #expect(second.ask("GET", "/kv/k?timeout_ms=1").text == "v")
    try await #expect(second.ask("GET", "/kv/l?timeout_ms=1").status == 503)
    try await second.stop()
  }

  @Test("is in no snapshot, and whoever asks for one is told why")
  func snapshot() async throws {
    try await Self.with { node, stream in
      let written = try await node.ask("PUT", "/kv/k?w=1", body: "v")
      let version = try #require(written["x-kv-version"].flatMap { UInt64($0) })
      let refused = try await node.ask("POST", "/admin/snapshot")
      #expect(refused.status == 503 && refused.text.contains("no snapshot: the log goes up to "))
      #expect(refused.text.contains("a write quorum has confirmed it up to "))
      // The mark of a quiet log is in it as well by now.
      let end = try #require(
        try await node.ask("GET", "/status").text.firstMatch(of: /"appended":(\d+)/)
          .flatMap { UInt64($0.1) })
      #expect(end > version)
      let last = try await stream.frames(through: end).last!
      try await #expect(node.acknowledge(last.header.position, by: "b").status == 204)
      let made = try await node.ask("POST", "/admin/snapshot")
      #expect(made.status == 200 && made.text.contains("\"sequence\":\(end),"), "\(made.text)")
    }
  }

  @Test("is answered when the node stops")
  func stop() async throws {
    for lane in ConfiguredLane.allCases {
      let node = try await RunningNode.start(lane) {
        $0.members = ["node", "b"].map { Member(id: $0, address: "127.0.0.1:1") }
        $0.writeQuorum = 2
      }
      try await #expect(node.ask("PUT", "/kv/k?w=1", body: "v").status == 201)
      let client = try node.connect()
      try client.send("GET", "/kv/k")
      try await #expect(node.ask("GET", "/health").text == "ok")
      async let stopping: Void = node.stop()
      try await #expect(client.answer().status == 503)
      try await stopping
    }
  }
}

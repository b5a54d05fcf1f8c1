import Server
import Testing
import WAL

@Suite("A write that other members are to have") struct QuorumWriteTests {
  private static func with(
    _ lane: ConfiguredLane = .fast, members: [String] = ["node", "b", "c"],
    _ configure: @escaping (inout Configuration) -> Void = { _ in },
    _ body: (RunningNode) async throws -> Void
  ) async throws {
    try await RunningNode.with(
      lane,
      {
        $0.members = members.map { Member(id: $0, address: "127.0.0.1:1") }
        configure(&$0)
      }, body)
  }

  /// A member that follows, and acknowledges what it is told to.
  private final class Follower {
    let id: String
    let node: RunningNode
    let stream: LogStreamClient

    init(_ id: String, of node: RunningNode) async throws {
      self.id = id
      self.node = node
      stream = try await LogStreamClient(node, "from=1&replica=\(id)")
    }

    func awaitStreaming() async throws {
      let deadline = ContinuousClock.now + .seconds(10)
      while true {
        let text = try await node.ask("GET", "/metrics").text
        if text.contains(#"shiplog_replica_state{replica="\#(id)",state="streaming"} 1"#) { return }
        try #require(ContinuousClock.now < deadline)
      }
    }

    /// Takes frames until there is one that holds the key, and acknowledges that.
    func acknowledge(_ key: String) async throws {
      while let frame = try await stream.frame() {
        guard frame.bytes.firstRange(of: Array(key.utf8)) != nil else { continue }
        try await #expect(node.acknowledge(frame.header.position, by: id).status == 204)
        return
      }
      Issue.record("the stream has ended")
    }
  }

  private static let writes: [(method: String, target: String, body: String, status: Int)] = [
    ("PUT", "/kv/KEY?", "v", 201), ("GET", "/set?key=KEY&value=v&", "", 200),
    ("POST", "/set?", #"{"key":"KEY","value":"v"}"#, 201),
    ("POST", "/batch?", #"{"op":"put","key":"KEY","value":"v"}"#, 200),
    ("DELETE", "/kv/KEY?", "", 204), ("GET", "/delete?key=KEY&", "", 200),
  ]

  @Test(
    "is answered when they have acknowledged it, by every route", arguments: ConfiguredLane.allCases
  )
  func routes(lane: ConfiguredLane) async throws {
    try await Self.with(lane) { node in
      let b = try await Follower("b", of: node)
      try await b.awaitStreaming()
      for (number, write) in Self.writes.enumerated() {
        let key = "the-key-\(number)"
        if write.status == 204 || write.target.hasPrefix("/delete") {
          try await #expect(node.ask("PUT", "/kv/\(key)", body: "v").status == 201)
          try await b.acknowledge(key)
        }
        let client = try node.connect()
        try client.send(
          write.method, write.target.replacing("KEY", with: key) + "w=2&timeout_ms=600000",
          body: write.body.replacing("KEY", with: key))
        try await b.acknowledge(key)
        let answer = try await client.answer()
        #expect(answer.status == write.status, "\(write.target)")
        if write.status != 204 { #expect(answer["x-kv-version"] != nil) }
        // The connection goes on.
        try await #expect(client.ask("GET", "/health").status == 200)
      }
    }
  }

  @Test("waits for as many as it says, and counts only members")
  func three() async throws {
    try await Self.with { node in
      let b = try await Follower("b", of: node)
      let c = try await Follower("c", of: node)
      let guest = try await Follower("guest", of: node)
      for follower in [b, c, guest] { try await follower.awaitStreaming() }
      let client = try node.connect()
      try client.send("PUT", "/kv/first-key?w=3&timeout_ms=600000", body: "v")
      try await b.acknowledge("first-key")
      try await guest.acknowledge("first-key")
      // Readable, and not answered: somebody else is, meanwhile.
      try await #expect(node.ask("GET", "/kv/first-key").status == 200)
      try await c.acknowledge("first-key")
      try await #expect(client.answer().status == 201)
      // Two of three, whichever they are.
      try client.send("PUT", "/kv/second-key?w=2&timeout_ms=600000", body: "v")
      try await guest.acknowledge("second-key")
      try await c.acknowledge("second-key")
      try await #expect(client.answer().status == 201)
    }
  }

  @Test("that comes after its time is over is answered with what is known, and stays")
  func timeout() async throws {
    try await Self.with { node in
      let b = try await Follower("b", of: node)
      let c = try await Follower("c", of: node)
      for follower in [b, c] { try await follower.awaitStreaming() }
      let client = try node.connect()
      let answer = try await client.ask("GET", "/set?key=some-key&value=v&w=3&timeout_ms=20")
      let version = try #require(answer["x-kv-version"])
      #expect(answer.status == 504 && answer["content-type"] == "application/json")
      #expect(
        answer.text == #"{"error":"written here at version \#(version), confirmed by 1 of 3","#
          + #""version":\#(version),"confirmed":1,"wanted":3}"#)
      try await #expect(client.ask("GET", "/kv/some-key").text == "v")
    }
  }

  @Test("is refused, with nothing written, where too few members stream")
  func tooFew() async throws {
    try await Self.with { node in
      for write in Self.writes {
        let target = write.target.replacing("KEY", with: "k") + "w=2"
        let answer = try await node.ask(write.method, target, body: write.body)
        #expect(answer.status == 503 && answer["retry-after"] == "1", "\(write.target)")
        #expect(answer.text.contains("nothing was written"))
      }
      try await #expect(node.ask("GET", "/purge?w=2").status == 503)
      // A guest is no member, and one that was there is not there any more.
      var guest: Follower? = try await Follower("guest", of: node)
      try await guest?.awaitStreaming()
      try await #expect(node.ask("PUT", "/kv/k?w=2", body: "v").status == 503)
      guest = nil
      var b: Follower? = try await Follower("b", of: node)
      try await b?.awaitStreaming()
      try await #expect(node.ask("PUT", "/kv/k?w=3", body: "v").status == 503)
      b = nil
      while try await node.ask("PUT", "/kv/l?w=2&timeout_ms=1", body: "v").status != 503 {}
      try await #expect(node.ask("GET", "/kv/k").status == 404)
      try await #expect(node.ask("PUT", "/kv/k?w=1", body: "v").status == 201)
    }
  }

  @Test("is no request where there can never be so many members")
  func never() async throws {
    try await Self.with { node in
      for w in ["0", "4", "x", "", "-1"] {
        for write in Self.writes {
          let target = write.target.replacing("KEY", with: "k") + "w=\(w)"
          try await #expect(
            node.ask(write.method, target, body: write.body).status == 400, "\(target)")
        }
        try await #expect(node.ask("GET", "/purge?w=\(w)").status == 400)
      }
    }
    try await Self.with(members: []) { node in
      try await #expect(node.ask("PUT", "/kv/k?w=1", body: "v").status == 201)
      try await #expect(node.ask("PUT", "/kv/k?w=2", body: "v").status == 400)
    }
  }

  @Test("waits for nobody where nothing was written")
  func nothingWritten() async throws {
    try await Self.with { node in
      let b = try await Follower("b", of: node)
      try await b.awaitStreaming()
      let client = try node.connect()
      let more = "?w=2&timeout_ms=600000"
      try await #expect(client.ask("DELETE", "/kv/absent" + more).status == 404)
      try await #expect(
        client.ask("PUT", "/kv/absent" + more, ["If-Match: *"], body: "v").status == 412)
    }
  }

  @Test(
    "waits where the node is told to by default, in either lane", arguments: ConfiguredLane.allCases
  )
  func byDefault(lane: ConfiguredLane) async throws {
    try await Self.with(lane, { $0.writeQuorum = 2 }) { node in
      // As they are, without an option: the frequent ones among them are the fast lane's otherwise.
      for write in Self.writes {
        let target = String(write.target.replacing("KEY", with: "k").dropLast())
        try await #expect(
          node.ask(write.method, target, body: write.body).status == 503, "\(target)")
      }
      let b = try await Follower("b", of: node)
      try await b.awaitStreaming()
      let client = try node.connect()
      for (number, write) in Self.writes.enumerated() where write.status != 204 {
        let key = "the-key-\(number)"
        if write.target.hasPrefix("/delete") { continue }
        try client.send(
          write.method, write.target.replacing("KEY", with: key) + "timeout_ms=600000",
          body: write.body.replacing("KEY", with: key))
        try await b.acknowledge(key)
        try await #expect(client.answer().status == write.status, "\(write.target)")
      }
      try await #expect(client.ask("PUT", "/kv/alone?w=1", body: "v").status == 201)
    }
  }

  @Test("is answered with what is known when the node stops, and its client gone does no harm")
  func stop() async throws {
    let node = try await RunningNode.start(.fast) {
      $0.members = ["node", "b", "c"].map { Member(id: $0, address: "127.0.0.1:1") }
    }
    let b = try await Follower("b", of: node)
    let c = try await Follower("c", of: node)
    for follower in [b, c] { try await follower.awaitStreaming() }
    let client = try node.connect()
    try client.send("PUT", "/kv/the-key?w=3&timeout_ms=600000", body: "v")
    var gone: ClientConnection? = try node.connect()
    try gone?.send("PUT", "/kv/gone-key?w=2&timeout_ms=600000", body: "v")
    try await b.acknowledge("the-key")
    while try await node.ask("GET", "/kv/gone-key").status != 200 {}
    gone = nil
    async let stopping: Void = node.stop()
    let answer = try await client.answer()
    #expect(answer.status == 504 && answer.text.hasSuffix(#""confirmed":2,"wanted":3}"#))
    try await stopping
  }
}

extension [UInt8] {
  fileprivate func firstRange(of part: [UInt8]) -> Int? {
    guard count >= part.count else { return nil }
    return (0...count - part.count).first { self[$0..<$0 + part.count].elementsEqual(part) }
  }
}

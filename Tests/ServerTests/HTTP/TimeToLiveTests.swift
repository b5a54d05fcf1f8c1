import LanePair
import Server
import TemporaryFiles
import Testing

/// `ttl` over HTTP, by a clock that the tests move.
@Suite struct TimeToLiveTests {
  private static func request(
    _ line: String, _ headers: [String] = [], body: String = ""
  ) -> String {
    var lines = ["\(line) HTTP/1.1", "Host: x"] + headers
    if !body.isEmpty { lines.append("Content-Length: \(body.utf8.count)") }
    return lines.joined(separator: "\r\n") + "\r\n\r\n" + body
  }

  /// Asks one thing on a connection of its own.
  private static func ask(
    _ node: DrivenNode, _ lane: ConfiguredLane, _ line: String, _ headers: [String] = [],
    body: String = ""
  ) throws -> (status: Int, text: String) {
    let text = try node.run(
      Exchange(Array(request(line, headers, body: body).utf8)), usesFastLane: lane == .fast
    ).text
    return (Int(text.dropFirst(9).prefix(3)) ?? 0, text)
  }

  private static func with(
    _ lane: ConfiguredLane,
    _ body: (_ ask: (String, [String], String) throws -> Int, DrivenNode) throws -> Void
  ) throws {
    let directory = TemporaryDirectory()
    let node = try DrivenNode(in: directory.path)
    try body({ try ask(node, lane, $0, $1, body: $2).status }, node)
    try node.close()
  }

  /// Every way of storing a value for two seconds.
  private static let writes: [(line: String, headers: [String], body: String)] = [
    ("PUT /kv/k?ttl=2", [], "v"),
    ("PUT /kv/k?w=1&ttl=2", [], "v"),
    ("GET /set?key=k&value=v&ttl=2", [], ""),
    ("POST /set?key=k&value=v&ttl=2", [], ""),
    ("PUT /set?ttl=2&key=k&value=v", [], ""),
    ("POST /set", ["Content-Type: application/x-www-form-urlencoded"], "key=k&value=v&ttl=2"),
    ("POST /set?ttl=2", ["Content-Type: application/x-www-form-urlencoded"], "key=k&value=v"),
    ("POST /set?ttl=2", [], #"{"key":"k","value":"v"}"#),
    ("POST /set", ["Content-Type: application/json"], #"{"key":"k","value":"v","ttl":2}"#),
    ("POST /batch", [], #"{"op":"put","key":"k","value":"v","ttl":2}"#),
    ("POST /batch?ttl=2", [], #"{"op":"put","key":"k","value":"v"}"#),
    ("POST /batch?ttl=900", [], #"{"op":"put","key":"k","value":"v","ttl":2}"#),
  ]

  private static let reads = [
    "GET /kv/k", "HEAD /kv/k", "GET /get/k", "GET /local_read/k", "GET /get?key=k",
    "GET /kv/k?x=1",
  ]

  @Test(arguments: ConfiguredLane.allCases)
  func aKeyIsThereUntilItsTimeAndThenAbsentHoweverItIsAskedFor(lane: ConfiguredLane) throws {
    try Self.with(lane) { ask, node in
      for write in Self.writes {
        try #expect([200, 201].contains(ask(write.line, write.headers, write.body)))
        node.advance(milliseconds: 1_999)
        for read in Self.reads { try #expect(ask(read, [], "") == 200, "\(read)") }
        node.advance(milliseconds: 1)
        // Nothing has been written since: the clock hides it.
        for read in Self.reads {
          try #expect(ask(read, [], "") == 404, "\(read) after \(write.line)")
        }
        let several = try Self.ask(node, lane, "GET /kv?key=k&key=l")
        #expect(several.text.contains(#"{"error":"key not found","key":"k"}"#))
      }
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func aLargeValueIsHiddenAsWell(lane: ConfiguredLane) throws {
    try Self.with(lane) { ask, node in
      let value = String(repeating: "v", count: 30_000)
      try #expect(ask("PUT /kv/k?ttl=1", [], value) == 201)
      try #expect(ask("GET /kv/k", [], "") == 200)
      node.advance(milliseconds: 1_000)
      let answer = try Self.ask(node, lane, "GET /kv/k")
      #expect(answer.status == 404 && !answer.text.contains("vvv"))
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func writesTakeWhatIsHiddenForAbsent(lane: ConfiguredLane) throws {
    try Self.with(lane) { ask, node in
      let any = ["If-Match: *"]
      let new = ["If-None-Match: *"]
      for write in ["PUT /kv/a?ttl=1", "PUT /kv/b?ttl=1", "PUT /kv/c?ttl=1", "PUT /kv/d?ttl=1"] {
        try #expect(ask(write, [], "v") == 201)
      }
      try #expect(ask("PUT /kv/a?ttl=1", new, "v") == 412)
      try #expect(ask("PUT /kv/a?ttl=1", [], "v") == 200)
      node.advance(milliseconds: 1_000)
      try #expect(ask("PUT /kv/a", any, "w") == 412)
      try #expect(ask("DELETE /kv/b", any, "") == 412)
      try #expect(ask("GET /kv/b", any, "") == 412)
      try #expect(ask("DELETE /kv/b", [], "") == 404)
      try #expect(ask("GET /delete?key=b", [], "") == 404)
      try #expect(ask("PUT /kv/a", new, "w") == 201)
      try #expect(ask("PUT /kv/c", [], "w") == 201)
      try #expect(ask("GET /kv/d", [], "") == 404)
      // Stored anew, and for ever.
      node.advance(milliseconds: 1 << 40)
      try #expect(ask("GET /kv/a", [], "") == 200)
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func aWriteWithoutATimeTakesItAway(lane: ConfiguredLane) throws {
    try Self.with(lane) { ask, node in
      try #expect(ask("PUT /kv/k?ttl=1", [], "v") == 201)
      try #expect(ask("PUT /kv/k", [], "v") == 200)
      node.advance(milliseconds: 5_000)
      try #expect(ask("GET /kv/k", [], "") == 200)
      try #expect(ask("PUT /kv/l?ttl=1", [], "v") == 201)
      try #expect(ask("PUT /kv/l?ttl=3155760000", [], "v") == 200)
      node.advance(milliseconds: 3_155_760_000_000 - 1)
      try #expect(ask("GET /kv/l", [], "") == 200)
      node.advance(milliseconds: 1)
      try #expect(ask("GET /kv/l", [], "") == 404)
    }
  }

  @Test(
    arguments: ConfiguredLane.allCases,
    [
      "", "0", "00", "-1", "1.5", "1.0", "1e3", "%201", "1%20", "+1", "x", "0x10", "3155760001",
      "18446744073709551616", "99999999999999999999999999",
    ])
  func whatIsNoTimeIsRefusedAndChangesNothing(lane: ConfiguredLane, text: String) throws {
    try Self.with(lane) { ask, node in
      let before = node.sequence
      let form = ["Content-Type: application/x-www-form-urlencoded"]
      for (line, headers, body) in [
        ("PUT /kv/k?ttl=\(text)", [], "v"),
        ("GET /set?key=k&value=v&ttl=\(text)", [], ""),
        ("POST /set", form, "key=k&value=v&ttl=\(text)"),
        ("POST /set?ttl=\(text)", [], #"{"key":"k","value":"v"}"#),
        ("POST /set", [], #"{"key":"k","value":"v","ttl":\#(text)}"#),
        ("POST /set", [], #"{"key":"k","value":"v","ttl":"\#(text)"}"#),
        ("POST /batch?ttl=\(text)", [], #"{"op":"put","key":"k","value":"v"}"#),
        ("POST /batch", [], #"{"op":"put","key":"k","value":"v","ttl":\#(text)}"#),
      ] as [(String, [String], String)] {
        try #expect(ask(line, headers, body) == 400, "\(line) \(body)")
      }
      try #expect(ask("GET /kv/k", [], "") == 404 && node.sequence == before)
    }
  }

  @Test(arguments: ConfiguredLane.allCases)
  func aTimeWhereThereCanBeNoneIsRefused(lane: ConfiguredLane) throws {
    try Self.with(lane) { ask, node in
      try #expect(ask("PUT /kv/k", [], "v") == 201)
      for (line, body) in [
        ("DELETE /kv/k?ttl=1", ""), ("GET /delete?key=k&ttl=1", ""),
        ("POST /batch", #"{"op":"delete","key":"k","ttl":1}"#),
        ("POST /set?ttl=1", #"{"key":"k","value":"v","ttl":1}"#),
        ("POST /set", #"{"key":"k","value":"v","ttl":null}"#),
        ("POST /set", #"{"key":"k","value":"v","ttl_base64":"MQ=="}"#),
      ] {
        try #expect(ask(line, [], body) == 400, "\(line) \(body)")
      }
      node.advance(milliseconds: 2_000)
      try #expect(ask("GET /kv/k", [], "") == 200)
    }
  }

  @Test func aClockNearItsEndLetsNothingOverflow() {
    let most = TimeToLive(Array("3155760000".utf8))
    #expect(most?.expiry(now: 0) == 3_155_760_000_000)
    #expect(most?.expiry(now: .max - 5) == .max)
    #expect(TimeToLive(nil) == .unbounded && TimeToLive.unbounded.expiry(now: 1) == nil)
  }

  @Test func aRefusalSaysWhatATimeIs() throws {
    try Self.with(.fast) { _, node in
      let answer = try Self.ask(node, .fast, "PUT /kv/k?ttl=0", body: "v")
      #expect(answer.text.contains(#"{"error":"\#(TimeToLive.rule)"}"#))
    }
  }
}

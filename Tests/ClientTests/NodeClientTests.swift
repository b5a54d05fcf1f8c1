import Client
import NIOCore
import NIOHTTP1
import Testing

@Suite("A client of one node", .timeLimit(.minutes(1)))
struct KVClientTests {
  private func withClient(
    _ script: @escaping ScriptedServer.Script,
    body: (ScriptedServer, NodeClient) async throws -> Void
  ) async throws {
    try await withServer(script) { server, pool in
      try await body(server, NodeClient(server.address, pool: pool, timeout: .seconds(10)))
    }
  }

  private let written = ["X-KV-Version: 7", "ETag: \"1-7\""]

  @Test("reads a value, its version and its ETag")
  func reads() async throws {
    let headers = written
    try await withClient({ _ in [.answer("Great", headers: headers)] }) { server, client in
      let entry = try #require(try await client.get(bytes("a/b")))
      #expect(String(decoding: entry.value, as: UTF8.self) == "Great")
      #expect(entry.version == 7)
      #expect(entry.etag == "\"1-7\"")
      #expect(server.arrivals.first?.text.hasPrefix("GET /kv/a%2Fb HTTP/1.1\r\n") == true)
    }
  }

  @Test("tells an empty value from none")
  func tellsEmptyFromAbsent() async throws {
    let headers = written
    let script: ScriptedServer.Script = {
      [
        $0.request == 0
          ? .answer(headers: headers) : .answer("key not found", status: "404 Not Found")
      ]
    }
    try await withClient(script) { _, client in
      let (empty, absent) = (try await client.get([0xFF]), try await client.get([0xFF]))
      #expect(empty?.value == [])
      #expect(absent == nil)
    }
  }

  @Test("writes, and says on which condition")
  func writes() async throws {
    let headers = written
    let script: ScriptedServer.Script = {
      [.answer(status: $0.request == 0 ? "201 Created" : "200 OK", headers: headers)]
    }
    try await withClient(script) { server, client in
      let conditions: [(KVCondition?, String)] = [
        (nil, ""), (.matches("\"1-7\""), "If-Match: \"1-7\"\r\n"),
        (.matchesNot("*"), "If-None-Match: *\r\n"),
      ]
      for (index, (condition, header)) in conditions.enumerated() {
        let version = try await client.put(bytes("k"), bytes("v"), if: condition)
        #expect(version == 7)
        #expect(
          server.arrivals[index].text
            == "PUT /kv/k HTTP/1.1\r\nHost: \(server.address)\r\n\(header)"
            + "Content-Length: 1\r\n\r\nv")
      }
    }
  }

  @Test("says that a condition did not hold")
  func saysWhenAConditionFails() async throws {
    let script: ScriptedServer.Script = { _ in [.answer("stale", status: "412 Precondition Failed")]
    }
    try await withClient(script) { server, client in
      await #expect(throws: KVClientError.refused(server.address, status: 412, message: "stale")) {
        try await client.put(bytes("k"), [], if: .matches("\"1-6\""))
      }
      await #expect(throws: KVClientError.refused(server.address, status: 412, message: "stale")) {
        try await client.delete(bytes("k"), if: .matches("\"1-6\""))
      }
    }
  }

  @Test("deletes, and says whether there was anything")
  func deletes() async throws {
    let script: ScriptedServer.Script = {
      [
        $0.request == 0
          ? .send("HTTP/1.1 204 No Content\r\n\r\n") : .answer(status: "404 Not Found")
      ]
    }
    try await withClient(script) { server, client in
      let deleted = [try await client.delete(bytes("k")), try await client.delete(bytes("k"))]
      #expect(deleted == [true, false])
      #expect(server.arrivals.first?.text.hasPrefix("DELETE /kv/k HTTP/1.1\r\n") == true)
    }
  }

  @Test("asks for a node's status")
  func asksForStatus() async throws {
    try await withClient({ _ in [.answer("{\"node\":1}")] }) { server, client in
      let status = try await client.status()
      #expect(String(decoding: status, as: UTF8.self) == "{\"node\":1}")
      #expect(server.arrivals.first?.text.hasPrefix("GET /status HTTP/1.1\r\n") == true)
    }
  }

  @Test("does not send an empty key")
  func refusesEmptyKeys() async throws {
    try await withClient({ _ in [.answer()] }) { server, client in
      let failure = KVClientError.badRequest(
        "the key is empty: every key has a byte at least")
      await #expect(throws: failure) { try await client.get([]) }
      await #expect(throws: failure) { try await client.put([], []) }
      await #expect(throws: failure) { try await client.delete([]) }
      #expect(server.connectionCount == 0)
    }
  }

  @Test("does not take another server's answers for a node's")
  func wantsANode() async throws {
    try await withClient({ _ in [.answer("<html>")] }) { server, client in
      await #expect(
        throws: KVClientError.unexpectedAnswer(server.address, "the answer has no ETag")
      ) { try await client.get(bytes("k")) }
      await #expect(
        throws: KVClientError.unexpectedAnswer(server.address, "the answer has no X-KV-Version")
      ) { try await client.put(bytes("k"), []) }
    }
  }

  @Test(
    "repeats the node's words on one line",
    arguments: [
      ("{\"error\":\"too few nodes\"}", "too few nodes"),
      ("{ \"a\":1, \"error\": \"a \\\"b\\\"\\n\\u00e9\\\\\", \"c\":2}", "a \"b\" é\\"),
      ("{\"error\":null}", "{\"error\":null}"), ("line\r\n  two\u{1B}[31m\n", "line two [31m"),
      ("", ""), ("{\"error\":\"cut", "cut"), ("{\"error\":\"cut\\", "cut"),
    ])
  func repeatsTheNodesWords(body: String, message: String) async throws {
    let script: ScriptedServer.Script = { _ in [.answer(body, status: "503 Service Unavailable")] }
    try await withClient(script) { server, client in
      await #expect(throws: KVClientError.refused(server.address, status: 503, message: message)) {
        try await client.put(bytes("k"), [])
      }
    }
  }

  // MARK: - Redirections

  @Test("sends a redirected write, whole, to the node that is named")
  func followsRedirections() async throws {
    let headers = written
    let right = try await ScriptedServer { _ in [.answer(headers: headers)] }
    let location = "Location: http://\(right.address)/kv/k?hop=1"
    let script: ScriptedServer.Script = { _ in
      [.answer("elsewhere", status: "307 Temporary Redirect", headers: [location])]
    }
    try await withClient(script) { _, client in
      let version = try await client.put(bytes("k"), bytes("v"))
      #expect(version == 7)
      #expect(
        right.arrivals.map(\.text) == [
          "PUT /kv/k?hop=1 HTTP/1.1\r\nHost: \(right.address)\r\nContent-Length: 1\r\n\r\nv"
        ])
    }
    try await right.close()
  }

  @Test("follows three redirections and no more")
  func boundsRedirections() async throws {
    let script: ScriptedServer.Script = { arrival in
      let isLast = arrival.text.hasPrefix("GET /3 ")
      return [
        isLast
          ? .answer("here")
          : .answer(
            status: "307 Temporary Redirect", headers: ["Location: /\(arrival.request + 1)"])
      ]
    }
    try await withClient(script) { server, client in
      let answer = try await client.send(KVRequest(.GET, "/0"))
      #expect(answer.text == "here")
      await #expect(throws: KVClientError.tooManyRedirections(server.address, max: 3)) {
        try await client.send(KVRequest(.GET, "/0"))
      }
      #expect(server.arrivals.count == 8)
    }
  }

  @Test(
    "goes nowhere when a redirection does not say where",
    arguments: [
      nil, "https://127.0.0.1:1/", "//127.0.0.1:1/", "kv/a", "", "http://", "http://127.0.0.1/kv",
    ])
  func refusesBadRedirections(location: String?) async throws {
    let headers = location.map { ["Location: \($0)"] } ?? []
    let script: ScriptedServer.Script = { _ in
      [.answer(status: "307 Temporary Redirect", headers: headers)]
    }
    try await withClient(script) { server, client in
      let failure = KVClientError.unexpectedAnswer(
        server.address, "a redirection without a usable Location")
      await #expect(throws: failure) { try await client.get(bytes("k")) }
    }
  }

  @Test("counts redirections towards its time")
  func keepsTheDeadlineOverRedirections() async throws {
    let script: ScriptedServer.Script = { arrival in
      arrival.request == 0
        ? [.answer(status: "307 Temporary Redirect", headers: ["Location: /kv/k"])] : []
    }
    try await withServer(script) { server, pool in
      let client = NodeClient(server.address, pool: pool, timeout: .milliseconds(50))
      let failure = await #expect(throws: KVClientError.self) { try await client.get(bytes("k")) }
      switch failure {
      // The second when the machine is so slow that the time was over between the two requests.
      case .outcomeUnknown(_, .timedOut, .GET), .neverSent(_, .timedOut): break
      default: Issue.record("\(String(describing: failure))")
      }
    }
  }
}

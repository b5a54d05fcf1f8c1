import Client
import NIOCore
import NIOHTTP1
import Testing

@Suite("A request", .timeLimit(.minutes(1)))
struct KVRequestTests {
  @Test(
    "names a key by its bytes, percent-encoded",
    arguments: [
      (bytes("party"), "/kv/party"), (bytes("AZaz09-._~"), "/kv/AZaz09-._~"),
      (bytes("a b+c/d?e#f%g"), "/kv/a%20b%2Bc%2Fd%3Fe%23f%25g"), (bytes("é"), "/kv/%C3%A9"),
      ([0, 0x0A, 0x0D, 0x7F, 0x80, 0xFF], "/kv/%00%0A%0D%7F%80%FF"), ([], "/kv/"),
    ])
  func encodesKeys(key: [UInt8], path: String) {
    #expect(KeyTarget.path(key) == path)
  }

  @Test("is repeatable only if it reads, unless it is said otherwise")
  func knowsWhatIsIdempotent() {
    for method: HTTPMethod in [.GET, .HEAD, .OPTIONS] {
      #expect(KVRequest(method, "/").isIdempotent)
    }
    for method: HTTPMethod in [.PUT, .DELETE, .POST] {
      #expect(!KVRequest(method, "/").isIdempotent)
    }
    #expect(KVRequest(.PUT, "/", isIdempotent: true).isIdempotent)
  }

  @Test(
    "that would not be one request on the wire is not sent",
    arguments: [
      KVRequest(.GET, ""), KVRequest(.GET, "kv/a"), KVRequest(.GET, "/kv/a b"),
      KVRequest(.GET, "/\r\nX: y"), KVRequest(.GET, "/kv/\u{7F}"),
      KVRequest(.RAW(value: ""), "/"), KVRequest(.RAW(value: "GET /\r\n"), "/"),
      KVRequest(.GET, "/", headers: ["a b": "c"]), KVRequest(.GET, "/", headers: ["": "c"]),
      KVRequest(.GET, "/", headers: ["a": "b\r\nc: d"]),
      KVRequest(.GET, "/", headers: ["a": "b\0"]),
    ])
  func refusesToInject(request: KVRequest) async throws {
    try await withServer({ _ in [.answer()] }) { server, pool in
      let failure = try await pool.execute(request, on: server.address, deadline: .soon).failure()
      guard case .badRequest = failure else {
        Issue.record("\(failure)")
        return
      }
      #expect(!failure.mayHaveBeenSent)
      #expect(server.connectionCount == 0)
    }
  }

  @Test("writes the headers of the connection itself, and keeps all others")
  func writesItsOwnFraming() async throws {
    try await withConnection({ _ in [.answer()] }) { server, connection in
      let headers: HTTPHeaders = [
        "host": "elsewhere", "Content-Length": "9", "transfer-encoding": "chunked",
        "Connection": "close", "X-Mine": "1", "x-mine": "2", "Expect": "100-continue",
      ]
      let request = KVRequest(.POST, "/a?b=c", headers: headers, body: ByteBuffer(string: "text"))
      _ = try await connection.execute(request, deadline: .soon).get()
      #expect(
        server.arrivals.map(\.text) == [
          """
          POST /a?b=c HTTP/1.1\r
          Host: \(server.address)\r
          X-Mine: 1\r
          x-mine: 2\r
          Content-Length: 4\r
          \r
          text
          """
        ])
    }
  }

  @Test("says the length of its body if it writes, and nothing of it if it reads")
  func saysItsLength() async throws {
    try await withConnection({ _ in [.answer()] }) { server, connection in
      for method: HTTPMethod in [.GET, .HEAD, .DELETE, .PUT, .POST] {
        _ = try await connection.execute(KVRequest(method, "/"), deadline: .soon).get()
      }
      let host = "HTTP/1.1\r\nHost: \(server.address)\r\n"
      let none = "Content-Length: 0\r\n\r\n"
      #expect(
        server.arrivals.map(\.text) == [
          "GET / \(host)\r\n", "HEAD / \(host)\r\n", "DELETE / \(host)\(none)",
          "PUT / \(host)\(none)", "POST / \(host)\(none)",
        ])
    }
  }
}

import NIOCore
import Server
import SimulatedDisk
import Testing

@Suite("The head of another node's answer") struct RelayedHeadTests {
  private static let whole = """
    HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain\r\nX-KV-Node: a:1\r\n\
    ETag: "3.1-9"\r\n\r\nvalue
    """

  private static func recognise(_ text: String, isHead: Bool = false) -> RelayedHead? {
    Array(text.utf8).withUnsafeBytes { bytes in
      if case .head(let head) = RelayedHead.recognise(bytes, isHead: isHead) { head } else { nil }
    }
  }

  private static func isMalformed(_ text: String) -> Bool {
    Array(text.utf8).withUnsafeBytes { bytes in
      if case .malformed = RelayedHead.recognise(bytes, isHead: false) { true } else { false }
    }
  }

  private static func passedOn(_ text: String) throws -> String {
    let head = try #require(recognise(text))
    var output = ByteBuffer()
    Array(text.utf8).withUnsafeBytes { head.write($0, into: &output) }
    return String(buffer: output)
  }

  @Test("is one only when all of it is there, and says how long the answer is")
  func whole() throws {
    for count in 0..<Self.whole.utf8.count - 5 {
      let part = String(decoding: Array(Self.whole.utf8.prefix(count)), as: UTF8.self)
      #expect(Self.recognise(part) == nil && !Self.isMalformed(part), "\(count)")
    }
    let head = try #require(Self.recognise(Self.whole))
    #expect(head.status == 200 && head.bodyBytes == 5 && !head.closes && !head.hasOwnLines)
    #expect(head.headBytes + 5 == Self.whole.utf8.count)
    #expect(try Self.passedOn(Self.whole) + "\r\nvalue" == Self.whole)
  }

  @Test("is passed on without what is between the nodes")
  func ownLines() throws {
    let text = """
      HTTP/1.1 404 Not Found\r\ncontent-length:  7 \r\nConnection: CLOSE\r\n\
      x-kv-forwarded-by: b:2\r\nKeep-Alive: timeout=5\r\nTE: x\r\nUpgrade: h2c\r\nTrailer: y\r\nproxy-authenticate: z\r\n\
      X-KV-Shard: 1\r\n\r\n
      """
    let head = try #require(Self.recognise(text))
    #expect(head.status == 404 && head.bodyBytes == 7 && head.closes)
    #expect(
      try Self.passedOn(text)
        == "HTTP/1.1 404 Not Found\r\ncontent-length:  7 \r\nX-KV-Shard: 1\r\n")
  }

  @Test("has a bound, however it comes: all of it is one up to there, and none behind it")
  func bound() throws {
    let start = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: "
    func head(_ bytes: Int) -> String {
      start + String(repeating: "x", count: bytes - start.utf8.count - 4) + "\r\n\r\n"
    }
    let largest = head(RelayedHead.bytesMax)
    #expect(Self.recognise(largest + "value")?.headBytes == RelayedHead.bytesMax)
    #expect(Self.isMalformed(head(RelayedHead.bytesMax + 1) + "value"))
    for count in [1, 100, RelayedHead.bytesMax - 1, RelayedHead.bytesMax] {
      let part = (start + String(repeating: "x", count: count)).utf8.prefix(RelayedHead.bytesMax)
      #expect(!Self.isMalformed(String(decoding: Array(part), as: UTF8.self)), "\(count)")
    }
    #expect(Self.isMalformed(start + String(repeating: "x", count: RelayedHead.bytesMax)))
  }

  @Test("names who leads")
  func leader() throws {
    let text = "HTTP/1.1 421 M\r\nX-KV-Leader: \t c:3\r\nContent-Length: 0\r\n\r\n"
    let range = try #require(Self.recognise(text)?.leader)
    #expect(String(decoding: Array(text.utf8)[range], as: UTF8.self) == "c:3")
  }

  @Test("has no body behind a request for the head, nor with a status that has none")
  func noBody() throws {
    #expect(Self.recognise(Self.whole, isHead: true)?.bodyBytes == 0)
    #expect(Self.recognise("HTTP/1.1 204 No Content\r\nX: y\r\n\r\n")?.bodyBytes == 0)
    #expect(Self.recognise("HTTP/1.1 304 N\r\nContent-Length: 9\r\n\r\n")?.bodyBytes == 0)
  }

  @Test(
    "is none with anything that a node does not say",
    arguments: [
      "HTTP/1.0 200 OK\r\n\r\n", "X", "HTTP/1.1 2x0 OK\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Type: a\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 12345678901\r\n\r\n",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
      "HTTP/1.1 200 OK\r\nX: " + String(repeating: "y", count: RelayedHead.bytesMax),
    ])
  func malformed(text: String) { #expect(Self.isMalformed(text), "\(text.prefix(60))") }

  @Test("of any bytes is looked at without harm, and what is passed on ends its lines")
  func anyBytes() {
    let pieces = [
      "HTTP/1.1 ", "200", "204 ", " OK", "\r\n", "\r", "\n", "Content-Length", ":", " ", "5", "99",
      "Connection: close", "X-KV-Leader: a:1", "Transfer-Encoding: chunked", "\u{0}", "value",
      "X-KV-Forwarded-By: q", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", "\r\n\r\n",
    ]
    var numbers = SeededRandom(seed: 7)
    var heads = 0
    for _ in 0..<50_000 {
      var text = Bool.random(using: &numbers) ? "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n" : ""
      for _ in 0..<Int.random(in: 0..<10, using: &numbers) {
        text += pieces.randomElement(using: &numbers)!
      }
      guard let head = Self.recognise(text) else { continue }
      heads += 1
      #expect(head.headBytes <= text.utf8.count && head.bodyBytes >= 0)
      var output = ByteBuffer()
      Array(text.utf8).withUnsafeBytes { head.write($0, into: &output) }
      let passed = String(buffer: output)
      #expect(passed.hasSuffix("\r\n") && !passed.contains("\r\n\r\n"))
      // What is passed on means the same to whoever reads it, but for what is left out.
      let again = Self.recognise(passed + "\r\n")
      #expect(again?.bodyBytes == head.bodyBytes && again?.status == head.status)
      #expect(again?.closes == false && again?.hasOwnLines == false)
    }
    #expect(heads > 1_000)
  }
}

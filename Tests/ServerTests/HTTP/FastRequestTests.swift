import Glibc
import NIOCore
import Server
import SimulatedDisk
import Testing

@Suite struct FastRequestTests {
  private static let sound = [
    "GET /get?key=party HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /set?key=a+b&value=%41= HTTP/1.1\r\nHost: x:80\r\nAccept: */*\r\n\r\n",
    "POST /set?key=a&value= HTTP/1.1\r\nContent-Length: 0\r\nhost: x\r\n\r\n",
    "PUT /set?key=a&value=b HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
    "GET /delete?key=a HTTP/1.1\r\nHost: x\r\n\r\n",
    "POST /delete?key=a HTTP/1.1\r\nHost: x\r\n\r\n",
    "DELETE /delete?key=a HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /get/mykey HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /local_read/my%20key HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /kv/a/b HTTP/1.1\r\nHost: \t[::1]:8080 \r\nUser-Agent: a (b)\r\n\r\n",
    "HEAD /kv/a HTTP/1.1\r\nHost: x\r\nConnection: Close\t\r\n\r\n",
    "PUT /kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\nv\r\n\r\nvv",
    "PUT /kv/a HTTP/1.1\r\nHost: x\r\n\r\n",
    "DELETE /kv/a HTTP/1.1\r\nHost: x\r\n\r\n",
    "PUT /kv/a?ttl=60 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nv",
    "GET /set?key=a&value=b&ttl=3155760000 HTTP/1.1\r\nHost: x\r\n\r\n",
  ]

  private static func recognise(
    _ bytes: some Collection<UInt8>, bodyBytesMax: Int = FastRequest.bodyBytesMax
  ) -> FastRequest.Outcome {
    Array(bytes).withUnsafeBytes {
      FastRequest.recognise($0, bodyBytesMax: bodyBytesMax)
    }
  }

  @Test(arguments: sound)
  func aRequestIsOneOnlyWhenAllOfItIsThere(text: String) throws {
    let bytes = Array(text.utf8)
    for count in 0..<bytes.count {
      #expect(Self.recognise(bytes.prefix(count)) == .incomplete, "of \(count) bytes")
    }
    let whole = Self.recognise(bytes)
    guard case .request(let request) = whole else {
      Issue.record("\(whole)")
      return
    }
    #expect(request.end == bytes.count)
    #expect(!request.key.isEmpty && request.key.upperBound <= bytes.count)
    // What follows changes nothing.
    for next in ["G", "GET /get?key=b HTTP/1.1\r\n", "\r\n", "\u{0}"] {
      #expect(Self.recognise(bytes + next.utf8) == whole)
    }
  }

  @Test func aLifetimeIsTakenBehindWhatIsStoredOnly() throws {
    func seconds(_ line: String) -> UInt64? {
      let outcome = Self.recognise("\(line) HTTP/1.1\r\nHost: x\r\n\r\n".utf8)
      guard case .request(let request) = outcome else { return nil }
      return request.ttlSeconds
    }
    #expect(seconds("PUT /kv/a") == 0 && seconds("PUT /kv/a?ttl=1") == 1)
    #expect(seconds("POST /set?key=a&value=b&ttl=007") == 7)
    for line in [
      "PUT /kv/a?ttl=0", "PUT /kv/a?ttl=", "PUT /kv/a?ttl=3155760001", "PUT /kv/a?ttl=1&w=1",
      "PUT /kv/a?ttl=%31", "PUT /kv/a?ttl=+1", "PUT /kv/a?",
      "PUT /kv/a?ttl=99999999999999999999", "PUT /kv/a&ttl=1x?", "DELETE /kv/a?ttl=1",
      "GET /set?key=a&value=b?&ttl=1x", "GET /get?key=a&ttl=1", "GET /set?key=a&value=b&ttl",
    ] {
      #expect(seconds(line) == nil, "\(line)")
    }
  }

  @Test func aQuorumIsTakenBehindAKeyOrAValue() throws {
    func members(_ line: String) -> UInt8? {
      let outcome = Self.recognise("\(line) HTTP/1.1\r\nHost: x\r\n\r\n".utf8)
      guard case .request(let request) = outcome else { return nil }
      return request.members
    }
    for line in [
      "PUT /kv/a?w=2", "PUT /kv/a?w=2&ttl=3", "DELETE /kv/a?w=2", "GET /set?key=a&w=2&value=b",
      "GET /set?key=a&value=b&w=2", "GET /set?key=a&value=b&w=2&ttl=1", "POST /delete?key=a&w=2",
    ] {
      #expect(members(line) == 2, "\(line)")
    }
    #expect(members("PUT /kv/a") == 0 && members("PUT /kv/w=2") == 0)
    for line in [
      "PUT /kv/a?w=0", "PUT /kv/a?w=", "PUT /kv/a?w=10", "PUT /kv/a?w=2&w=2", "PUT /kv/a&w=2?w=x",
      "GET /set?key=a&w=2&value=b&w=2", "GET /set?key=a&w=2", "GET /kv/a?w=2", "PUT /kv/a?w=2?",
      "PUT /kv/a?w=2&", "GET /get?key=a&w=2", "DELETE /kv/a?w=2&ttl=1",
    ] {
      #expect(members(line) == nil, "\(line)")
    }
  }

  @Test func anAcknowledgementIsTakenWithItsWholeQuery() throws {
    let bytes = Array(
      "POST /wal/ack?replica=a:1&epoch=1-0000000000000001&seq=2&crc=00000003 HTTP/1.1\r\nHost: x\r\n\r\n"
        .utf8)
    guard case .request(let request) = Self.recognise(bytes) else {
      Issue.record("it is not recognised")
      return
    }
    #expect(request.route == .acknowledgement)
    #expect(
      String(decoding: bytes[request.key], as: UTF8.self)
        == "replica=a:1&epoch=1-0000000000000001&seq=2&crc=00000003")
    #expect(Self.recognise("GET /wal/ack?a=b HTTP/1.1\r\nHost: x\r\n\r\n".utf8) == .unusual)
  }

  @Test func keyAndValueAreWhereTheyStand() throws {
    func parts(_ text: String) -> [String] {
      let bytes = Array(text.utf8)
      guard case .request(let request) = Self.recognise(bytes) else { return [] }
      return [request.key, request.value].map { String(decoding: bytes[$0], as: UTF8.self) }
    }
    #expect(parts(Self.sound[0]) == ["party", ""])
    #expect(parts(Self.sound[1]) == ["a+b", "%41="])
    #expect(parts(Self.sound[8]) == ["my%20key", ""])
    #expect(parts(Self.sound[9]) == ["a/b", ""])
    #expect(parts(Self.sound[11]) == ["a", "v\r\n\r\nvv"])
  }

  @Test(arguments: [
    "GET /health ", "get /kv/a", "PATCH", "OPTIONS", "GET http://x/", "GET  /kv/a", "\r\nGET",
    "GET /kv/a?", "GET /kv/ ", "GET /get?key= ", "GET /get?key=a&", "GET /set?key=a&x",
    "GET /kv/a#", "GET /kv/\u{e9}", "GET /kv/\"", "POST /kv/a", "POST /get", "PUT /delete",
    "HEAD /get", "GET /kv/a HTTP/1.0", "GET /kv/a HTTP/2", "GET /kv/a HTTP/1.1\n",
  ])
  func anotherLineIsForTheStandardLaneAtOnce(start: String) {
    #expect(Self.recognise(start.utf8) == .unusual)
  }

  @Test(arguments: [
    "Host: x\n", "Host : x", " Host", ": b", "A\u{0}", "A: \u{0}", "A: \u{e9}", "A: b\r\n c",
    "Expect:", "If-Match:", "If-None-Match:", "Transfer-Encoding:", "Upgrade:", "Content-Range:",
    "X-KV-Context:", "Keep-Alive:", "Proxy-Connection:", "Connection: upgrade\r\n",
    "Content-Length: 1\t", "Content-Length: +", "Content-Length: 1 1", "Content-Length: 0x",
    "Content-Length:\r\n",
    "Content-Length: 1\r\nContent-Length:", "Content-Length: 9999999", "Content-Length: 65537",
    "\r\n", "Host: x\r\nHost: x\r\n\r\n", "Host: a b\r\n",
  ])
  func whatMayNotBecomeARequestIsNotWaitedFor(header: String) {
    let bytes = Array("PUT /kv/a HTTP/1.1\r\n\(header)".utf8)
    #expect(Self.recognise(bytes) == .unusual)
  }

  @Test func aBodyAboveTheBoundIsNotWaitedFor() {
    func start(_ count: Int) -> [UInt8] {
      Array("PUT /kv/a HTTP/1.1\r\nHost: x\r\nContent-Length: \(count)\r\n\r\n".utf8)
    }
    #expect(Self.recognise(start(1_000), bodyBytesMax: 1_000) == .incomplete)
    #expect(Self.recognise(start(1_001), bodyBytesMax: 1_000) == .unusual)
  }

  @Test func headsThatAreLargeOrHaveManyFieldsAreForTheStandardLane() {
    func head(_ fields: String) -> FastRequest.Outcome {
      Self.recognise("GET /kv/a HTTP/1.1\r\nHost: x\r\n\(fields)\r\n".utf8)
    }
    func isRequest(_ outcome: FastRequest.Outcome) -> Bool {
      if case .request = outcome { true } else { false }
    }
    #expect(isRequest(head("A: \(String(repeating: "a", count: 16_300))\r\n")))
    #expect(head("A: \(String(repeating: "a", count: 16_400))\r\n") == .unusual)
    let long = "GET /kv/" + String(repeating: "a", count: 16_400)
    #expect(Self.recognise(long.utf8) == .unusual)
    #expect(isRequest(head(String(repeating: "A:\r\n", count: 63))))
    #expect(head(String(repeating: "A:\r\n", count: 64)) == .unusual)
  }

  @Test func whateverComesNothingOutsideOfItIsRead() throws {
    let room = GuardedMemory()
    var grammar = RequestGrammar(seed: 7)
    var taken = 0
    for _ in 0..<4_000 {
      let bytes = grammar.connection()
      let start = grammar.number(below: bytes.count + 1)
      let piece = bytes[..<start]
      guard piece.count <= GuardedMemory.bytesMax else { continue }
      room.with(piece) { raw in
        guard case .request(let request) = FastRequest.recognise(raw) else { return }
        taken += 1
        #expect(request.end <= raw.count)
        #expect(!request.key.isEmpty && request.key.upperBound <= request.end)
        #expect(request.value.upperBound <= request.end)
        // The same, if it had come with less behind it.
        let shorter = UnsafeRawBufferPointer(rebasing: raw[..<request.end])
        #expect(FastRequest.recognise(shorter) == .request(request))
      }
    }
    #expect(taken > 200)
  }
}

/// Memory behind which there is none: reading on stops the process.
private final class GuardedMemory {
  static let bytesMax = 64 << 10

  private let start: UnsafeMutableRawPointer

  init() {
    let page = Int(getpagesize())
    start = mmap(
      nil, Self.bytesMax + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    precondition(start != MAP_FAILED)
    precondition(mprotect(start + Self.bytesMax, page, PROT_NONE) == 0)
  }

  deinit { munmap(start, Self.bytesMax + Int(getpagesize())) }

  /// Calls `body` with the bytes as the last ones there are.
  func with(_ bytes: some Collection<UInt8>, _ body: (UnsafeRawBufferPointer) -> Void) {
    let place = UnsafeMutableRawBufferPointer(
      start: start + Self.bytesMax - bytes.count, count: bytes.count)
    place.copyBytes(from: bytes)
    body(UnsafeRawBufferPointer(place))
  }
}

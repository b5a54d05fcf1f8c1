import LanePair
import Server
import TemporaryFiles
import Testing

/// What clients send that is malformed, ambiguous, or just odd, by either lane: what could mean two
/// things is refused, and nothing behind it is answered.
@Suite struct MalformedRequestTests {
  struct Case: Sendable, CustomTestStringConvertible {
    let testDescription: String
    let bytes: [UInt8]
    /// Of the answers, in order.
    let statuses: [Int]
    let closes: Bool

    init(_ name: String, _ bytes: [UInt8], _ statuses: [Int], closes: Bool) {
      testDescription = name
      self.bytes = bytes
      self.statuses = statuses
      self.closes = closes
    }
  }

  @Test(arguments: [refused, otherwiseRefused, accepted].flatMap { $0 })
  func theAnswerIsTheSameByEitherLane(request: Case) throws {
    let directory = TemporaryDirectory()
    // At once, and byte by byte.
    let cuts = [[], Array(0...request.bytes.count)].prefix(request.bytes.count < 2_000 ? 2 : 1)
    for cuts in cuts {
      let pair = try LanePair(in: directory.path, limits: Limits())
      let outcome = try pair.compare(Exchange(request.bytes, cuts: cuts))
      #expect(Self.statuses(outcome.text) == request.statuses)
      #expect(outcome.isClosed == request.closes)
      try pair.compareStates()
      try pair.close()
    }
  }

  /// What is refused must not have been done in part.
  @Test(arguments: refused)
  func whatIsRefusedIsNotDone(request: Case) throws {
    let directory = TemporaryDirectory()
    let pair = try LanePair(in: directory.path)
    let before = pair.fast.sequence
    let smuggled = "PUT /kv/smuggled HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\ns"
    try pair.compare(Exchange(request.bytes + smuggled.utf8))
    #expect(pair.fast.sequence == before)
    try pair.close()
  }

  private static func statuses(_ text: String) -> [Int] {
    text.split(separator: "HTTP/1.1 ").compactMap { Int($0.prefix(3)) }
  }

  // MARK: - The cases

  private static func get(_ line: String, _ fields: String = "Host: x\r\n") -> [UInt8] {
    Array("\(line)\r\n\(fields)\r\n".utf8)
  }

  private static func put(_ fields: String, _ body: String) -> [UInt8] {
    Array("PUT /kv/a HTTP/1.1\r\nHost: x\r\n\(fields)\r\n\r\n\(body)".utf8)
  }

  private static func chunked(_ body: String) -> [UInt8] {
    put("Transfer-Encoding: chunked", body)
  }

  private static func bytes(_ text: String, _ odd: UInt8, _ rest: String) -> [UInt8] {
    Array(text.utf8) + [odd] + Array(rest.utf8)
  }

  private static func refused(_ name: String, _ bytes: [UInt8]) -> Case {
    Case(name, bytes, [400], closes: true)
  }

  /// 400, and the connection ends.
  private static let refused = [
    refused("a line that ends in LF", Array("GET /kv/a HTTP/1.1\nHost: x\r\n\r\n".utf8)),
    refused("a field that ends in LF", get("GET /kv/a HTTP/1.1", "Host: x\nA: b\r\n")),
    refused("a head that ends in LF", Array("GET /kv/a HTTP/1.1\r\nHost: x\r\n\n".utf8)),
    refused("nothing but LF", Array("GET /kv/a HTTP/1.1\nHost: x\n\n".utf8)),
    refused("a field that ends in CR", get("GET /kv/a HTTP/1.1", "Host: x\rA: b\r\n")),
    refused("a folded field", get("GET /kv/a HTTP/1.1", "Host: x\r\nA: b\r\n c\r\n")),
    refused("a space before the colon", get("GET /kv/a HTTP/1.1", "Host: x\r\nA : b\r\n")),
    refused("a space before a field", get("GET /kv/a HTTP/1.1", " Host: x\r\n")),
    refused("a space in a name", get("GET /kv/a HTTP/1.1", "Host: x\r\nA b: c\r\n")),
    refused("a field without a name", get("GET /kv/a HTTP/1.1", "Host: x\r\n: b\r\n")),
    refused("a field without a colon", get("GET /kv/a HTTP/1.1", "Host: x\r\nA\r\n")),
    refused("NUL in a field", get("GET /kv/a HTTP/1.1", "Host: x\r\nA: \u{0}\r\n")),
    refused("a control character in a field", get("GET /kv/a HTTP/1.1", "Host: x\r\nA: \u{7}\r\n")),
    refused("no host", get("GET /kv/a HTTP/1.1", "")),
    refused("two hosts", get("GET /kv/a HTTP/1.1", "Host: x\r\nHost: y\r\n")),
    refused("the same host twice", get("GET /kv/a HTTP/1.1", "Host: x\r\nHost: x\r\n")),
    refused("a host with a space", get("GET /kv/a HTTP/1.1", "Host: x y\r\n")),
    refused("a host with a path", get("GET /kv/a HTTP/1.1", "Host: x/y\r\n")),
    refused("two equal lengths", put("Content-Length: 1\r\nContent-Length: 1", "x")),
    refused("two lengths", put("Content-Length: 1\r\nContent-Length: 2", "xx")),
    refused("a list of lengths", put("Content-Length: 1, 1", "x")),
    refused("a length with a sign", put("Content-Length: +1", "x")),
    refused("a negative length", put("Content-Length: -1", "x")),
    refused("a length in hex", put("Content-Length: 0x1", "x")),
    // A blank by RFC 9110, 5.6.3, but the parser takes only spaces there.
    refused("a tab behind a length", put("Content-Length: 1\t", "x")),
    refused("an empty length", put("Content-Length: ", "x")),
    refused("a length in two words", put("Content-Length: 1 1", "x")),
    refused("a length beyond all", put("Content-Length: 99999999999999999999999", "x")),
    refused(
      "a length and chunked", put("Content-Length: 3\r\nTransfer-Encoding: chunked", "0\r\n\r\n")),
    refused(
      "chunked and a length", put("Transfer-Encoding: chunked\r\nContent-Length: 3", "0\r\n\r\n")),
    refused(
      "chunked twice",
      put("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n")),
    refused(
      "chunked by 1.0",
      Array("PUT /kv/a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".utf8)),
    refused("a chunk's size that is none", chunked("xyz\r\n\r\n")),
    refused("a chunk of negative size", chunked("-1\r\n\r\n")),
    refused("a chunk's size with a prefix", chunked("0x1\r\nx\r\n0\r\n\r\n")),
    refused("a chunk without a size", chunked("\r\nx\r\n0\r\n\r\n")),
    refused("chunks with LF", chunked("1\nx\n0\n\n")),
    refused("a chunk longer than its size", chunked("1\r\nxyz\r\n0\r\n\r\n")),
    refused("a chunk beyond all", chunked("ffffffffffffffffff\r\nx\r\n0\r\n\r\n")),
    refused("a percent without digits", get("GET /kv/%zz HTTP/1.1")),
    refused("a percent without digits in a query", get("GET /get?key=%z HTTP/1.1")),
    refused("a percent without digits in a name", get("GET /get?k%=a HTTP/1.1")),
    refused("a percent at the end", get("GET /kv/a% HTTP/1.1")),
    refused("a percent before a body", put("Content-Length: 1", "x").replacing("/kv/a", "/kv/%")),
    refused("NUL in the target", get("GET /kv/\u{0} HTTP/1.1")),
    refused("UTF-8 in the target", get("GET /kv/\u{e9} HTTP/1.1")),
    refused("no UTF-8 in the target", bytes("GET /kv/", 0xff, " HTTP/1.1\r\nHost: x\r\n\r\n")),
    refused("a fragment", get("GET /kv/a#b HTTP/1.1")),
    refused("a space in the target", get("GET /kv/a b HTTP/1.1")),
    refused("a space behind the version", get("GET /kv/a HTTP/1.1 ")),
    refused("tabs in the line", get("GET\t/kv/a\tHTTP/1.1")),
    refused("no target", get("GET HTTP/1.1")),
    refused("a target without a slash", get("GET kv/a HTTP/1.1")),
    refused("no version", Array("GET /kv/a\r\n\r\n".utf8)),
    refused("version 2.0", get("GET /kv/a HTTP/2.0")),
    refused("version 1.2", get("GET /kv/a HTTP/1.2")),
    refused("version 0.9", get("GET /kv/a HTTP/0.9")),
    refused("version 1.10", get("GET /kv/a HTTP/1.10")),
    refused("a version in lower case", get("GET /kv/a http/1.1")),
    refused("a method in lower case", get("get /kv/a HTTP/1.1")),
    refused("a method that there is not", get("FOO /kv/a HTTP/1.1")),
    refused("a star", get("OPTIONS * HTTP/1.1")),
    refused("an authority", get("CONNECT a:1 HTTP/1.1")),
    refused("an absolute target without a host", get("GET http:///kv/a HTTP/1.1")),
    refused("HTTP/2", Array("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".utf8)),
    refused("TLS", [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3] + [UInt8](repeating: 97, count: 100)),
    refused("the start of a wrong length", Array("PUT /kv/a HTTP/1.1\r\nContent-Length:j".utf8)),
    refused("a part of a value", put("Content-Range: bytes 0-0/2\r\nContent-Length: 1", "x")),
    refused("a condition that is none", put("If-Match: x\r\nContent-Length: 1", "x")),
  ]

  /// Understood, refused, and the connection ends.
  private static let otherwiseRefused = [
    Case("gzip", put("Transfer-Encoding: gzip", "x"), [501], closes: true),
    Case(
      "gzip and chunked", put("Transfer-Encoding: gzip, chunked", "0\r\n\r\n"), [501],
      closes: true),
    Case("xchunked", put("Transfer-Encoding: xchunked", "0\r\n\r\n"), [501], closes: true),
    Case(
      "an odd expectation", put("Content-Length: 1\r\nExpect: x", "x"), [417], closes: true),
    Case("a body of 17 MB", put("Content-Length: 17000000", "x"), [413], closes: true),
    Case(
      "a target of 50 kB", get("GET /kv/\(String(repeating: "a", count: 50_000)) HTTP/1.1"), [414],
      closes: true),
    Case(
      "a target of 100 kB", get("GET /kv/\(String(repeating: "a", count: 100_000)) HTTP/1.1"),
      [414], closes: true),
    Case(
      "300 fields",
      get("GET /kv/a HTTP/1.1", "Host: x\r\n\(String(repeating: "A: b\r\n", count: 300))"), [431],
      closes: true),
    Case(
      "a field of 70 kB",
      get("GET /kv/a HTTP/1.1", "Host: x\r\nA: \(String(repeating: "b", count: 70_000))\r\n"),
      [431], closes: true),
    Case(
      "a field of 600 kB",
      get("GET /kv/a HTTP/1.1", "Host: x\r\nA: \(String(repeating: "b", count: 600_000))\r\n"),
      [431], closes: true),
  ]

  /// Odd, and it means one thing only.
  private static let accepted = [
    Case("a chunk with an extension", chunked("1;a=b\r\nx\r\n0\r\n\r\n"), [201], closes: false),
    Case("trailers", chunked("1\r\nx\r\n0\r\nA: b\r\n\r\n"), [201], closes: false),
    Case(
      "a body of a read",
      get("GET /kv/a HTTP/1.1", "Host: x\r\nContent-Length: 3\r\n")
        + Array("abc".utf8) + get("GET /health HTTP/1.1"), [404, 200], closes: false),
    Case(
      "empty lines before", Array("\r\n\r\n".utf8) + get("GET /kv/a HTTP/1.1"), [404], closes: false
    ),
    Case("two spaces in the line", get("GET  /kv/a HTTP/1.1"), [404], closes: false),
    Case("an absolute target", get("GET http://x/kv/a HTTP/1.1"), [404], closes: false),
    Case(
      "an offer of HTTP/2",
      get("GET /kv/a HTTP/1.1", "Host: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n")
        + get("GET /kv/b HTTP/1.1"), [404], closes: true),
    Case(
      "bytes of old in a field",
      bytes("GET /kv/a HTTP/1.1\r\nHost: x\r\nA: ", 0xe9, "\r\n\r\n"), [404], closes: false),
    Case(
      "a request to close",
      get("GET /kv/a HTTP/1.1", "Host: x\r\nConnection: close\r\n") + get("GET /kv/b HTTP/1.1"),
      [404], closes: true),
    Case("no body where one is expected", get("PUT /kv/a HTTP/1.1"), [201], closes: false),
    Case("another method", get("PATCH /kv/a HTTP/1.1"), [405], closes: false),
    Case("no key", get("GET /kv/ HTTP/1.1"), [400], closes: false),
    Case("version 1.0 without a host", get("GET /kv/a HTTP/1.0", ""), [404], closes: true),
    Case(
      "a key of 4097 bytes", get("PUT /kv/\(String(repeating: "a", count: 4_097)) HTTP/1.1"),
      [414], closes: false),
    Case("a line and no more", Array("GET /kv/a\r\n".utf8), [], closes: false),
  ]
}

extension [UInt8] {
  fileprivate func replacing(_ old: String, _ new: String) -> [UInt8] {
    Array(String(decoding: self, as: UTF8.self).split(separator: old).joined(separator: new).utf8)
  }
}

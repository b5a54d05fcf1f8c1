import SimulatedDisk

/// Makes up what clients send: requests of every route, most of them sound, some of them cut up.
struct RequestGrammar {
  private var random: SeededRandom

  init(seed: UInt64) {
    random = SeededRandom(seed: seed)
  }

  mutating func number(below bound: Int) -> Int { random.below(bound) }

  /// Some requests, one behind the other.
  mutating func connection() -> [UInt8] {
    var bytes: [UInt8] = []
    for _ in 0...random.below(6) { bytes += request() }
    if random.once(in: 3) {
      for _ in 0...random.below(3) { mutate(&bytes) }
    }
    return bytes
  }

  mutating func request() -> [UInt8] {
    let method = pick(Self.methods)
    let target = target(for: method)
    var headers = [pick(Self.hosts)]
    var body = body(for: target)
    if body.isEmpty ? random.once(in: 4) : !random.once(in: 6) {
      if random.once(in: 5) {
        headers.append("Transfer-Encoding: chunked")
        body = chunked(body)
      } else {
        headers.append("Content-Length: \(body.utf8.count)")
      }
    }
    while random.once(in: 2) { headers.append(pick(Self.headers)) }
    if random.once(in: 2) { headers.shuffle(using: &random) }
    let end = random.once(in: 40) ? "\n" : "\r\n"
    let version = random.once(in: 12) ? pick(Self.versions) : "HTTP/1.1"
    let lines = ["\(method) \(target) \(version)"] + headers.filter { !$0.isEmpty }
    return Array((lines.joined(separator: end) + end + end + body).utf8)
  }

  // MARK: - Parts

  private static let methods =
    ["GET", "GET", "GET", "GET", "PUT", "PUT", "PUT", "POST", "POST", "DELETE", "DELETE", "HEAD"]
    + ["OPTIONS", "PATCH", "get", "CONNECT", "TRACE"]
  private static let keys = [
    "a", "b", "c", "a%62", "k+1", "%2B", "x/y", "%00", "%ff", "%zz", "a%", "a=b", "a?b", "",
    String(repeating: "l", count: 201), "caf%C3%A9", "a\"b", "a b", "é",
  ]
  private static let hosts =
    [String](repeating: "Host: x", count: 12)
    + [
      "host:x:80", "HOST: [::1]:8080 ", "", "Host: a\r\nHost: b", "Host: a b", "Host:", "Host : x",
    ]
  private static let versions = ["HTTP/1.0", "HTTP/1.0", "HTTP/2.0", "HTTP/1.2", "http/1.1", ""]
  private static let headers = [
    "Connection: close", "Connection: keep-alive", "connection: Close", "Connection: close\t",
    "Connection: keep-alive, close", "Connection: \tclose", "Connection: upgrade", "Connection:",
    "Connection: x, close", "Connection: close,", "Connection: keep-alive\t", "Connection: closed",
    "Keep-Alive: 5", "Proxy-Connection: close", "Upgrade: h2c", "Expect: 100-continue",
    "Expect: x", "Content-Length: 0", "Content-Length: 2", "Content-Length: 2\t",
    "Content-Length:  02", "Content-Length: +1", "Content-Length:", "Transfer-Encoding: chunked",
    "Transfer-Encoding: gzip", "Content-Type: application/json", "Content-Type: text/plain",
    "Content-Type: application/x-www-form-urlencoded", "If-Match: *", "If-None-Match: *",
    "If-Match: \"2.1-00000000000a11ce\"", "If-None-Match: W/\"2.1-00000000000a11ce\"",
    "If-None-Match: \"3.1-00000000000a11ce\", \"2.1-00000000000a11ce\"", "If-Match: x",
    "If-Match: \"2.2-00000000000a11ce\"", "Content-Range: bytes 0-1/2", "Range: bytes=0-1",
    "A: b", "A:", "A: \t b \t", "a : b", "A: b\r\n c", "A: \u{e9}", "A\u{0}: b", ": b", "A: \u{1}b",
    "User-Agent: shiplog/1", "Accept: */*", "X-KV-Context: x", "Cookie: a=b; c=d",
  ]

  private mutating func target(for method: String) -> String {
    let key = random.once(in: 3) ? pick(Self.keys) : pick(["a", "b", "c"])
    let value = pick(["v", "", "a+b", "%41", "%4", String(repeating: "v", count: 2_500), "x=y&z"])
    let option = random.once(in: 8) ? pick(Self.options) : ""
    let place: String
    switch (method, random.below(10)) {
    case ("POST", 0...4), ("GET", 9): place = "/set?key=\(key)&value=\(value)"
    case ("POST", 5): place = "/batch?x=1"
    case ("POST", 6), ("PUT", 9): place = "/set?x=1"
    case ("GET", 0...1): place = "/get?key=\(key)"
    case ("GET", 2): place = "/get/\(key)?x"
    case ("GET", 3): place = "/get/\(key)"
    case ("GET", 4): place = "/local_read/\(key)"
    case ("DELETE", 0...3), ("POST", 7...8): place = "/delete?key=\(key)"
    case (_, 8): place = pick(Self.otherTargets)
    default: place = "/kv/\(key)"
    }
    if option.isEmpty { return place }
    return place + (place.contains("?") ? "&" : "?") + option
  }

  private static let options = [
    "w=1", "w=2", "r=1", "r=x", "timeout_ms=5", "timeout_ms=", "ttl=5", "ttl=1", "ttl=1", "ttl=2",
    "ttl=", "ttl=0", "ttl=1.5", "ttl=+1", "ttl=%31", "ttl=3155760001", "ttl=1&ttl=x",
    "min_version=x",
    "min_version=%221.1-00000000000a11ce%22", "min_version=9.9-00000000000a11ce", "min_version=1",
    "min_version=9999", "key=other", "=",
  ]
  private static let otherTargets = [
    "/health", "/ready", "/kv?key=a&key=b", "/kv", "/purge", "/purge?dry_run=true", "/x",
    "/", "*", "http://x/kv/a", "http:///kv/a", "/next-replication-key", "x", "/get", "/set?key=a",
    "/watch", "/watch?from=1", "/watch?from=1&prefix=a", "/watch?from=0", "/watch?from=9&epoch=1-0",
    "/set?value=b&key=a", "/kv/a#b", "/get?key=a#b", "/get?key=a&key=b",
    "/set?key=a&value=b&value=c", "/kv?limit=1", "/kv?prefix=a&limit=2", "/kv?limit=0",
    "/kv?after=a&until=l&scope=cluster", "/kv?prefix=%ff&after=%", "/kv?limit=2&after=%00",
  ]

  private mutating func body(for target: String) -> String {
    if target.hasPrefix("/batch") {
      return pick([
        #"{"op":"put","key":"a","value":"b"}"# + "\n" + #"{"op":"delete","key":"c"}"#,
        #"{"op":"put","key":"a","value":"b","ttl":1}"#, #"{"op":"delete","key":"a","ttl":1}"#,
        #"{"op":"put","key":"a","value_base64":"/w=="}"# + "\n\n", #"{"op":"x"}"#, "", "\n",
        String(repeating: #"{"op":"delete","key":"c"}"# + "\n", count: 11),
      ])
    }
    if target.hasPrefix("/set?x") {
      return pick([
        #"{"key":"a","value":"b"}"#, #"{"key":"a","value":"b","ttl":1}"#, "key=b&value=c&ttl=1",
        #" {"key":"","value":"b"}"#, #"{"key":"a"}"#,
        "key=a&value=b+c",
        "key=%zz&value=", "value=1", "{", "",
      ])
    }
    if target.hasPrefix("/kv/") {
      return pick(["", "x", "value", String(repeating: "w", count: 3_000), "\u{0}\r\n\r\n"])
    }
    return random.once(in: 10) ? "key=a&value=q" : ""
  }

  private mutating func chunked(_ body: String) -> String {
    var text = ""
    var rest = Substring(body)
    while !rest.isEmpty {
      let piece = rest.prefix(1 + random.below(2_000))
      rest = rest.dropFirst(piece.count)
      let size = String(piece.utf8.count, radix: 16)
      text += "\(size)\(pick(["", "", ";a=b", ";a=\"b\"", " "]))\r\n\(piece)\r\n"
    }
    return text + pick(["0\r\n\r\n", "0\r\n\r\n", "0\r\nA: b\r\n\r\n", "00\r\n\r\n", "-1\r\n\r\n"])
  }

  // MARK: - Mutations

  private mutating func mutate(_ bytes: inout [UInt8]) {
    guard !bytes.isEmpty else { return }
    let place = random.below(bytes.count)
    let end = min(bytes.count, place + 1 + random.below(12))
    switch random.below(6) {
    case 0: bytes[place] ^= 1 << UInt8(random.below(8))
    case 1: bytes.removeSubrange(place..<end)
    case 2: bytes.insert(contentsOf: bytes[place..<end], at: random.below(bytes.count))
    case 3: bytes.insert(contentsOf: Array(pick(Self.pieces).utf8), at: place)
    case 4: bytes.removeSubrange(place...)
    default: bytes[place] = UInt8(random.below(256))
    }
  }

  private static let pieces = [
    "\r\n", "\n", "\r", " ", "\t", ":", "%", "%41", "?", "&", "#", "/", "\u{0}", "HTTP/1.1", "GET ",
    "\r\n\r\n", "Host: x\r\n", "Content-Length: 1\r\n", "Connection: close\r\n", "\u{ff}", ",", "=",
    "+",
  ]

  private mutating func pick(_ choices: [String]) -> String { choices[random.below(choices.count)] }
}

/// One of the hot requests, recognised in the bytes as they come from the network.
///
/// Recognises `GET /get?key=K`, `GET|POST|PUT /set?key=K&value=V`, `GET|POST|DELETE /delete?key=K`,
/// `GET /get/K`, `GET /local_read/K` and `GET|HEAD|PUT|DELETE /kv/K` of HTTP/1.1, with a `w` and a `ttl`
/// behind what is written, and a replica's `POST /wal/ack?…`, where nothing unusual is in line and headers. Everything else is the standard
/// pipeline's, which says what is wrong with it, if anything. So what is recognised here must be a
/// subset of what is valid there, with the same meaning.
package struct FastRequest: Equatable {
  package enum Outcome: Equatable {
    /// Bytes are missing.
    case incomplete
    /// Not for here.
    case unusual
    case request(FastRequest)
  }

  /// Heads above this are unusual.
  package static let headBytesMax = 16 << 10
  /// Heads with more fields than that are unusual.
  package static let headerFieldsMax = 64
  /// Bodies above this are unusual.
  package static let bodyBytesMax = 64 << 10

  package var route: Route
  /// Still percent-encoded; of an acknowledgement the whole query.
  package var key: Range<Int>
  /// A value in the query, still percent-encoded, or a body.
  package var value: Range<Int>
  /// Members that are to have the write; 0 where the request does not say it.
  package var members: UInt8 = 0
  /// How long the value is to live; 0 for ever.
  package var ttlSeconds: UInt64 = 0
  /// Names and values in a query have `+` for a space.
  package var isQuery: Bool
  package var isHead = false
  package var keepsAlive = true
  /// Nodes that it has come through.
  package var hops: UInt8 = 0
  /// Only the shard's leader is to answer it.
  package var isForLeader = false
  /// How whoever has handed it on divides the keys; empty where that is not said.
  package var shards: Range<Int> = 0..<0
  package var fields: UInt8 = 0
  /// Where the next request begins.
  package var end: Int

  /// Where its head ends, with the empty line.
  var headEnd: Int { route == .restPut ? value.lowerBound : end }

  /// Looks at the first request in `bytes`.
  ///
  /// - Parameter bodyBytesMax: no more than the bound for all; bodies above this are unusual, too.
  package static func recognise(
    _ bytes: UnsafeRawBufferPointer, bodyBytesMax: Int = bodyBytesMax
  ) -> Outcome {
    var scanner = Scanner(bytes: bytes, bodyBytesMax: bodyBytesMax)
    return scanner.request()
  }

  private enum Method {
    case get, head, post, put, delete
  }

  /// Reads forward; `nil` from a function means unusual, unless `isShort` says that bytes ran out.
  private struct Scanner {
    let bytes: UnsafeRawBufferPointer
    let bodyBytesMax: Int
    var position = 0
    var isShort = false
    /// What a request that goes on like this can have at most.
    var bytesMax = headBytesMax

    mutating func request() -> Outcome {
      let request = line().flatMap { headers($0) }
      if let request { return .request(request) }
      return isShort && bytes.count <= bytesMax ? .incomplete : .unusual
    }

    /// The byte at `position`.
    @inline(__always)
    private mutating func byte() -> UInt8? {
      guard position < bytes.count else {
        isShort = true
        return nil
      }
      return bytes[position]
    }

    @inline(__always)
    private mutating func skip(_ text: StaticString) -> Bool {
      let count = text.utf8CodeUnitCount
      let start = text.utf8Start
      for offset in 0..<count {
        guard position + offset < bytes.count else {
          isShort = true
          return false
        }
        guard bytes[position + offset] == start[offset] else { return false }
      }
      position += count
      return true
    }

    // MARK: - Request line

    private mutating func line() -> FastRequest? {
      guard let method = method() else { return nil }
      guard let request = target(method), skip(" HTTP/1.1\r\n") else { return nil }
      return request
    }

    private mutating func method() -> Method? {
      guard let first = byte() else { return nil }
      switch first {
      case UInt8(ascii: "G"): return skip("GET /") ? .get : nil
      case UInt8(ascii: "H"): return skip("HEAD /") ? .head : nil
      case UInt8(ascii: "D"): return skip("DELETE /") ? .delete : nil
      case UInt8(ascii: "P"):
        guard position + 1 < bytes.count else {
          isShort = true
          return nil
        }
        if bytes[position + 1] == UInt8(ascii: "U") { return skip("PUT /") ? .put : nil }
        return skip("POST /") ? .post : nil
      default: return nil
      }
    }

    private mutating func target(_ method: Method) -> FastRequest? {
      guard let first = byte() else { return nil }
      switch first {
      case UInt8(ascii: "g"):
        guard method == .get, skip("get") else { return nil }
        return skip("/") ? inPath(.jsonGet) : skip("?key=") ? inQuery(.classicGet) : nil
      case UInt8(ascii: "s"):
        guard method == .get || method == .post || method == .put, skip("set?key=") else {
          return nil
        }
        return timed(confirmed(inQuery(.classicSet), by: "&w="), by: "&ttl=")
      case UInt8(ascii: "d"):
        guard method == .get || method == .post || method == .delete, skip("delete?key=") else {
          return nil
        }
        return confirmed(inQuery(.classicDelete), by: "&w=")
      case UInt8(ascii: "w"):
        guard method == .post, skip("wal/ack?"), let query = run(PlainBytes.wholeQuery) else {
          return nil
        }
        return FastRequest(
          route: .acknowledgement, key: query, value: 0..<0, isQuery: true, end: 0)
      case UInt8(ascii: "l"):
        guard method == .get, skip("local_read/") else { return nil }
        return inPath(.localRead)
      case UInt8(ascii: "k"):
        guard skip("kv/") else { return nil }
        switch method {
        case .get: return inPath(.restGet)
        case .head:
          var request = inPath(.restGet)
          request?.isHead = true
          return request
        case .put:
          let request = confirmed(inPath(.restPut), by: "?w=")
          return timed(request, by: request?.members == 0 ? "?ttl=" : "&ttl=")
        case .delete: return confirmed(inPath(.restDelete), by: "?w=")
        case .post: return nil
        }
      default: return nil
      }
    }

    /// A key that ends the path; no query behind it.
    private mutating func inPath(_ route: Route) -> FastRequest? {
      guard let key = run(PlainBytes.path), !key.isEmpty else { return nil }
      return FastRequest(route: route, key: key, value: 0..<0, isQuery: false, end: 0)
    }

    /// A key behind `key=`, and for `/set` a value; no other parameters.
    private mutating func inQuery(_ route: Route) -> FastRequest? {
      guard let key = run(PlainBytes.query), !key.isEmpty else { return nil }
      var request = FastRequest(route: route, key: key, value: 0..<0, isQuery: true, end: 0)
      if route == .classicSet {
        if position + 1 < bytes.count, bytes[position + 1] == UInt8(ascii: "w") {
          guard let found = confirmed(request, by: "&w=") else { return nil }
          request = found
        }
        guard skip("&value="), let value = run(PlainBytes.query) else { return nil }
        request.value = value
      }
      return request
    }

    /// Adds the `w` that follows, if that does: of one digit.
    @inline(__always)
    private mutating func confirmed(
      _ request: FastRequest?, by name: StaticString
    ) -> FastRequest? {
      guard var request, bytes[position] == name.utf8Start[0], request.members == 0 else {
        return request
      }
      guard position + 1 < bytes.count else {
        isShort = true
        return nil
      }
      guard bytes[position + 1] == UInt8(ascii: "w") else { return request }
      guard skip(name), let digit = byte() else { return nil }
      guard digit >= UInt8(ascii: "1"), digit <= UInt8(ascii: "9") else { return nil }
      position += 1
      guard byte() != nil else { return nil }
      request.members = digit - UInt8(ascii: "0")
      return request
    }

    /// Adds the `ttl` that follows, if anything but a blank does.
    @inline(__always)
    private mutating func timed(_ request: FastRequest?, by name: StaticString) -> FastRequest? {
      guard var request, bytes[position] != UInt8(ascii: " ") else { return request }
      guard skip(name), let digits = run(PlainBytes.query) else { return nil }
      guard let seconds = TimeToLive.parse(UnsafeRawBufferPointer(rebasing: bytes[digits])) else {
        return nil
      }
      request.ttlSeconds = seconds
      return request
    }

    /// The bytes of that class up to one that is not, which must exist.
    @inline(__always)
    private mutating func run(_ plain: PlainBytes) -> Range<Int>? {
      let start = position
      while position < bytes.count, plain.contains(bytes[position]) { position += 1 }
      guard position < bytes.count else {
        isShort = true
        return nil
      }
      return start..<position
    }

    // MARK: - Headers

    private mutating func headers(_ line: FastRequest) -> FastRequest? {
      var request = line
      var fields = 0
      var hosts = 0
      var bodyBytes: Int?
      while true {
        guard let first = byte() else { return nil }
        if first == UInt8(ascii: "\r") {
          guard skip("\r\n") else { return nil }
          break
        }
        let start = position
        while position < bytes.count, HeaderBytes.isName(bytes[position]) { position += 1 }
        guard let colon = byte(), colon == UInt8(ascii: ":"), position > start else { return nil }
        fields += 1
        let meaning = meaning(start..<position)
        guard meaning != .unusual, fields <= headerFieldsMax else { return nil }
        position += 1
        let valueStart = position
        while position < bytes.count, HeaderBytes.isValue(bytes[position]) { position += 1 }
        let value = trim(valueStart..<position)
        // Refused before the rest is there: as soon as it is no number, or the second one.
        if meaning == .contentLength {
          guard bodyBytes == nil, position == bytes.count && value.isEmpty || length(value) != nil,
            // Which the standard pipeline refuses, though it is a blank.
            !bytes[value.upperBound..<position].contains(UInt8(ascii: "\t"))
          else { return nil }
        }
        guard skip("\r\n") else { return nil }
        switch meaning {
        case .ignored, .unusual: break
        case .forwardedBy:
          let nodes = 1 + bytes[value].count { $0 == UInt8(ascii: ",") }
          request.hops = UInt8(clamping: Int(request.hops) + nodes)
        case .shards: request.shards = value
        case .readFrom:
          if isEqual(value, "leader") { request.isForLeader = true }
        case .host:
          guard bytes[value].allSatisfy(HeaderBytes.isHost) else { return nil }
          hosts += 1
        case .contentLength:
          bodyBytes = length(value)
        case .connection:
          if isEqual(value, "close") {
            request.keepsAlive = false
          } else if !isEqual(value, "keep-alive") {
            return nil
          }
        }
      }
      guard hosts == 1, position <= headBytesMax else { return nil }
      request.fields = UInt8(fields)
      return body(bodyBytes ?? 0, request)
    }

    private mutating func body(_ count: Int, _ line: FastRequest) -> FastRequest? {
      var request = line
      if request.route == .restPut {
        guard bytes.count - position >= count else {
          isShort = true
          bytesMax = position + count
          return nil
        }
        request.value = position..<position + count
      } else {
        guard count == 0 else { return nil }
      }
      request.end = position + count
      return request
    }

    private enum Meaning {
      case ignored, unusual, host, contentLength, connection, forwardedBy, readFrom, shards
    }

    /// Told by length and letters; what may change what a request means is unusual.
    private func meaning(_ name: Range<Int>) -> Meaning {
      // What is for a proxy is not handed on.
      if bytes[name.lowerBound] | 0x20 == UInt8(ascii: "p"), name.count > 6,
        isEqual(name.prefix(6), "proxy-")
      {
        return .unusual
      }
      switch name.count {
      case 2: return isEqual(name, "te") ? .unusual : .ignored
      case 4: return isEqual(name, "host") ? .host : .ignored
      case 6: return isEqual(name, "expect") ? .unusual : .ignored
      case 7:
        return isEqual(name, "upgrade") || isEqual(name, "trailer") ? .unusual : .ignored
      case 8: return isEqual(name, "if-match") ? .unusual : .ignored
      case 10:
        if isEqual(name, "connection") { return .connection }
        return isEqual(name, "keep-alive") ? .unusual : .ignored
      case 11: return isEqual(name, "x-kv-shards") ? .shards : .ignored
      case 12: return isEqual(name, "x-kv-context") ? .unusual : .ignored
      case 13:
        return isEqual(name, "if-none-match") || isEqual(name, "content-range")
          ? .unusual : .ignored
      case 14:
        if isEqual(name, "content-length") { return .contentLength }
        return isEqual(name, "x-kv-read-from") ? .readFrom : .ignored
      case 16:
        return isEqual(name, "x-kv-read-quorum") ? .unusual : .ignored
      case 17:
        if isEqual(name, "x-kv-forwarded-by") { return .forwardedBy }
        return isEqual(name, "transfer-encoding") ? .unusual : .ignored
      default: return .ignored
      }
    }

    /// - Parameter text: in lower case.
    private func isEqual(_ range: Range<Int>, _ text: StaticString) -> Bool {
      guard range.count == text.utf8CodeUnitCount else { return false }
      for offset in 0..<range.count {
        var byte = bytes[range.lowerBound + offset]
        if byte >= UInt8(ascii: "A"), byte <= UInt8(ascii: "Z") { byte |= 0x20 }
        guard byte == text.utf8Start[offset] else { return false }
      }
      return true
    }

    private func trim(_ range: Range<Int>) -> Range<Int> {
      var (start, end) = (range.lowerBound, range.upperBound)
      while start < end, bytes[start] == 0x20 || bytes[start] == 0x09 { start += 1 }
      while end > start, bytes[end - 1] == 0x20 || bytes[end - 1] == 0x09 { end -= 1 }
      return start..<end
    }

    private func length(_ digits: Range<Int>) -> Int? {
      guard !digits.isEmpty, digits.count <= 6 else { return nil }
      var number = 0
      for index in digits {
        guard bytes[index] >= UInt8(ascii: "0"), bytes[index] <= UInt8(ascii: "9") else {
          return nil
        }
        number = number * 10 + Int(bytes[index] - UInt8(ascii: "0"))
      }
      return number <= bodyBytesMax ? number : nil
    }
  }
}

/// A set of bytes, as a table: one look a byte.
struct PlainBytes: @unchecked Sendable {
  // Never changed, and never freed: there are a few of them for the whole process.
  private let table: UnsafePointer<Bool>

  init(_ text: StaticString) {
    let table = UnsafeMutablePointer<Bool>.allocate(capacity: 256)
    table.initialize(repeating: false, count: 256)
    for index in 0..<text.utf8CodeUnitCount { table[Int(text.utf8Start[index])] = true }
    self.table = UnsafePointer(table)
  }

  @inline(__always)
  func contains(_ byte: UInt8) -> Bool { table[Int(byte)] }

  /// What may stand in a path here: RFC 3986's `pchar` and the slash.
  static let path = PlainBytes(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=:@%/")
  /// What may stand in a parameter here: the same and `?`, without what separates parameters.
  static let query = PlainBytes(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$'()*+,;:@%/?=")
  /// The same, and what separates them.
  static let wholeQuery = PlainBytes(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$'()*+,;:@%/?=&")
}

enum HeaderBytes {
  private static let name = PlainBytes(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~")

  /// A byte of a field's name: RFC 9110's `tchar`.
  @inline(__always)
  static func isName(_ byte: UInt8) -> Bool { name.contains(byte) }

  private static let host = PlainBytes(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=:[]%")

  /// A byte of a host and a port: RFC 3986, 3.2.2.
  @inline(__always)
  static func isHost(_ byte: UInt8) -> Bool { host.contains(byte) }

  /// A byte of a field's value, of those that are not unusual.
  @inline(__always)
  static func isValue(_ byte: UInt8) -> Bool { byte >= 0x20 && byte < 0x7f || byte == 0x09 }
}

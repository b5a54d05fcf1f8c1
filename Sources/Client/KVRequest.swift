import NIOCore
import NIOHTTP1

/// A request to a node.
public struct KVRequest: Sendable {
  public var method: HTTPMethod
  /// Path and query, percent-encoded: `/kv/a%20b?ttl=5`.
  public var target: String
  /// Those that say how this one message is carried (`KVRequest.connectionHeaders`) are written by
  /// the connection; what stands here under these names is left out.
  public var headers: HTTPHeaders
  public var body: ByteBuffer
  /// Whether to send it twice is the same as to send it once. Only such a request is repeated when
  /// it may have been carried out already.
  public var isIdempotent: Bool
  /// The bound of the answer's body, where it is not the connection's.
  package var answerBytesMax: Int?

  /// - Parameter isIdempotent: by default `GET`, `HEAD` and `OPTIONS` only. A repeated `PUT` could
  ///   undo another's write that came between the two; a repeated `DELETE` answers 404.
  public init(
    _ method: HTTPMethod, _ target: String, headers: HTTPHeaders = HTTPHeaders(),
    body: ByteBuffer = ByteBuffer(), isIdempotent: Bool? = nil
  ) {
    self.method = method
    self.target = target
    self.headers = headers
    self.body = body
    self.isIdempotent = isIdempotent ?? method.isRead
  }

  /// What belongs to one connection and not to the request (RFC 9110, section 7.6.1), in lower case.
  public static let connectionHeaders: Set<String> = [
    "connection", "content-length", "expect", "host", "keep-alive", "proxy-connection", "te",
    "trailer", "transfer-encoding", "upgrade",
  ]

  /// Those of the fields that whoever hands a message on hands on with it: without what belongs to a connection, what
  /// `Connection` names, and what is for a proxy.
  package static func endToEnd(_ headers: HTTPHeaders) -> HTTPHeaders {
    let named = Set(headers[canonicalForm: "Connection"].map { $0.lowercased() })
    var kept = HTTPHeaders()
    for (name, value) in headers {
      let name = (given: name, lower: name.lowercased())
      guard !connectionHeaders.contains(name.lower), !named.contains(name.lower),
        !name.lower.hasPrefix("proxy-")
      else { continue }
      kept.add(name: name.given, value: value)
    }
    return kept
  }

  /// - Throws: `KVClientError.badRequest` for what would not be one HTTP request on the wire.
  func validate() throws(KVClientError) {
    guard target.utf8.first == UInt8(ascii: "/") else {
      throw .badRequest("the target does not begin with a slash: \(target.debugDescription)")
    }
    guard target.utf8.allSatisfy({ $0 > 0x20 && $0 != 0x7F }) else {
      throw .badRequest(
        "the target holds blanks or control characters: percent-encode them: "
          + target.debugDescription)
    }
    guard isToken(method.rawValue) else {
      throw .badRequest("not a method: \(method.rawValue.debugDescription)")
    }
    for (name, value) in headers {
      guard isToken(name) else { throw .badRequest("not a header: \(name.debugDescription)") }
      guard value.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F || $0 == 0x09 }) else {
        throw .badRequest("the header \(name) holds control characters")
      }
    }
  }

  package init(
    _ method: HTTPMethod, _ target: String, headers: HTTPHeaders, body: ByteBuffer,
    isIdempotent: Bool,
    answerBytesMax: Int?
  ) {
    self.init(method, target, headers: headers, body: body, isIdempotent: isIdempotent)
    self.answerBytesMax = answerBytesMax
  }

  /// The head as it goes over a connection to `address`.
  func head(to address: NodeAddress) -> HTTPRequestHead {
    var head = HTTPRequestHead(version: .http1_1, method: method, uri: target)
    head.headers.reserveCapacity(headers.count + 2)
    head.headers.add(name: "Host", value: address.description)
    for (name, value) in headers where !Self.connectionHeaders.contains(name.lowercased()) {
      head.headers.add(name: name, value: value)
    }
    if body.readableBytes > 0 || !method.isRead {
      head.headers.add(name: "Content-Length", value: String(body.readableBytes))
    }
    return head
  }
}

extension HTTPMethod {
  /// Changes nothing at the node.
  package var isRead: Bool { self == .GET || self == .HEAD || self == .OPTIONS }
}

/// A token of RFC 9110, section 5.6.2.
private func isToken(_ text: String) -> Bool {
  !text.isEmpty
    && text.utf8.allSatisfy {
      switch $0 {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
        UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "!"),
        UInt8(ascii: "#")...UInt8(ascii: "'"), UInt8(ascii: "*"), UInt8(ascii: "+"),
        UInt8(ascii: "-"), UInt8(ascii: "."), UInt8(ascii: "^")...UInt8(ascii: "`"),
        UInt8(ascii: "|"), UInt8(ascii: "~"):
        true
      default: false
      }
    }
}

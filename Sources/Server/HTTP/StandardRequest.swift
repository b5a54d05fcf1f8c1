import NIOCore
import NIOHTTP1

/// A request as the standard pipeline delivers it, once its head has been found sound.
package struct StandardRequest {
  package let method: HTTPMethod
  /// The target's path, still percent-encoded; begins with a slash.
  package let path: [UInt8]
  /// What stands behind the first `?`, still percent-encoded.
  package let query: [UInt8]
  let headers: HTTPHeaders
  package let keepsAlive: Bool
  let isVersion10: Bool
  /// The body's length where it was said before.
  package let contentLength: Int?
  package let hasBody: Bool
  var body = ByteBuffer()

  /// Why a head is refused.
  package struct Refusal: Error {
    package let status: Status
    package let reason: String
  }

  /// Checks what the parser lets through and RFC 9112 does not, and what would be ambiguous.
  package init(_ head: HTTPRequestHead, limits: Limits) throws(Refusal) {
    func malformed(_ reason: String) -> Refusal { Refusal(status: .badRequest, reason: reason) }

    let target = Array(head.uri.utf8)
    guard target.count <= limits.targetBytesMax else {
      throw Refusal(
        status: .targetTooLong, reason: "the target is longer than \(limits.targetBytesMax) bytes")
    }
    let headBytes = head.headers.reduce(target.count) {
      $0 + $1.name.utf8.count + $1.value.utf8.count + 4
    }
    guard headBytes <= limits.headBytesMax, head.headers.count <= limits.headerFieldsMax else {
      throw Refusal(
        status: .headersTooLarge,
        reason: "line and headers are larger than \(limits.headBytesMax) bytes, "
          + "or more than \(limits.headerFieldsMax)")
    }
    for (name, value) in head.headers {
      guard !name.isEmpty, name.utf8.allSatisfy(HeaderBytes.isName) else {
        throw malformed("a header's name is not a token")
      }
      guard value.utf8.allSatisfy({ HeaderBytes.isValue($0) || $0 >= 0x80 }) else {
        throw malformed("a control character in a header")
      }
    }
    guard target.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "#") }) else {
      throw malformed("the target has bytes that must be percent-encoded")
    }
    let hosts = head.headers.values(of: "host")
    guard hosts.count == 1 || hosts.isEmpty && head.version == .http1_0 else {
      throw malformed("there must be one Host header")
    }
    guard hosts.allSatisfy({ $0.utf8.allSatisfy(HeaderBytes.isHost) }) else {
      throw malformed("the Host header is no host and port")
    }
    let lengths = head.headers.values(of: "content-length")
    let codings = head.headers.values(of: "transfer-encoding")
    guard lengths.count <= 1, lengths.isEmpty || codings.isEmpty else {
      throw malformed("the length of the body is ambiguous")
    }
    if let length = lengths.first {
      guard length.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }), let number = Int(length) else {
        throw malformed("Content-Length is not a number")
      }
      contentLength = number
    } else {
      contentLength = nil
    }
    guard codings.count <= 1, codings.first.map({ $0.lowercased() == "chunked" }) ?? true else {
      throw Refusal(status: .notImplemented, reason: "no transfer coding but chunked is understood")
    }
    guard codings.isEmpty || head.version != .http1_0 else {
      throw malformed("chunked needs HTTP/1.1")
    }
    let expectations = head.headers.values(of: "expect")
    guard expectations.allSatisfy({ $0.lowercased() == "100-continue" }) else {
      throw Refusal(status: .expectationFailed, reason: "only 100-continue can be expected")
    }
    guard let (path, query) = Self.split(target) else {
      throw malformed("the target is no path")
    }
    self.path = path
    self.query = query
    method = head.method
    headers = head.headers
    // After a request to change the protocol the parser stops; CONNECT is one.
    keepsAlive =
      head.isKeepAlive && Self.wantsConnection(head) && !head.headers.contains(name: "upgrade")
      && head.method != .CONNECT
    isVersion10 = head.version == .http1_0
    hasBody = contentLength.map { $0 > 0 } ?? !codings.isEmpty
  }

  /// What `Connection` says (RFC 9112, 9.3): the parser overlooks an option with a tab beside it.
  private static func wantsConnection(_ head: HTTPRequestHead) -> Bool {
    let options = head.headers["connection"].flatMap { $0.split(separator: ",") }
      .map { $0.trimmingBlanks.lowercased() }
    return !options.contains("close")
      && (head.version != .http1_0 || options.contains("keep-alive"))
  }

  package var expectsContinue: Bool { !isVersion10 && hasBody && headers.contains(name: "expect") }

  /// Path and query of a target in origin form, or in absolute form (RFC 9112, 3.2).
  private static func split(_ target: [UInt8]) -> (path: [UInt8], query: [UInt8])? {
    var rest = target[...]
    if rest.first != UInt8(ascii: "/") {
      let text = String(decoding: target.prefix(8), as: UTF8.self).lowercased()
      guard text.hasPrefix("http://") || text.hasPrefix("https://") else { return nil }
      rest = rest.dropFirst(text.hasPrefix("http://") ? 7 : 8)
      let host = rest.prefix { $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "?") }
      guard !host.isEmpty, host.allSatisfy(HeaderBytes.isHost) else { return nil }
      rest = rest[host.endIndex...]
    }
    let mark = rest.firstIndex(of: UInt8(ascii: "?")) ?? rest.endIndex
    let path = Array(rest[..<mark])
    return (path.isEmpty ? [UInt8(ascii: "/")] : path, Array(rest[mark...].dropFirst()))
  }
}

extension HTTPHeaders {
  /// The values of the fields of that name, without the blanks around them, some of which the parser
  /// leaves there.
  func values(of name: String) -> [Substring] { self[name].map { $0[...].trimmingBlanks } }
}

/// The parameters of a query string or a form, decoded.
package struct Parameters {
  /// Those without `=` have an empty value.
  package private(set) var items: [(name: [UInt8], value: [UInt8])] = []

  /// - Returns: nil when the percent-encoding is bad.
  package init?(_ bytes: some Collection<UInt8>) {
    let bytes = Array(bytes)
    let isGood = bytes.withUnsafeBytes { raw in
      for parameter in QueryParameters(raw) {
        guard let name = Self.decode(raw[parameter.name]),
          let value = Self.decode(raw[parameter.value])
        else { return false }
        items.append((name, value))
      }
      return true
    }
    guard isGood else { return nil }
  }

  private static func decode(_ part: Slice<UnsafeRawBufferPointer>) -> [UInt8]? {
    var isGood = true
    let decoded = [UInt8](unsafeUninitializedCapacity: part.count) { room, count in
      if let written = PercentEncoding.decode(
        query: UnsafeRawBufferPointer(rebasing: part), into: UnsafeMutableRawBufferPointer(room))
      {
        count = written
      } else {
        isGood = false
      }
    }
    return isGood ? decoded : nil
  }

  mutating func append(_ other: Parameters) { items += other.items }

  /// The first parameter of that name.
  package func first(_ name: String) -> [UInt8]? {
    items.first { $0.name.elementsEqual(name.utf8) }?.value
  }

  package func all(_ name: String) -> [[UInt8]] {
    items.filter { $0.name.elementsEqual(name.utf8) }.map(\.value)
  }

  package func text(_ name: String) -> String? {
    first(name).map { String(decoding: $0, as: UTF8.self) }
  }
}

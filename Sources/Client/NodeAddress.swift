import NIOCore

/// Where a node takes requests: a host and a port.
///
/// Two addresses are equal when they are written alike, but for the case of letters: names are not
/// looked up to find out whether they mean the same machine.
public struct NodeAddress: Hashable, Sendable {
  /// A name, an IPv4 address, or an IPv6 address without brackets. In lower case.
  public let host: String
  public let port: UInt16

  public init(host: String, port: UInt16) {
    self.host = host.lowercased()
    self.port = port
  }

  /// Reads `127.0.0.1:8080`, `node-2:8080` or `[::1]:8080`, also as `http://…` and with a `/` behind.
  ///
  /// - Throws: `KVClientError.badAddress`, which says what is wrong with it.
  public init(parsing text: String) throws(KVClientError) {
    func bad(_ problem: String) -> KVClientError { .badAddress(text, problem) }
    var rest = text[...]
    if let scheme = rest.firstRange(of: "://") {
      guard rest[..<scheme.lowerBound].lowercased() == "http" else {
        throw bad("only http:// is understood")
      }
      rest = rest[scheme.upperBound...]
      if rest.last == "/" { rest.removeLast() }
    }
    let host: Substring
    if rest.first == "[" {
      guard let end = rest.firstIndex(of: "]") else { throw bad("the closing ] is missing") }
      host = rest[rest.index(after: rest.startIndex)..<end]
      rest = rest[rest.index(after: end)...]
      guard Self.isIPv6(host) else { throw bad("\(host) is not an IPv6 address") }
    } else {
      host = rest.prefix { $0 != ":" }
      rest = rest[host.endIndex...]
      guard !rest.dropFirst().contains(":") else {
        throw bad("an IPv6 address is written in brackets: [::1]:8080")
      }
      guard !host.isEmpty else { throw bad("the host is missing: write HOST:PORT") }
      guard Self.isName(host) else { throw bad("\(host) is not a host's name") }
    }
    guard rest.first == ":" else { throw bad("the port is missing: write HOST:PORT") }
    let digits = rest.dropFirst()
    guard digits.utf8.allSatisfy({ (48...57).contains($0) }), let port = UInt16(digits), port > 0
    else {
      throw bad("the port must be a number from 1 to 65535")
    }
    self.init(host: String(host), port: port)
  }

  private static func isIPv6(_ text: Substring) -> Bool {
    guard text.contains(":") else { return false }
    do {
      _ = try SocketAddress(ipAddress: String(text), port: 1)
      return true
    } catch {
      return false
    }
  }

  private static func isName(_ text: Substring) -> Bool {
    text.utf8.allSatisfy {
      switch $0 {
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
        UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "-"), UInt8(ascii: "."),
        UInt8(ascii: "_"):
        true
      default: false
      }
    }
  }
}

extension NodeAddress: CustomStringConvertible {
  /// `127.0.0.1:8080`, and with brackets `[::1]:8080`.
  public var description: String {
    host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
  }
}

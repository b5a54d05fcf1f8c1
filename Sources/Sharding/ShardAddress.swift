#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Where a node takes requests, as a configuration names it: `127.0.0.2:8080`, `node-2:8080`,
/// `[::1]:8080`.
///
/// Two addresses are equal when they are written alike, but for the case of letters.
struct ShardAddress: Hashable {
  /// What is wrong with a text that is none.
  struct Refusal: Error {
    var reason: String
  }

  /// In lower case, the port without zeros in front.
  let description: String

  init(_ text: String) throws(Refusal) {
    let host: Substring
    var rest = text[...]
    if rest.first == "[" {
      guard let end = rest.firstIndex(of: "]") else {
        throw Refusal(reason: "the closing ] is missing")
      }
      host = rest[...end]
      rest = rest[rest.index(after: end)...]
      var address = in6_addr()
      guard inet_pton(AF_INET6, String(host.dropFirst().dropLast()), &address) == 1 else {
        throw Refusal(reason: "\(host) is no IPv6 address")
      }
    } else {
      host = rest.prefix { $0 != ":" }
      rest = rest[host.endIndex...]
      guard !rest.dropFirst().contains(":") else {
        throw Refusal(reason: "write HOST:PORT, and an IPv6 address in brackets: [::1]:8080")
      }
      guard !host.isEmpty else { throw Refusal(reason: "the host is missing") }
      guard host.utf8.allSatisfy(Self.isOfName) else {
        throw Refusal(reason: "\(String(host).debugDescription) is no host's name")
      }
    }
    guard rest.first == ":" else { throw Refusal(reason: "the port is missing") }
    let digits = rest.dropFirst()
    guard digits.utf8.allSatisfy({ (48...57).contains($0) }), let port = UInt16(digits), port > 0
    else { throw Refusal(reason: "the port must be a number from 1 to 65535") }
    description = "\(host.lowercased()):\(port)"
  }

  private static func isOfName(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
      UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "-"), UInt8(ascii: "."),
      UInt8(ascii: "_"):
      true
    default: false
    }
  }
}

import Client
import Testing

@Suite("A node's address")
struct NodeAddressTests {
  @Test(
    "is read with and without a scheme, and written in one way",
    arguments: [
      ("127.0.0.1:8080", "127.0.0.1", 8080, "127.0.0.1:8080"),
      ("http://127.0.0.1:8080", "127.0.0.1", 8080, "127.0.0.1:8080"),
      ("HTTP://127.0.0.1:8080/", "127.0.0.1", 8080, "127.0.0.1:8080"),
      ("[::1]:8080", "::1", 8080, "[::1]:8080"),
      ("http://[FE80::1]:65535", "fe80::1", 65535, "[fe80::1]:65535"),
      ("Node-2.local:1", "node-2.local", 1, "node-2.local:1"),
      ("replica_1:8080", "replica_1", 8080, "replica_1:8080"),
    ] as [(String, String, UInt16, String)])
  func reads(text: String, host: String, port: UInt16, written: String) throws {
    let address = try NodeAddress(parsing: text)
    #expect(address == NodeAddress(host: host, port: port))
    #expect(address.description == written)
    #expect(try NodeAddress(parsing: written) == address)
  }

  @Test(
    "is refused with the reason",
    arguments: [
      ("", "the host is missing: write HOST:PORT"),
      (":8080", "the host is missing: write HOST:PORT"),
      ("127.0.0.1", "the port is missing: write HOST:PORT"),
      ("http://127.0.0.1", "the port is missing: write HOST:PORT"),
      ("[::1]", "the port is missing: write HOST:PORT"),
      ("[::1]8080", "the port is missing: write HOST:PORT"),
      ("127.0.0.1:", "the port must be a number from 1 to 65535"),
      ("127.0.0.1:0", "the port must be a number from 1 to 65535"),
      ("127.0.0.1:+80", "the port must be a number from 1 to 65535"),
      ("127.0.0.1:65536", "the port must be a number from 1 to 65535"),
      ("127.0.0.1:8080/kv", "the port must be a number from 1 to 65535"),
      ("https://127.0.0.1:8080", "only http:// is understood"),
      ("::1:8080", "an IPv6 address is written in brackets: [::1]:8080"),
      ("[::1:8080", "the closing ] is missing"),
      ("[local]:8080", "local is not an IPv6 address"),
      ("a b:8080", "a b is not a host's name"),
      ("a\r\nb:8080", "a\r\nb is not a host's name"),
      ("user@host:8080", "user@host is not a host's name"),
    ])
  func refuses(text: String, problem: String) {
    #expect(throws: KVClientError.badAddress(text, problem)) { try NodeAddress(parsing: text) }
  }

  @Test("does not depend on the case of letters")
  func ignoresCase() {
    let addresses: Set = [NodeAddress(host: "Node", port: 1), NodeAddress(host: "node", port: 1)]
    #expect(addresses.count == 1)
  }
}

/// Targets of the REST API.
public enum KeyTarget {
  /// `/kv/{key}`: every byte that is not unreserved in RFC 3986, section 2.3, as `%` and two digits.
  public static func path(_ key: some Sequence<UInt8>) -> String { "/kv/" + encoded(key) }

  /// The same without the path, as it stands in a query.
  package static func encoded(_ key: some Sequence<UInt8>) -> String {
    var bytes: [UInt8] = []
    for byte in key {
      if isUnreserved(byte) {
        bytes.append(byte)
      } else {
        bytes.append(UInt8(ascii: "%"))
        bytes.append(hexadecimalDigit(byte >> 4))
        bytes.append(hexadecimalDigit(byte & 15))
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func isUnreserved(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
      UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "-"), UInt8(ascii: "."),
      UInt8(ascii: "_"), UInt8(ascii: "~"):
      true
    default: false
    }
  }

  private static func hexadecimalDigit(_ value: UInt8) -> UInt8 {
    value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "A") + value - 10
  }
}

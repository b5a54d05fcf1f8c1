import Client

/// The query of a target, parameter by parameter.
struct QueryText {
  private(set) var text = ""

  mutating func add(_ name: String, _ value: some CustomStringConvertible) {
    text += "\(text.isEmpty ? "?" : "&")\(name)=\(value)"
  }

  mutating func add(_ name: String, bytes: [UInt8]) {
    add(name, KeyTarget.encoded(bytes))
  }

  /// The bytes that a percent-encoded text stands for; nil when it is none.
  static func decoded(_ text: String) -> [UInt8]? {
    var (bytes, rest) = ([UInt8](), Array(text.utf8)[...])
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      let digits = rest.prefix(2)
      guard digits.count == 2, digits.allSatisfy({ Character(Unicode.Scalar($0)).isHexDigit }),
        let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 16)
      else { return nil }
      bytes.append(value)
      rest = rest.dropFirst(2)
    }
    return bytes
  }
}

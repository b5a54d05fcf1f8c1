import NIOCore

/// The node's words in an answer that is not the wanted one, on one line.
package enum RefusalText {
  private static let bytesMax = 500

  /// The text of `{"error":"…"}`, or else the body itself. What cannot be printed becomes a blank.
  package static func text(_ body: ByteBuffer) -> String {
    let bytes = Array(body.readableBytesView.prefix(bytesMax))
    let text = errorMember(bytes) ?? String(decoding: bytes, as: UTF8.self)
    return line(text)
  }

  private static func line(_ text: String) -> String {
    var scalars = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator: scalars.append(" ")
      default: scalars.append(scalar)
      }
    }
    return String(scalars).split(separator: " ").joined(separator: " ")
  }

  /// The string behind `"error":`, with its escapes undone; nil when there is none.
  private static func errorMember(_ bytes: [UInt8]) -> String? {
    let name = Array("\"error\":".utf8)
    guard bytes.first == UInt8(ascii: "{"), let found = bytes.firstRange(of: name) else {
      return nil
    }
    var rest = bytes[found.upperBound...].drop { $0 == UInt8(ascii: " ") }
    guard rest.popFirst() == UInt8(ascii: "\"") else { return nil }
    var text: [UInt8] = []
    while let byte = rest.popFirst(), byte != UInt8(ascii: "\"") {
      guard byte == UInt8(ascii: "\\") else {
        text.append(byte)
        continue
      }
      switch rest.popFirst() {
      case UInt8(ascii: "u"):
        let digits = String(decoding: rest.prefix(4), as: UTF8.self)
        rest = rest.dropFirst(4)
        let scalar = UInt32(digits, radix: 16).flatMap { Unicode.Scalar($0) } ?? "\u{FFFD}"
        text.append(contentsOf: Character(scalar).utf8)
      case UInt8(ascii: "n"), UInt8(ascii: "r"), UInt8(ascii: "t"), UInt8(ascii: "b"),
        UInt8(ascii: "f"):
        text.append(UInt8(ascii: " "))
      case let escaped?: text.append(escaped)
      case nil: break
      }
    }
    return String(decoding: text, as: UTF8.self)
  }
}

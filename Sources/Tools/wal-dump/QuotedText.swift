/// Bytes between double quotes, such that the bytes can be told from the text.
///
/// What can be printed stands for itself; a quote and a backslash get a backslash; `\n`, `\r` and
/// `\t` are as in C; every other byte is `\x` and two digits: control and format characters, which
/// could reorder or hide the rest of a line, and whatever is not UTF-8.
enum QuotedText {
  static func append(_ bytes: UnsafeRawBufferPointer, to output: inout Output) {
    output.append(UInt8(ascii: "\""))
    var index = 0
    while index < bytes.count {
      let plain = plainPrefix(bytes, from: index)
      if plain > index {
        output.append(UnsafeRawBufferPointer(rebasing: bytes[index..<plain]))
        index = plain
      } else {
        index += appendSpecial(bytes, at: index, to: &output)
      }
    }
    output.append(UInt8(ascii: "\""))
  }

  /// The end of the printable ASCII from `start` on.
  @inline(__always)
  private static func plainPrefix(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Int {
    var index = start
    while index < bytes.count {
      let byte = bytes[index]
      guard byte >= 0x20, byte < 0x7F, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\")
      else { break }
      index += 1
    }
    return index
  }

  /// - Returns: the number of bytes that were dealt with.
  private static func appendSpecial(
    _ bytes: UnsafeRawBufferPointer, at index: Int, to output: inout Output
  ) -> Int {
    switch bytes[index] {
    case UInt8(ascii: "\""): output.append("\\\"")
    case UInt8(ascii: "\\"): output.append("\\\\")
    case UInt8(ascii: "\n"): output.append("\\n")
    case UInt8(ascii: "\r"): output.append("\\r")
    case UInt8(ascii: "\t"): output.append("\\t")
    case let byte:
      let count = printableCharacter(bytes, at: index)
      guard count == 0 else {
        output.append(UnsafeRawBufferPointer(rebasing: bytes[index..<index + count]))
        return count
      }
      output.append("\\x")
      output.append(hexadecimal: byte)
    }
    return 1
  }

  /// The length of the character beyond ASCII that begins here; 0 when there is none to print.
  private static func printableCharacter(_ bytes: UnsafeRawBufferPointer, at index: Int) -> Int {
    let count =
      switch bytes[index] {
      case 0xC2...0xDF: 2
      case 0xE0...0xEF: 3
      case 0xF0...0xF4: 4
      default: 0
      }
    guard count > 0, index + count <= bytes.count,
      let text = String(validating: bytes[index..<index + count], as: UTF8.self),
      let scalar = text.unicodeScalars.first
    else { return 0 }
    switch scalar.properties.generalCategory {
    case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator,
      .paragraphSeparator, .spaceSeparator:
      return 0
    default:
      return count
    }
  }
}

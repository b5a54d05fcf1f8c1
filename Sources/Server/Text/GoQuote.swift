import NIOCore

/// Bytes in double quotes as Go's `%q` and `strconv.Quote` write them (`strconv/quote.go` of Go
/// 1.17 and later).
package enum GoQuote {
  /// Writes the bytes between double quotes. Printable characters stay; the others become the
  /// escapes of a Go string literal, and bytes that are not UTF-8 become `\xNN`.
  ///
  /// What is printable is decided by the standard library's version of Unicode: a character that
  /// is younger than a Go program's tables is shown here and escaped there.
  package static func write(_ bytes: UnsafeRawBufferPointer, into buffer: inout ByteBuffer) {
    QuotedText.write(bytes, into: &buffer, growth: 4) {
      $0.marks(below: 0x20) | $0.marks(equalTo: 0x22) | $0.marks(equalTo: 0x5C)
        | $0.marks(equalTo: 0x7F) | $0.marksNonASCII
    } escape: { index, output in
      guard let character = UTF8Scalar(bytes, at: index) else {
        writeHex(UInt32(bytes[index]), "\\x", digits: 2, into: &output)
        return 1
      }
      if isPrintable(character.scalar) {
        for byte in bytes.slice(index..<index + character.width) { output.append(byte) }
      } else {
        writeEscape(character.scalar, into: &output)
      }
      return character.width
    }
  }

  /// Go's `unicode.IsPrint`, but for the quote and the backslash, which are always escaped:
  /// letters, marks, numbers, punctuation, symbols, and of the spaces only the ASCII one.
  private static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x22, 0x5C, 0xAD: return false
    case 0x20...0x7E, 0xA1...0x377: return true
    case 0...0xA0: return false
    // Cyrillic, Chinese, Korean, the first emoji: blocks without a gap, which need no table.
    case 0x400...0x52F, 0x4E00...0x9FFF, 0xAC00...0xD7A3, 0x1F300...0x1F64F: return true
    default: break
    }
    switch scalar.properties.generalCategory {
    case .control, .format, .surrogate, .privateUse, .unassigned: return false
    case .spaceSeparator, .lineSeparator, .paragraphSeparator: return false
    default: return true
    }
  }

  private static func writeEscape(_ scalar: Unicode.Scalar, into output: inout ByteOutput) {
    switch scalar {
    case "\"": output.append("\\\"")
    case "\\": output.append("\\\\")
    case "\u{7}": output.append("\\a")
    case "\u{8}": output.append("\\b")
    case "\u{C}": output.append("\\f")
    case "\n": output.append("\\n")
    case "\r": output.append("\\r")
    case "\t": output.append("\\t")
    case "\u{B}": output.append("\\v")
    case ..."\u{7F}": writeHex(scalar.value, "\\x", digits: 2, into: &output)
    case ..."\u{FFFF}": writeHex(scalar.value, "\\u", digits: 4, into: &output)
    default: writeHex(scalar.value, "\\U", digits: 8, into: &output)
    }
  }

  private static func writeHex(
    _ number: UInt32, _ prefix: StaticString, digits: Int, into output: inout ByteOutput
  ) {
    output.append(prefix)
    for digit in (0..<digits).reversed() {
      output.append(HexDigit.lower(UInt8(number >> UInt32(4 * digit) & 15)))
    }
  }
}

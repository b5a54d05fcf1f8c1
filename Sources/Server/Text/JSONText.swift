import NIOCore

/// Bytes as parts of a JSON document (RFC 8259).
package enum JSONText {
  /// Writes a string literal, quotes included. Only what must be escaped is: quote, backslash and
  /// control characters below 0x20.
  ///
  /// - Parameter text: UTF-8; anything else is copied as it is and spoils the document.
  package static func writeString(_ text: UnsafeRawBufferPointer, into buffer: inout ByteBuffer) {
    QuotedText.write(text, into: &buffer, growth: 6) {
      $0.marks(below: 0x20) | $0.marks(equalTo: 0x22) | $0.marks(equalTo: 0x5C)
    } escape: { index, output in
      writeEscape(text[index], into: &output)
      return 1
    }
  }

  /// Writes one member of an object, without a comma: `"name":"…"`, or `"name_base64":"…"` when
  /// the bytes are not UTF-8.
  ///
  /// - Parameter name: ASCII that needs no escapes.
  package static func writeMember(
    _ name: StaticString, _ bytes: UnsafeRawBufferPointer, into buffer: inout ByteBuffer
  ) {
    let isText = bytes.isUTF8
    buffer.write(atMost: name.utf8CodeUnitCount + 12) { output in
      output.append(UInt8(ascii: "\""))
      output.append(name)
      output.append(isText ? "\":" : "_base64\":\"")
    }
    if isText {
      writeString(bytes, into: &buffer)
    } else {
      Base64.encode(bytes, into: &buffer)
      buffer.writeInteger(UInt8(ascii: "\""))
    }
  }

  /// Writes what stands between the quotes of a string literal, or a part of that.
  ///
  /// - Parameter text: as for `writeString`; it may begin and end within a character.
  package static func writeStringContent(
    _ text: UnsafeRawBufferPointer, into buffer: inout ByteBuffer
  ) {
    QuotedText.write(text, into: &buffer, growth: 6, isQuoted: false) {
      $0.marks(below: 0x20) | $0.marks(equalTo: 0x22) | $0.marks(equalTo: 0x5C)
    } escape: { index, output in
      writeEscape(text[index], into: &output)
      return 1
    }
  }

  private static func writeEscape(_ byte: UInt8, into output: inout ByteOutput) {
    switch byte {
    case 0x22: output.append("\\\"")
    case 0x5C: output.append("\\\\")
    case 0x08: output.append("\\b")
    case 0x0C: output.append("\\f")
    case 0x0A: output.append("\\n")
    case 0x0D: output.append("\\r")
    case 0x09: output.append("\\t")
    default:
      output.append("\\u00")
      output.append(HexDigit.lower(byte >> 4))
      output.append(HexDigit.lower(byte & 15))
    }
  }
}

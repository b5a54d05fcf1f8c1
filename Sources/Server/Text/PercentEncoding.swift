import NIOCore

/// Percent-encoding of paths, query strings and forms (RFC 3986, section 2; in forms `+` is a space).
package enum PercentEncoding {
  /// True when neither `%` nor `+` is in the bytes, which then mean themselves everywhere.
  package static func isPlain(_ bytes: UnsafeRawBufferPointer) -> Bool {
    bytes.firstIndex(from: 0) { marks($0, plusIsSpace: true) } == bytes.count
  }

  /// Decodes a part of a path, where `+` is a plus sign.
  ///
  /// - Parameter output: at least as long as the input; may be the same memory.
  /// - Returns: the number of bytes written, or nil when a `%` is not followed by two hex digits.
  package static func decode(
    path bytes: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
  ) -> Int? {
    decode(bytes, into: output, plusIsSpace: false)
  }

  /// Decodes a name or a value of a query string or a form, where `+` is a space.
  ///
  /// - Parameter output: at least as long as the input; may be the same memory.
  /// - Returns: the number of bytes written, or nil when a `%` is not followed by two hex digits.
  package static func decode(
    query bytes: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer
  ) -> Int? {
    decode(bytes, into: output, plusIsSpace: true)
  }

  /// Writes the bytes so that they can stand in any part of a URL: unreserved characters as they
  /// are, every other byte as `%XX`.
  package static func encode(_ bytes: UnsafeRawBufferPointer, into buffer: inout ByteBuffer) {
    buffer.write(atMost: 3 * bytes.count) { output in
      for byte in bytes {
        if isUnreserved(byte) {
          output.append(byte)
        } else {
          output.append(UInt8(ascii: "%"))
          output.append(HexDigit.upper(byte >> 4))
          output.append(HexDigit.upper(byte & 15))
        }
      }
    }
  }

  @inline(__always)
  /// A text as it stands in a query string.
  static func encode(_ text: String) -> String {
    var buffer = ByteBuffer()
    var text = text
    text.withUTF8 { encode(UnsafeRawBufferPointer($0), into: &buffer) }
    return String(buffer: buffer)
  }

  private static func marks(_ word: ByteWord, plusIsSpace: Bool) -> UInt64 {
    let percents = word.marks(equalTo: 0x25)
    return plusIsSpace ? percents | word.marks(equalTo: 0x2B) : percents
  }

  @inline(__always)
  private static func decode(
    _ bytes: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, plusIsSpace: Bool
  ) -> Int? {
    var decoded = ByteOutput(output)
    var index = 0
    while true {
      let escape = bytes.firstIndex(from: index) { marks($0, plusIsSpace: plusIsSpace) }
      decoded.append(bytes.slice(index..<escape))
      guard escape < bytes.count else { return decoded.count }
      if bytes[escape] == UInt8(ascii: "+") {
        decoded.append(UInt8(ascii: " "))
        index = escape + 1
      } else {
        guard escape + 2 < bytes.count, let high = HexDigit.value(bytes[escape + 1]),
          let low = HexDigit.value(bytes[escape + 2])
        else { return nil }
        decoded.append(high << 4 | low)
        index = escape + 3
      }
    }
  }

  /// Letters, digits, `-`, `.`, `_` and `~`: bit n of the first number is byte n, bit n of the
  /// second byte 64 + n.
  @inline(__always)
  private static func isUnreserved(_ byte: UInt8) -> Bool {
    guard byte < 0x80 else { return false }
    let set: UInt64 = byte < 0x40 ? 0x03FF_6000_0000_0000 : 0x47FF_FFFE_87FF_FFFE
    return set >> UInt64(byte & 0x3F) & 1 == 1
  }
}

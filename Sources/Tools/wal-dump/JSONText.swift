/// JSON strings from bytes, as far as bytes can be one (RFC 8259, section 7).
enum JSONText {
  /// `"name":"text"`, or `"name_base64":"…"` for bytes that are not UTF-8. `name` is the end of a
  /// member that is open: what stands before the closing quote.
  static func appendMember(
    _ name: StaticString, _ bytes: UnsafeRawBufferPointer, to output: inout Output
  ) {
    output.append(name)
    if isText(bytes) {
      output.append("\":")
      appendString(bytes, to: &output)
    } else {
      output.append("_base64\":\"")
      appendBase64(bytes, to: &output)
      output.append(UInt8(ascii: "\""))
    }
  }

  static func appendString(_ string: String, to output: inout Output) {
    var string = string
    string.withUTF8 { appendString(UnsafeRawBufferPointer($0), to: &output) }
  }

  private static func isText(_ bytes: UnsafeRawBufferPointer) -> Bool {
    var index = 0
    while index + 8 <= bytes.count {
      let word = bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self)
      guard word & 0x8080_8080_8080_8080 == 0 else { return isUTF8(bytes) }
      index += 8
    }
    while index < bytes.count {
      guard bytes[index] < 0x80 else { return isUTF8(bytes) }
      index += 1
    }
    return true
  }

  private static func isUTF8(_ bytes: UnsafeRawBufferPointer) -> Bool {
    do {
      _ = try UTF8Span(validating: bytes.assumingMemoryBound(to: UInt8.self).span)
      return true
    } catch {
      return false
    }
  }

  /// UTF-8 between quotes.
  private static func appendString(_ bytes: UnsafeRawBufferPointer, to output: inout Output) {
    output.append(UInt8(ascii: "\""))
    var start = 0
    for index in 0..<bytes.count {
      let byte = bytes[index]
      guard byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") else {
        continue
      }
      output.append(UnsafeRawBufferPointer(rebasing: bytes[start..<index]))
      start = index + 1
      output.append(UInt8(ascii: "\\"))
      switch byte {
      case UInt8(ascii: "\n"): output.append(UInt8(ascii: "n"))
      case UInt8(ascii: "\r"): output.append(UInt8(ascii: "r"))
      case UInt8(ascii: "\t"): output.append(UInt8(ascii: "t"))
      case UInt8(ascii: "\""), UInt8(ascii: "\\"): output.append(byte)
      default:
        output.append("u00")
        output.append(hexadecimal: byte)
      }
    }
    output.append(UnsafeRawBufferPointer(rebasing: bytes[start...]))
    output.append(UInt8(ascii: "\""))
  }

  /// RFC 4648, section 4.
  private static func appendBase64(_ bytes: UnsafeRawBufferPointer, to output: inout Output) {
    let alphabet: StaticString =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for start in stride(from: 0, to: bytes.count, by: 3) {
      let count = min(3, bytes.count - start)
      var group: UInt32 = 0
      for index in 0..<3 {
        group = group << 8 | (index < count ? UInt32(bytes[start + index]) : 0)
      }
      for index in 0..<4 {
        let sextet = Int(group >> (18 - 6 * UInt32(index)) & 63)
        output.append(index <= count ? alphabet.utf8Start[sextet] : UInt8(ascii: "="))
      }
    }
  }
}

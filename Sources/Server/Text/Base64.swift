import NIOCore

/// Base64 with the standard alphabet and padding (RFC 4648, section 4).
package enum Base64 {
  private static let padding = UInt8(ascii: "=")

  package static func encode(_ bytes: UnsafeRawBufferPointer, into buffer: inout ByteBuffer) {
    buffer.write(atMost: (bytes.count + 2) / 3 * 4) { output in
      for start in stride(from: 0, to: bytes.count, by: 3) {
        let taken = min(3, bytes.count - start)
        var group = UInt32(bytes[start]) << 16
        if taken > 1 { group |= UInt32(bytes[start + 1]) << 8 }
        if taken > 2 { group |= UInt32(bytes[start + 2]) }
        output.append(digit(group >> 18))
        output.append(digit(group >> 12 & 63))
        output.append(taken > 1 ? digit(group >> 6 & 63) : padding)
        output.append(taken > 2 ? digit(group & 63) : padding)
      }
    }
  }

  /// Decodes what `encode` writes and nothing else: nil for other characters, line breaks, missing
  /// padding, and bits behind the last byte that are not zero.
  package static func decode(_ text: UnsafeRawBufferPointer) -> [UInt8]? {
    guard text.count % 4 == 0, let last = text.last else { return text.isEmpty ? [] : nil }
    let pads = last != padding ? 0 : text[text.count - 2] != padding ? 1 : 2
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.count / 4 * 3)
    for start in stride(from: 0, to: text.count, by: 4) {
      let missing = start + 4 == text.count ? pads : 0
      guard let group = group(text.slice(start..<start + 4 - missing)) else { return nil }
      bytes.append(UInt8(group >> 16))
      if missing < 2 { bytes.append(UInt8(group >> 8 & 0xFF)) }
      if missing < 1 { bytes.append(UInt8(group & 0xFF)) }
    }
    return bytes
  }

  /// The 24 bits of two to four digits; nil when one is no digit or more bits are set than whole
  /// bytes hold.
  @inline(__always)
  private static func group(_ digits: UnsafeRawBufferPointer) -> UInt32? {
    var group: UInt32 = 0
    for digit in digits {
      guard let value = value(digit) else { return nil }
      group = group << 6 | value
    }
    let missing = UInt32(4 - digits.count)
    group <<= 6 * missing
    return group & (1 << (8 * missing) - 1) == 0 ? group : nil
  }

  @inline(__always)
  private static func digit(_ number: UInt32) -> UInt8 {
    let alphabet: StaticString = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return alphabet.utf8Start[Int(number)]
  }

  @inline(__always)
  private static func value(_ digit: UInt8) -> UInt32? {
    switch digit {
    case 0x41...0x5A: UInt32(digit) - 0x41
    case 0x61...0x7A: UInt32(digit) - 0x47
    case 0x30...0x39: UInt32(digit) + 4
    case 0x2B: 62
    case 0x2F: 63
    default: nil
    }
  }
}

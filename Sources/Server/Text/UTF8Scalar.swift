/// One character in UTF-8, and how many bytes it takes.
struct UTF8Scalar {
  let scalar: Unicode.Scalar
  let width: Int

  /// Reads the character that begins at `offset`. nil when none does: no surrogates, no overlong
  /// forms, nothing above 10FFFF, nothing cut off (table 3-7 of the Unicode standard).
  @inline(__always)
  init?(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
    let lead = bytes[offset]
    guard lead >= 0x80 else {
      (scalar, width) = (Unicode.Scalar(lead), 1)
      return
    }
    let second: ClosedRange<UInt8>
    switch lead {
    case 0xC2...0xDF: (width, second) = (2, 0x80...0xBF)
    case 0xE0: (width, second) = (3, 0xA0...0xBF)
    case 0xED: (width, second) = (3, 0x80...0x9F)
    case 0xE1...0xEF: (width, second) = (3, 0x80...0xBF)
    case 0xF0: (width, second) = (4, 0x90...0xBF)
    case 0xF1...0xF3: (width, second) = (4, 0x80...0xBF)
    case 0xF4: (width, second) = (4, 0x80...0x8F)
    default: return nil
    }
    guard offset + width <= bytes.count, second.contains(bytes[offset + 1]) else { return nil }
    var value = UInt32(lead & 0x7F >> width) << 6 | UInt32(bytes[offset + 1] & 0x3F)
    for index in offset + 2..<offset + width {
      guard bytes[index] & 0xC0 == 0x80 else { return nil }
      value = value << 6 | UInt32(bytes[index] & 0x3F)
    }
    guard let scalar = Unicode.Scalar(value) else { return nil }
    self.scalar = scalar
  }
}

extension UnsafeRawBufferPointer {
  /// True when all the bytes are well-formed UTF-8, as RFC 3629 has it.
  package var isUTF8: Bool {
    var index = 0
    while true {
      index = firstIndex(from: index) { $0.marksNonASCII }
      while true {
        guard index < count else { return true }
        guard self[index] >= 0x80 else { break }
        guard let character = UTF8Scalar(self, at: index) else { return false }
        index += character.width
      }
    }
  }
}

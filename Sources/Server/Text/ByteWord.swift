/// Eight bytes looked at as one number, the first byte lowest.
///
/// The tests answer with *marks*: the high bit of each byte that passed. A borrow can also mark
/// bytes above one that passed, never below it, so the lowest mark is always right, also of marks
/// that were joined by `|`. After `haszero` and `hasless` of Sean Anderson's "Bit Twiddling Hacks".
struct ByteWord {
  private let word: UInt64

  @inline(__always)
  init(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
    word = UInt64(
      littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  /// The last bytes, fewer than eight; the letter `a` stands in for those that are missing.
  @inline(__always)
  init(tailOf bytes: UnsafeRawBufferPointer, from offset: Int) {
    var word = Self.all(0x61)
    for index in stride(from: bytes.count - 1, through: offset, by: -1) {
      word = word << 8 | UInt64(bytes[index])
    }
    self.word = word
  }

  @inline(__always)
  private static func all(_ byte: UInt8) -> UInt64 { UInt64(byte) &* 0x0101_0101_0101_0101 }

  @inline(__always)
  func marks(below bound: UInt8) -> UInt64 { (word &- Self.all(bound)) & ~word & Self.all(0x80) }

  @inline(__always)
  func marks(equalTo byte: UInt8) -> UInt64 {
    let difference = word ^ Self.all(byte)
    return (difference &- Self.all(1)) & ~difference & Self.all(0x80)
  }

  @inline(__always)
  var marksNonASCII: UInt64 { word & Self.all(0x80) }
}

extension UnsafeRawBufferPointer {
  /// The first byte from `start` on that is marked, or `count`. The letter `a` must never be.
  @inline(__always)
  func firstIndex(from start: Int, marks: (ByteWord) -> UInt64) -> Int {
    var index = start
    while index + 8 <= count {
      let found = marks(ByteWord(self, at: index))
      if found != 0 { return index + found.trailingZeroBitCount >> 3 }
      index += 8
    }
    guard index < count else { return count }
    let found = marks(ByteWord(tailOf: self, from: index))
    return found == 0 ? count : index + found.trailingZeroBitCount >> 3
  }

  @inline(__always)
  func slice(_ range: Range<Int>) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: self[range])
  }
}

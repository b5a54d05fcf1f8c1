extension RawSpan {
  /// The little-endian number at that offset; the caller has checked the bounds, and the span
  /// checks them again.
  @inline(__always)
  package func number<T: FixedWidthInteger & BitwiseCopyable>(at offset: Int, as type: T.Type) -> T
  {
    T(littleEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: type))
  }

  /// True when every byte is zero.
  package var isZero: Bool { nonzeroPrefixBytes == 0 }

  /// The number of bytes up to and including the last one that is not zero.
  package var nonzeroPrefixBytes: Int {
    var end = byteCount
    while end >= 8, unsafeLoadUnaligned(fromByteOffset: end - 8, as: UInt64.self) == 0 { end -= 8 }
    while end > 0, unsafeLoadUnaligned(fromByteOffset: end - 1, as: UInt8.self) == 0 { end -= 1 }
    return end
  }
}

extension UnsafeMutableRawBufferPointer {
  @inline(__always)
  package func store<T: FixedWidthInteger & BitwiseCopyable>(_ number: T, at offset: Int) {
    precondition(offset >= 0 && offset + MemoryLayout<T>.size <= count)
    storeBytes(of: number.littleEndian, toByteOffset: offset, as: T.self)
  }

  @inline(__always)
  package func store(_ bytes: RawSpan, at offset: Int) {
    guard bytes.byteCount > 0 else { return }
    precondition(offset >= 0 && offset + bytes.byteCount <= count)
    bytes.withUnsafeBytes {
      (baseAddress! + offset).copyMemory(from: $0.baseAddress!, byteCount: $0.count)
    }
  }
}

@inline(__always)
func roundUp(_ number: Int, to multiple: Int) -> Int {
  (number + multiple - 1) / multiple * multiple
}

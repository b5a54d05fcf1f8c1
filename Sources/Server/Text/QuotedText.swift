import NIOCore

/// Bytes between double quotes, some of them escaped: what a string of Go and one of JSON share.
enum QuotedText {
  /// So many bytes are looked at between two looks at the buffer's capacity.
  private static let pieceCount = 1024

  /// - Parameters:
  ///   - growth: how many bytes a byte becomes at most.
  ///   - isQuoted: false for what stands between the quotes only.
  ///   - marks: the bytes that may need an escape; see ``ByteWord``.
  ///   - escape: writes what begins at that marked byte, and returns how many bytes it was, at
  ///     most four.
  @inline(__always)
  static func write(
    _ bytes: UnsafeRawBufferPointer, into buffer: inout ByteBuffer, growth: Int,
    isQuoted: Bool = true,
    marks: (ByteWord) -> UInt64, escape: (Int, inout ByteOutput) -> Int
  ) {
    var index = 0
    repeat {
      let end = min(index + pieceCount, bytes.count)
      buffer.write(atMost: growth * (end - index + 3) + 2) { output in
        if isQuoted, index == 0 { output.append(UInt8(ascii: "\"")) }
        while index < end {
          let marked = bytes.slice(0..<end).firstIndex(from: index, marks: marks)
          output.append(bytes.slice(index..<marked))
          index = marked < end ? marked + escape(marked, &output) : end
        }
        if isQuoted, index == bytes.count { output.append(UInt8(ascii: "\"")) }
      }
    } while index < bytes.count
  }
}

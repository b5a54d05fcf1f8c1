import Engine
import NIOCore

/// A large value on its way into a connection, a piece at a time, so that a client that reads slowly
/// holds a reference and a piece, not a copy.
struct LargeBody {
  private static let pieceBytes = 128 << 10

  private let value: LargeValue
  private var sent = 0

  init(_ value: LargeValue) {
    self.value = value
  }

  /// The next piece; nil when all were taken.
  mutating func next(_ allocator: ByteBufferAllocator) -> ByteBuffer? {
    let count = min(Self.pieceBytes, value.bytes.count - sent)
    guard count > 0 else { return nil }
    var piece = allocator.buffer(capacity: count)
    piece.writeBytes(UnsafeRawBufferPointer(rebasing: value.bytes[sent..<sent + count]))
    sent += count
    return piece
  }
}

import Engine
import NIOCore
import Synchronization

/// A large value on its way into a connection, a piece at a time, so that a client that reads slowly
/// holds a reference and a piece, not a copy. Values that are being sent count for the node's bound on
/// answers, each once, however many take it: they may have left the index meanwhile.
final class LargeBody {
  private static let pieceBytes = 128 << 10

  private let value: LargeValue
  private let node: NodeState
  private var isCounted = true
  private var sent = 0

  /// - Returns: nil when too much is being sent already.
  init?(_ value: LargeValue, of node: NodeState) {
    self.value = value
    self.node = node
    if value.senders.add(1, ordering: .relaxed).newValue == 1,
      !node.chargeAnswer(value.bytes.count, limit: node.configuration.limits.answersBytesMax)
    {
      value.senders.subtract(1, ordering: .relaxed)
      isCounted = false
      return nil
    }
  }

  deinit {
    guard isCounted, value.senders.subtract(1, ordering: .relaxed).newValue == 0 else { return }
    node.releaseAnswer(value.bytes.count)
  }

  /// The next piece; nil when all were taken.
  func next(_ allocator: ByteBufferAllocator) -> ByteBuffer? {
    let count = min(Self.pieceBytes, value.bytes.count - sent)
    guard count > 0 else { return nil }
    var piece = allocator.buffer(capacity: count)
    piece.writeBytes(UnsafeRawBufferPointer(rebasing: value.bytes[sent..<sent + count]))
    sent += count
    return piece
  }
}

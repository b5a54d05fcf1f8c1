import Synchronization

/// Bytes of other nodes' answers that one request holds, as they count in the node's bound.
final class HeldAnswers: Sendable {
  private let bytes = Atomic(0)

  /// False, and nothing is counted, when that would be too much.
  func add(_ count: Int, of node: NodeState) -> Bool {
    guard node.chargeAnswer(count, limit: node.configuration.limits.answersBytesMax) else {
      return false
    }
    bytes.add(count, ordering: .relaxed)
    return true
  }

  func release(of node: NodeState) {
    node.releaseAnswer(bytes.exchange(0, ordering: .relaxed))
  }
}

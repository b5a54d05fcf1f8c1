import Client
import Engine
import NIOCore
import WAL

/// How far a node of a leaderless shard has applied each log: `GET /wal/positions`, the line
/// `ORIGIN STATE VECTOR`, where the state is `whole` or `lacking`.
struct OriginPositions: Hashable, Sendable {
  /// The id of the node's own log.
  var origin: UInt64
  /// It may have acknowledged what it does not have any more.
  var mayLack: Bool
  var applied: VersionVector

  init(origin: UInt64, mayLack: Bool, applied: VersionVector) {
    self.origin = origin
    self.mayLack = mayLack
    self.applied = applied
  }

  init(_ node: NodeState, _ merged: MergedStore) {
    self.init(
      origin: merged.own.origin, mayLack: node.lacks.load(ordering: .relaxed),
      applied: merged.state.applied)
  }

  var text: String { "\(hexadecimal(origin)) \(mayLack ? "lacking" : "whole") \(applied)" }

  /// - Returns: nil for what `text` does not write.
  init?(_ text: some StringProtocol) {
    let words = text.split(separator: " ", omittingEmptySubsequences: false)
    guard words.count == 3, words[0].utf8.count == 16, let origin = UInt64(words[0], radix: 16),
      words[1] == "whole" || words[1] == "lacking", let applied = VersionVector(words[2])
    else { return nil }
    self.init(origin: origin, mayLack: words[1] == "lacking", applied: applied)
  }
}

extension LoopState {
  /// Tells how far this node is; on a `POST`, has it look at once how far the others are: one of them has
  /// found that it lacks something.
  func positions(_ request: StandardRequest, _ lane: StandardLane) -> Handling {
    lane.isFor(.positions)
    guard let merged = node.merged else { return .now(notLeaderless()) }
    guard request.method != .POST else {
      node.originFollowing?.hurry()
      return .now(Answer(.noContent))
    }
    body.writeString(OriginPositions(node, merged).text)
    return .now(Answer(.ok))
  }

  func notLeaderless() -> Answer {
    writeError("this shard has a leader: there is one log")
    return Answer(.conflict, .json)
  }
}

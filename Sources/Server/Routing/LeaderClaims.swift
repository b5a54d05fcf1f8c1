import Client
import WAL

/// What the nodes of a shard say of who leads it, as it comes, and when that is enough to know.
///
///     all have said something, or their time is over --> of those that lead the one with the highest epoch
///     most have, and it leads in a new epoch ----------> the same: nobody has to be waited for
///     somebody knows a higher epoch of that log -------> nobody: who leads in it is not there
///     it led in a higher epoch once -------------------> nobody; but where most are there, and none of them has
///                                                        that log any more, the shard was made anew
package struct LeaderClaims {
  /// The log that a node has, and the epoch that it knows.
  package struct Standing: Equatable, Sendable {
    package var epoch: Epoch
    package var origin: UInt64?

    package init(epoch: Epoch, origin: UInt64?) {
      self.epoch = epoch
      self.origin = origin
    }
  }

  package struct Claim: Equatable, Sendable {
    package var node: NodeAddress
    package var standing: Standing
  }

  /// Nodes that there are, and of these those that have not answered yet.
  private let count: Int
  private var open: Int
  /// What led the shard when it was last heard of.
  private let known: Standing?
  private var heard: [Standing] = []
  private var best: Claim?

  package init(nodes: Int, known: Standing?) {
    count = nodes
    open = nodes
    self.known = known
  }

  /// A node has said how it stands; nil where it has not, or has nothing to say for this shard.
  package mutating func hear(_ node: NodeAddress, _ standing: Standing?, isLeading: Bool) {
    open -= 1
    guard let standing else { return }
    heard.append(standing)
    guard isLeading else { return }
    if let best, !(best.standing.epoch < standing.epoch) { return }
    best = Claim(node: node, standing: standing)
  }

  private var haveMost: Bool { heard.count * 2 > count }

  /// Whether nothing that is still to come is needed.
  package var isEnough: Bool {
    guard open > 0 else { return true }
    guard haveMost, let leader, let known else { return false }
    return known.epoch < leader.standing.epoch
  }

  /// Who leads, by what was said so far.
  package var leader: Claim? {
    guard let best else { return nil }
    let isOvertaken = heard.contains {
      $0.origin == best.standing.origin && best.standing.epoch < $0.epoch
    }
    guard !isOvertaken else { return nil }
    guard let known, best.standing.epoch < known.epoch else { return best }
    return isAnew(known) ? best : nil
  }

  /// Whether that log is gone.
  private func isAnew(_ known: Standing) -> Bool {
    guard let origin = known.origin, haveMost else { return false }
    return heard.allSatisfy { $0.origin != nil && $0.origin != origin }
  }
}

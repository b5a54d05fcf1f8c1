/// What another configuration would change.
public struct ShardMapDifference: Hashable, Sendable {
  /// Keys that belong to another shard than before.
  public struct Move: Hashable, Sendable {
    public var from: String
    public var to: String
    /// Of all keys, from 0 to 1, where the hash spreads them evenly.
    public var share: Double

    package init(from: String, to: String, share: Double) {
      self.from = from
      self.to = to
      self.share = share
    }
  }

  public struct NodeChange: Hashable, Sendable {
    public var shard: String
    /// Nil for a shard that is new.
    public var before: [String]?
    /// Nil for a shard that is gone.
    public var after: [String]?

    package init(shard: String, before: [String]?, after: [String]?) {
      self.shard = shard
      self.before = before
      self.after = after
    }
  }

  /// By the shards' indexes.
  public var moves: [Move] = []
  /// The shards whose nodes are others, or others in another order.
  public var nodes: [NodeChange] = []
  public var movedShare: Double { moves.reduce(0) { $0 + $1.share } }

  /// A shard is the same in both when it has the same name.
  public init(from old: ShardMap, to new: ShardMap) {
    let (share, isPossible) = Self.overlap(old, new)
    for before in old.shards {
      for after in new.shards where isPossible(before.index, after.index) {
        guard before.name != after.name else { continue }
        moves.append(Move(from: before.name, to: after.name, share: share))
      }
    }
    for before in old.shards {
      let after = new.shards.first { $0.name == before.name }
      if after?.nodes != before.nodes {
        nodes.append(NodeChange(shard: before.name, before: before.nodes, after: after?.nodes))
      }
    }
    for after in new.shards where !old.shards.contains(where: { $0.name == after.name }) {
      nodes.append(NodeChange(shard: after.name, before: nil, after: after.nodes))
    }
  }

  /// The share of each pair of an old and a new shard that has keys in common, and which these are: with
  /// one hash the old index and the new one are remainders of the same number.
  private static func overlap(
    _ old: ShardMap, _ new: ShardMap
  ) -> (share: Double, isPossible: (Int, Int) -> Bool) {
    let (n, m) = (old.shards.count, new.shards.count)
    guard old.hash == new.hash else { return (1 / Double(n * m), { _, _ in true }) }
    var (divisor, rest) = (n, m)
    while rest > 0 { (divisor, rest) = (rest, divisor % rest) }
    let common = divisor
    return (1 / Double(n / common * m), { $0 % common == $1 % common })
  }
}

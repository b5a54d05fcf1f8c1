/// What becomes of a configuration that is offered to nodes that have one, and run.
public enum ShardMapUpdate: Hashable, Sendable {
  /// It is the one that they have.
  case known
  /// It is older than theirs.
  case notAbove
  /// It has the same version, and says something else.
  case contradiction
  /// It changes what cannot change while they run; why, and what to do.
  case refused(String)
  /// It takes the place of theirs.
  case taken

  public init(of current: ShardMap, by offered: ShardMap) {
    if offered.version < current.version {
      self = .notAbove
    } else if offered.version == current.version {
      self = offered.isSame(as: current) ? .known : .contradiction
    } else if let reason = Self.obstacle(current, offered) {
      self = .refused(reason)
    } else {
      self = .taken
    }
  }

  private static func obstacle(_ current: ShardMap, _ offered: ShardMap) -> String? {
    func isFixed(_ what: String, _ before: some Any, _ after: some Any, _ way: String) -> String {
      "\(what) cannot change while the nodes run (\(before) here, \(after) in version "
        + "\(offered.version)): stop them, \(way), and start them with the new file (docs/operations.md)"
    }
    guard current.shards.count == offered.shards.count else {
      return isFixed(
        "the number of shards", current.shards.count, offered.shards.count,
        "split their data with snapshot-split")
    }
    guard current.hash == offered.hash else {
      return isFixed(
        "the hash", current.hash.name, offered.hash.name,
        "copy the keys to nodes with empty directories")
    }
    guard current.mode == offered.mode else {
      return isFixed(
        "the mode", current.mode, offered.mode, "copy the keys to nodes with empty directories")
    }
    for (before, after) in zip(current.shards, offered.shards) {
      if let stranger = current.shards.first(where: { shard in
        shard.index != after.index && shard.nodes.contains { after.nodes.contains($0) }
      }) {
        let address = stranger.nodes.first { after.nodes.contains($0) }!
        return "\(address) is a node of shard \(stranger.index), and cannot be one of shard "
          + "\(after.index) with the same data: take it out, empty its directory, and add it again"
      }
      if let leader = after.leader, !before.nodes.contains(leader) {
        return "\(leader) is to lead shard \(after.index), of which it is no node yet: add it as a "
          + "replica first, and have it promoted once it follows (kv promote --handover)"
      }
    }
    return nil
  }
}

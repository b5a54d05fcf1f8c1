import Client
import NIOCore
import Sharding

/// Before nodes are taken out of a shard: somebody who stays has to lead it. Who is taken out may have
/// what nobody else has.
struct ShardLeaderCheck: Sendable {
  let pool: KVPool

  /// Asks the nodes of the shards that would lose some.
  ///
  /// - Returns: why the new configuration is refused; nil where nothing is in its way.
  func obstacle(from old: ShardMap, to new: ShardMap) async -> String? {
    await withTaskGroup(of: String?.self) { group in
      for (before, after) in zip(old.shards, new.shards)
      where !before.nodes.allSatisfy(after.nodes.contains) {
        group.addTask { await obstacle(before, after) }
      }
      return await group.reduce(nil) { $0 ?? $1 }
    }
  }

  private func obstacle(_ before: ShardMap.Shard, _ after: ShardMap.Shard) async -> String? {
    let nodes = before.nodes.compactMap { try? NodeAddress(parsing: $0) }
    let leading = await MemberSurvey(nodes, pool).ask().filter(\.isLeading)
    // One without a standing has no record: it began just now.
    let leader = leading.max { left, right in
      guard let more = right.standing else { return false }
      return left.standing.map { $0.epoch < more.epoch } ?? true
    }
    let shard = "shard \(after.name.debugDescription)"
    guard let leader else {
      return
        "nobody answers who leads \(shard), which would lose a node: have one that stays lead it first "
        + "(kv promote)"
    }
    guard after.nodes.contains(leader.address) else {
      return
        "\(leader.address) leads \(shard), of which it would be no node any more: have another one lead "
        + "first (kv promote --handover)"
    }
    return nil
  }
}

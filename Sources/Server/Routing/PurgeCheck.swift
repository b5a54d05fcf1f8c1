import Client
import Engine
import NIOCore
import NIOPosix
import WAL

/// Whether a purge may remove what is here of other shards: the leader of each of them is asked to show
/// that it holds those keys. `PurgeProof` judges.
struct PurgeCheck: Sendable {
  /// Shards that are asked about at a time.
  private static let shardsMax = 8

  let node: NodeState
  /// Nobody is asked.
  let isForced: Bool

  enum Outcome: Sendable {
    /// - Parameters:
    ///   - keys: how many are of other shards.
    ///   - through: up to that number what was written of them is accounted for; nil where nobody was
    ///     asked.
    case allowed(keys: Int, through: UInt64?)
    case refused(keys: Int, reason: String)
    /// The check could not be made.
    case failed(String)
  }

  func run() async -> Outcome {
    let found: (through: UInt64, contents: [UInt32: ShardContent])
    do {
      found = try await NIOSingletons.posixBlockingThreadPool.runIfActive { [node] in
        // First the number: what is written meanwhile is behind it.
        let index = node.store.index
        let through = index.appliedSequence
        return (through, index.contents(ofShards: node.shardCount))
      }
    } catch {
      return .failed("\(error)")
    }
    let foreign = found.contents.filter { $0.key != node.shard }.sorted { $0.key < $1.key }
    let keys = foreign.reduce(0) { $0 + $1.value.keys }
    guard keys > 0, !isForced else { return .allowed(keys: keys, through: nil) }
    guard let cluster = node.cluster, cluster.map.shards.count == Int(node.shardCount) else {
      return .refused(
        keys: keys,
        reason: "\(keys) keys are of other shards, and no configuration says where those are")
    }
    var rest = foreign[...]
    while !rest.isEmpty {
      let some = rest.prefix(Self.shardsMax)
      rest = rest.dropFirst(some.count)
      if let reason = await refusal(of: some, cluster) {
        return .refused(keys: keys, reason: reason)
      }
    }
    return .allowed(keys: keys, through: found.through)
  }

  /// - Returns: why one of these may not go, that of the lowest shard; nil where all may.
  private func refusal(
    of contents: ArraySlice<(key: UInt32, value: ShardContent)>, _ cluster: Cluster
  ) async -> String? {
    let refusals = await withTaskGroup(of: (UInt32, String?).self) { group in
      for (shard, content) in contents {
        let proof = PurgeProof(
          shard: shard, shardCount: node.shardCount, hash: node.store.index.hasher.kind,
          content: content, origin: node.store.origin)
        group.addTask {
          (shard, await OwnerInquiry(node: node, cluster: cluster, proof: proof).run())
        }
      }
      return await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
    }
    guard let shard = refusals.keys.min(), let reason = refusals[shard] else { return nil }
    let keys = contents.first { $0.key == shard }?.value.keys ?? 0
    let name = cluster.map.shards[Int(shard)].name
    return "\(keys) keys are of shard \(shard), \"\(name)\", and \(reason)"
  }
}

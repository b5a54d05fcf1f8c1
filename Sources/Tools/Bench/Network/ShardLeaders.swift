import KVClient
import Synchronization

/// Who leads each shard, as far as a run knows. Where requests say that somebody else does, the shard's nodes
/// are asked; what has failed until then stays failed.
///
/// The threads of a run read it and doubt it; one task asks.
package final class ShardLeaders: Sendable {
  private final class Shard: Sendable {
    /// A place among the nodes.
    let leader: Atomic<Int>
    let isDoubted = Atomic(false)
    /// It is led in no older one; only the task that asks touches it.
    let epoch: Mutex<LeaderEpoch>

    init(_ leader: Int, _ epoch: LeaderEpoch) {
      self.leader = Atomic(leader)
      self.epoch = Mutex(epoch)
    }
  }

  private static let pause = Duration.milliseconds(20)
  private static let askTime = Duration.seconds(1)

  private let shards: [Shard]
  private let targets: TargetMap
  private let moves = Atomic(0)

  /// - Returns: nil where the nodes have no leaders, or it is not known who else could lead.
  package init?(_ targets: TargetMap, _ descriptions: [NodeDescription]) {
    guard !targets.candidates.isEmpty, targets.writers.allSatisfy({ $0.count == 1 }) else {
      return nil
    }
    self.targets = targets
    shards = targets.writers.map { places in
      let address = targets.nodes[places[0]]
      let epoch = descriptions.first { $0.address == address }?.epoch
      return Shard(places[0], epoch ?? LeaderEpoch(number: 0, node: 0))
    }
  }

  /// How often another one was found.
  package var moveCount: Int { moves.load(ordering: .relaxed) }

  @inline(__always)
  package func leader(of shard: Int) -> Int { shards[shard].leader.load(ordering: .relaxed) }

  /// A request for a shard says that who is known does not lead it.
  package func doubt(_ shard: Int) { shards[shard].isDoubted.store(true, ordering: .relaxed) }

  /// Asks about what is doubted, until the task is cancelled: each shard once at a time, and for a second at most.
  package func watch(_ pool: KVPool) async {
    while !Task.isCancelled {
      await withTaskGroup(of: Void.self) { group in
        for shard in shards.indices where shards[shard].isDoubted.load(ordering: .relaxed) {
          group.addTask { await self.look(shard, pool) }
        }
      }
      do { try await Task.sleep(for: Self.pause) } catch { return }
    }
  }

  private func look(_ index: Int, _ pool: KVPool) async {
    let shard = shards[index]
    // What fails from now on is another doubt.
    shard.isDoubted.store(false, ordering: .relaxed)
    let places = targets.candidates[index]
    var found: (place: Int, epoch: LeaderEpoch)?
    await withTaskGroup(of: (Int, NodeDescription?).self) { group in
      for place in places {
        let client = NodeClient(targets.nodes[place], pool: pool, timeout: Self.askTime)
        group.addTask { (place, await Self.describe(client)) }
      }
      for await (place, node) in group {
        guard let node, node.role == "leader", node.shard == index || node.shardCount == 1 else {
          continue
        }
        if let best = found, !(best.epoch < node.epoch) { continue }
        found = (place, node.epoch)
      }
    }
    guard let found, !(found.epoch < shard.epoch.withLock { $0 }) else {
      // Nobody leads yet: as long as requests come they fail, and say so.
      return
    }
    shard.epoch.withLock { $0 = found.epoch }
    if shard.leader.exchange(found.place, ordering: .relaxed) != found.place {
      moves.add(1, ordering: .relaxed)
    }
  }

  private static func describe(_ client: NodeClient) async -> NodeDescription? {
    do {
      return try NodeDescription(address: client.address, status: await client.status())
    } catch {
      return nil
    }
  }
}

import Client
import NIOCore
import Synchronization
import WAL

/// Finds out who leads another shard, once whoever led it is gone or says that it does not.
///
/// All nodes of the shard are asked at once how they stand; of those that lead the one with the highest
/// epoch counts. Whoever wants to know while they are being asked gets the same answer.
final class LeaderSearch: Sendable {
  /// For an answer of each node.
  private let askTime: TimeAmount
  private let cluster: Cluster
  private let pool: KVPool
  private let searches = Mutex<[Int: [EventLoopPromise<NodeAddress?>]]>([:])

  /// - Parameter pool: one that clients' requests do not wait in.
  init(_ cluster: Cluster, _ pool: KVPool, askTime: TimeAmount) {
    self.askTime = askTime
    self.cluster = cluster
    self.pool = pool
  }

  /// - Returns: nil where nobody says that it leads, in the highest epoch that was heard of at least.
  func find(_ shard: Int, on eventLoop: any EventLoop) -> EventLoopFuture<NodeAddress?> {
    let promise = eventLoop.makePromise(of: NodeAddress?.self)
    let isFirst = searches.withLock { searches in
      searches[shard, default: []].append(promise)
      return searches[shard]?.count == 1
    }
    if isFirst { ask(shard, on: eventLoop) }
    return promise.futureResult
  }

  /// What is known so far, on the event loop that asks.
  private struct Found {
    var open: Int
    var best: (node: NodeAddress, epoch: Epoch)?
    var isDone = false
  }

  private func ask(_ shard: Int, on eventLoop: any EventLoop) {
    let nodes = cluster.nodes(of: shard)
    let known = cluster.epoch(of: shard)
    let box = NIOLoopBoundBox.makeBoxSendingValue(
      Found(open: nodes.count), as: Found.self, eventLoop: eventLoop)
    for node in nodes {
      pool.execute(
        KVRequest(.GET, "/status"), on: node, deadline: .now() + askTime,
        eventLoop: eventLoop
      ).whenComplete { [self] result in
        guard !box.value.isDone else { return }
        box.value.open -= 1
        if let epoch = epoch(of: result, node, shard),
          box.value.best.map({ $0.epoch < epoch }) ?? true
        {
          box.value.best = (node, epoch)
        }
        // Nobody has to be waited for to know that there is a new one.
        let isNew = known.map { known in box.value.best.map { known < $0.epoch } ?? false } ?? false
        guard isNew || box.value.open == 0 else { return }
        box.value.isDone = true
        end(shard, box.value.best)
      }
    }
  }

  /// The epoch in which a node says that it leads; nil where it does not.
  private func epoch(
    of result: Result<KVResponse, any Error>, _ node: NodeAddress, _ shard: Int
  ) -> Epoch? {
    guard let answer = try? result.get(), answer.status == 200,
      let status = try? Peer(address: node, pool: pool).status(of: answer), status.role == "leader",
      // Another configuration's shard is none of ours.
      status.shard.map({ $0.index == shard && $0.count == cluster.map.shards.count }) ?? true
    else { return nil }
    return status.epochOfLog
  }

  private func end(_ shard: Int, _ best: (node: NodeAddress, epoch: Epoch)?) {
    let leader = best.flatMap {
      cluster.note(leader: $0.node, epoch: $0.epoch, of: shard) ? $0.node : nil
    }
    let waiting = searches.withLock { $0.removeValue(forKey: shard) } ?? []
    for promise in waiting { promise.succeed(leader) }
  }
}

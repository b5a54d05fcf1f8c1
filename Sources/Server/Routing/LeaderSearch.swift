import Client
import NIOCore
import Synchronization

/// Finds out who leads another shard, once whoever led it is gone or says that it does not.
///
/// All nodes of the shard are asked at once how they stand; `LeaderClaims` judges what they say. Whoever wants to
/// know while they are being asked gets the same answer.
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

  /// - Returns: nil where nobody leads, as far as the nodes say.
  func find(_ shard: Int, on eventLoop: any EventLoop) -> EventLoopFuture<NodeAddress?> {
    let promise = eventLoop.makePromise(of: NodeAddress?.self)
    let isFirst = searches.withLock { searches in
      searches[shard, default: []].append(promise)
      return searches[shard]?.count == 1
    }
    if isFirst { ask(shard, on: eventLoop) }
    return promise.futureResult
  }

  private func ask(_ shard: Int, on eventLoop: any EventLoop) {
    let nodes = cluster.nodes(of: shard)
    let box = NIOLoopBoundBox.makeBoxSendingValue(
      Optional(LeaderClaims(nodes: nodes.count, known: cluster.standing(of: shard))),
      as: LeaderClaims?.self, eventLoop: eventLoop)
    for node in nodes {
      pool.execute(
        KVRequest(.GET, "/status"), on: node, deadline: .now() + askTime,
        eventLoop: eventLoop
      ).whenComplete { [self] result in
        guard var claims = box.value else { return }
        let status = status(of: result, node, shard)
        if status?.role == "leaderless" {
          // Any of its nodes will do: the first that answers.
          box.value = nil
          cluster.note(leader: node, nil, of: shard)
          return conclude(shard, node)
        }
        claims.hear(node, status?.standing, isLeading: status?.role == "leader")
        box.value = claims.isEnough ? nil : claims
        if claims.isEnough { end(shard, claims.leader) }
      }
    }
  }

  /// What a node of that shard says of itself; nil where it does not.
  private func status(
    of result: Result<KVResponse, any Error>, _ node: NodeAddress, _ shard: Int
  ) -> Peer.Status? {
    guard let answer = try? result.get(), answer.status == 200,
      let status = try? Peer(address: node, pool: pool).status(of: answer),
      // Another configuration's shard is none of ours.
      status.shard.map({ $0.index == shard && $0.count == cluster.map.shards.count }) ?? true
    else { return nil }
    return status
  }

  private func end(_ shard: Int, _ claim: LeaderClaims.Claim?) {
    if let claim { cluster.note(leader: claim.node, claim.standing, of: shard) }
    conclude(shard, claim?.node)
  }

  private func conclude(_ shard: Int, _ node: NodeAddress?) {
    let waiting = searches.withLock { $0.removeValue(forKey: shard) } ?? []
    for promise in waiting { promise.succeed(node) }
  }
}

extension Peer.Status {
  fileprivate var standing: LeaderClaims.Standing? {
    epochOfLog.map { LeaderClaims.Standing(epoch: $0, origin: originNumber) }
  }
}

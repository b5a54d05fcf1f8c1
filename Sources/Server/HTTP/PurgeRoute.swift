import Engine
import NIOCore
import WAL

/// `/purge`: removes the keys that belong to other shards, once those who own them have shown that they
/// hold them.
extension LoopState {
  func purge(_ query: Parameters, _ lane: StandardLane) -> Handling {
    lane.isFor(.purge)
    guard let isDry = flag("dry_run", query) else {
      return .now(badOption("dry_run must be true or false"))
    }
    guard let isForced = flag("force", query) else {
      return .now(badOption("force must be true or false"))
    }
    if let answer = writeOptions(query, lane) { return .now(answer) }
    guard isDry || node.isLeading else {
      return .now(refusal(.purge, .forbidden, "read-only mode"))
    }
    // One shard owns every key.
    guard node.shardCount > 1 else { return .now(purged(0)) }
    guard !isDraining else { return .now(unavailablePurge("the node is stopping")) }
    guard node.beginPurgeCheck() else {
      return .now(unavailablePurge("another purge is being checked"))
    }
    let node = node
    let promise = eventLoop.makePromise(of: PurgeCheck.Outcome.self)
    promise.completeWithTask {
      defer { node.endPurgeCheck() }
      return await PurgeCheck(node: node, isForced: isForced).run()
    }
    promise.futureResult.assumeIsolated().whenSuccess { outcome in
      guard lane.isOpen else { return }
      lane.deliver(self.purge(outcome, isDry: isDry, lane))
    }
    return .later
  }

  /// False where it is not there; nil where it is neither true nor false.
  private func flag(_ name: String, _ query: Parameters) -> Bool? {
    switch query.text(name) {
    case nil, "false": false
    case "true": true
    default: nil
    }
  }

  private func purge(
    _ outcome: PurgeCheck.Outcome, isDry: Bool, _ lane: StandardLane
  ) -> Handling {
    switch outcome {
    case .refused(let keys, let reason):
      var answer = refusal(
        .purge, .conflict,
        "purge refused: \(reason). Nothing was removed; force=true removes them all the same")
      answer.purged = keys
      return .now(answer)
    case .failed(let reason):
      return .now(unavailablePurge(reason))
    case .allowed(let keys, let through):
      guard keys > 0, !isDry else { return .now(purged(keys)) }
      // Somebody else may lead by now.
      if let handling = heldBack(lane) { return handling }
      guard !isDraining else { return .now(unavailablePurge("the node is stopping")) }
      let range = ShardRange(
        hash: store.index.hasher.kind.rawValue, index: node.shard, count: node.shardCount)
      gather(lane.quorum).purge(keeping: range, checkedThrough: through, token: lane.token)
      return .later
    }
  }

  /// - Parameter keys: how many would go, or have gone.
  private func purged(_ keys: Int) -> Answer {
    node.dialect.writePurge(error: nil, into: &body)
    var answer = Answer(.ok)
    answer.purged = keys
    return answer
  }

  private func unavailablePurge(_ reason: String) -> Answer {
    var answer = refusal(.purge, .unavailable, "\(reason): nothing was removed")
    answer.retryAfterSeconds = 1
    return answer
  }
}

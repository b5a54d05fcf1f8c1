import Engine
import NIOCore
import NIOPosix
import WAL

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// The routes about the node itself.
extension LoopState {
  func health(_ lane: StandardLane) -> Handling {
    lane.isFor(.health)
    body.writeStaticString("ok")
    return .now(Answer(.ok))
  }

  /// Ready to take requests, unless it is stopping. Before it was, `StartingConnection` answered.
  func ready(_ lane: StandardLane) -> Handling {
    lane.isFor(.ready)
    guard !isDraining else {
      body.writeStaticString("the node is stopping")
      var answer = Answer(.unavailable)
      answer.retryAfterSeconds = 1
      return .now(answer)
    }
    if let most = node.configuration.lagSecondsMax, let following = node.following {
      let behind = following.secondsBehind
      guard let behind, behind <= Double(most) else {
        let since = behind.map { "\(Int($0)) s" } ?? "an unknown time"
        body.writeString("the replica is \(since) behind its leader, more than \(most) s")
        var answer = Answer(.unavailable)
        answer.retryAfterSeconds = 1
        return .now(answer)
      }
    }
    guard !node.configuration.wasRemoved else {
      body.writeStaticString("the configuration does not name this node any more")
      return .now(Answer(.unavailable))
    }
    body.writeStaticString("ready")
    return .now(Answer(.ok))
  }

  func metrics(_ lane: StandardLane) -> Handling {
    lane.isFor(.metrics)
    metrics.registry.render(into: &body)
    return .now(Answer(.ok, .prometheus))
  }

  /// Looks at the files, so it is made off the loop.
  func status(_ lane: StandardLane) -> Handling {
    lane.isFor(.status)
    let node = node
    let made = NIOSingletons.posixBlockingThreadPool.runIfActive(eventLoop: eventLoop) {
      try JSONEncoder.status.encode(NodeStatus(node))
    }
    made.assumeIsolated().whenComplete { result in
      switch result {
      case .success(let json):
        self.body.writeBytes(json)
        lane.deliver(.now(Answer(.ok, .json)))
      case .failure(let error):
        self.writeError("\(error)")
        lane.deliver(.now(Answer(.internalError, .json)))
      }
    }
    return .later
  }
}

extension LoopState {
  /// Has a snapshot made of all that was acknowledged so far; answers when it is durable.
  func makeSnapshot(_ lane: StandardLane) -> Handling {
    lane.isFor(.snapshot)
    guard !isDraining else { return .now(noSnapshotMade("the node is stopping")) }
    // Those who have left count until it is made.
    guard snapshotWaiters.count < limits.snapshotWaitersMax else {
      return .now(noSnapshotMade("too many requests wait for it"))
    }
    let promise = eventLoop.makePromise(of: SnapshotInfo.self)
    snapshotWaiters.append(lane)
    node.store.snapshots.request { promise.completeWith($0.mapError { $0 as any Error }) }
    promise.futureResult.assumeIsolated().whenComplete { result in
      guard let waiter = self.snapshotWaiters.firstIndex(where: { $0 === lane }) else { return }
      self.snapshotWaiters.remove(at: waiter)
      switch result {
      case .success(let info):
        self.body.writeString(
          "{\"sequence\":\(info.sequence),\"keys\":\(info.keys),\"bytes\":\(info.bytes)}")
        lane.deliver(.now(Answer(.ok, .json)))
      case .failure(let error):
        self.writeError("no snapshot: \(error)")
        let isFull = (error as? WALError)?.isFullDisk ?? false
        lane.deliver(.now(Answer(isFull ? .insufficientStorage : .unavailable, .json)))
      }
    }
    return .later
  }

  /// Those who wait would keep the node from stopping, which gives up what they wait for.
  func drainSnapshots() {
    let waiting = snapshotWaiters
    snapshotWaiters = []
    for lane in waiting { lane.deliver(.now(noSnapshotMade("the node is stopping"))) }
  }

  private func noSnapshotMade(_ reason: String) -> Answer {
    writeError("no snapshot: \(reason)")
    var answer = Answer(.unavailable, .json)
    answer.retryAfterSeconds = 1
    return answer
  }
}

/// What `/status` says.
struct NodeStatus: Encodable {
  struct Shard: Encodable {
    let name: String
    let index: UInt32
    let count: UInt32
  }

  struct Sequence: Encodable {
    let appended: UInt64
    let durable: UInt64
    let confirmed: UInt64
    let applied: UInt64
  }

  struct Log: Encodable {
    let segments: Int
    let bytes: UInt64
    let oldest_sequence: UInt64
  }

  /// What other histories have replaced, and is kept under `diverged/`: as of the start.
  struct Diverged: Encodable {
    let tails: Int
    let records: UInt64
  }

  struct Snapshot: Encodable {
    let sequence: UInt64
    let bytes: UInt64
    let keys: UInt64
    /// When it was made, seconds since 1970.
    let time: Double
    /// Of the one that is being made, from 0 to 1.
    let progress: Double?
    /// Why the last attempt failed.
    let error: String?
  }

  /// Whom a replica follows. What is not known is null.
  struct Leader: Encodable {
    /// That takes the shard's writes.
    let address: String
    /// Whose log it is; numbers and lags are against that node.
    let follows: String
    let state: String
    /// The last sequence number that it told; what was received of it, and what is applied.
    let sequence: UInt64?
    let received: UInt64
    let applied: UInt64
    /// Of what was received, not applied yet.
    let pending_bytes: Int
    let lag_records: UInt64?
    let lag_records_to_receive: UInt64?
    let lag_seconds: Double?
    /// Why there is no stream.
    let trouble: String?
    let alarm: String?

    init(_ report: FollowerReport, leader: String?) {
      address = leader ?? report.leader
      follows = report.leader
      state = report.state
      sequence = report.leaderEnd
      received = report.received
      applied = report.applied
      pending_bytes = report.pendingBytes
      lag_records = report.recordsToApply
      lag_records_to_receive = report.recordsToReceive
      lag_seconds = report.lagSeconds
      trouble = report.trouble
      alarm = report.alarm
    }
  }

  struct Replica: Encodable {
    private let row: LeaderProgress.Row

    init(_ row: LeaderProgress.Row) { self.row = row }

    private enum Key: String, CodingKey {
      case id, address, member, durable, lag_bytes, lag_records, lag_seconds, state
      case silent_seconds
    }

    func encode(to encoder: any Encoder) throws {
      var fields = encoder.container(keyedBy: Key.self)
      try fields.encode(row.id, forKey: .id)
      try fields.encode(row.address, forKey: .address)
      try fields.encode(row.isMember, forKey: .member)
      try fields.encode(row.durable, forKey: .durable)
      try fields.encode(row.lag.bytes, forKey: .lag_bytes)
      try fields.encode(row.lag.records, forKey: .lag_records)
      try fields.encode(row.lag.seconds, forKey: .lag_seconds)
      try fields.encode(row.state.rawValue, forKey: .state)
      try fields.encode(row.silentSeconds, forKey: .silent_seconds)
    }
  }

  let node: String
  let name: String?
  let role: String
  /// How far each log is applied, in a leaderless shard.
  let origins: [String: UInt64]?
  /// Writes that still may come and that a deletion here has replaced already.
  let pending_deletions: Int?
  let shard: Shard
  let epoch: UInt64
  let epoch_node: String
  let origin: String
  let sequence: Sequence
  let digest: String
  let keys: Int
  let expiring_keys: Int
  let memory_bytes: Int
  let wal: Log
  let snapshot: Snapshot
  let diverged: Diverged
  let replicas: [Replica]
  let leader: Leader?
  /// What it has promised, above the epoch of its log.
  let promised: String?
  /// It is on its way to leading.
  let taking_over: Bool
  /// It may have acknowledged what it does not have any more.
  let lacks: Bool
  let uptime_seconds: Double
  let version: String
  let config_version: Int?

  init(_ state: NodeState) throws(WALError) {
    let store = state.store
    node = state.id
    name = state.configuration.name
    role = state.merged != nil ? "leaderless" : state.isLeading ? "leader" : "replica"
    origins = state.merged.map { merged in
      Dictionary(
        uniqueKeysWithValues: merged.state.applied.entries.map {
          (hexadecimal($0.origin), $0.sequence)
        })
    }
    pending_deletions = state.merged?.state.deletionCount
    shard = Shard(name: state.shardName, index: state.shard, count: state.shardCount)
    let last = store.epoch
    epoch = last.number
    epoch_node = hexadecimal(last.node)
    origin = hexadecimal(store.origin)
    let durable = store.progress.durable
    // Where one node is its own quorum, what is durable here is confirmed.
    let confirmed =
      state.configuration.writeQuorum > 1 ? min(state.followers.confirmed, durable) : durable
    sequence = Sequence(
      appended: store.progress.appended, durable: durable, confirmed: confirmed,
      applied: store.index.appliedSequence)
    digest = hexadecimal(store.index.digest().sum)
    keys = store.index.count
    expiring_keys = store.index.expiringCount
    memory_bytes = store.index.memoryBytes
    let files = try store.logFiles()
    wal = Log(
      segments: files.count, bytes: files.reduce(0) { $0 + $1.bytes },
      oldest_sequence: files.first?.firstSequence ?? 0)
    let newest = store.snapshots.newest
    snapshot = Snapshot(
      sequence: newest?.sequence ?? 0, bytes: newest?.bytes ?? 0, keys: newest?.keys ?? 0,
      time: Double(newest?.timeMilliseconds ?? 0) / 1_000,
      progress: store.snapshots.progress.map {
        $0.totalBytes > 0 ? min(1, Double($0.doneBytes) / Double($0.totalBytes)) : 0
      }, error: store.snapshots.lastError.map { "\($0)" })
    diverged = Diverged(
      tails: store.report.diverged.tails, records: store.report.diverged.records)
    replicas = state.followers.rows.map(Replica.init)
    leader = state.following.map {
      Leader($0, leader: state.configuration.leaderAddress)
    }
    promised = state.promised.flatMap { $0 > last ? $0.text : nil }
    taking_over = state.isTakingOver.load(ordering: .relaxed)
    lacks = state.mayLack
    uptime_seconds = Double((NIODeadline.now() - state.startedAt).nanoseconds) / 1e9
    version = shiplogVersion
    config_version = state.configVersion
  }
}

extension JSONEncoder {
  /// Sorted, so that two answers can be compared by eye.
  static var status: JSONEncoder {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return encoder
  }
}

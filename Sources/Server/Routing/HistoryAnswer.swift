import Engine
import WAL

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// What `GET /admin/history` says: whether a point is in this node's history, and what it has of its
/// shard.
struct HistoryAnswer: Codable, Sendable {
  struct Shard: Codable, Sendable {
    let index: UInt32
    let count: UInt32
  }

  /// A point of the node's own history.
  struct Point: Codable, Sendable {
    let epoch: String
    let sequence: UInt64
    let crc: String

    init(_ position: LogPosition) {
      epoch = position.epoch.text
      sequence = position.sequence
      crc = hexadecimal(position.crc)
    }

    func point(of origin: UInt64) -> LogBase? {
      guard let epoch = Epoch(epoch[...]), let crc = UInt32(crc, radix: 16) else { return nil }
      return LogBase(
        origin: origin, position: LogPosition(epoch: epoch, sequence: sequence, crc: crc))
    }
  }

  /// The keys of its shard.
  struct Content: Codable, Sendable {
    let keys: Int
    let digest: String

    init(_ content: ShardContent) {
      keys = content.keys
      digest = hexadecimal(content.digest.sum)
    }

    var content: ShardContent? {
      guard let sum = UInt64(digest, radix: 16) else { return nil }
      return ShardContent(keys: keys, digest: Digest(sum: sum), highestVersion: 0)
    }
  }

  let node: String
  let role: String
  let shard: Shard
  let hash: String
  let origin: String
  /// The one that is running.
  let epoch: String
  let confirmed: UInt64
  /// That of `HistoryEvidence`, for the point that was asked for.
  let evidence: String?
  /// Where the directory became this shard.
  let start: Point?
  let content: Content?

  /// Looks into the files: off the event loop.
  ///
  /// - Parameters:
  ///   - asked: epoch and sequence number of the point; its checksum, where there is one.
  ///   - tellsContent: whether the keys of the shard are counted.
  init(_ state: NodeState, _ asked: FollowerQuery, tellsContent: Bool) throws(WALError) {
    let store = state.store
    node = state.id
    role = state.isLeading ? "leader" : "replica"
    shard = Shard(index: state.shard, count: state.shardCount)
    hash = store.index.hasher.kind.name
    origin = hexadecimal(store.origin)
    epoch = store.epoch.text
    let durable = store.progress.durable
    confirmed =
      state.configuration.writeQuorum > 1 ? min(state.followers.confirmed, durable) : durable
    var found: HistoryEvidence?
    if let epoch = asked.epoch, let sequence = asked.sequence {
      let origin = asked.origin ?? store.origin
      if origin != store.origin {
        found = .absent
      } else if let crc = asked.crc {
        found = try store.evidence(
          of: LogBase(
            origin: origin, position: LogPosition(epoch: epoch, sequence: sequence, crc: crc)))
      } else {
        found = store.evidence(ofEpoch: epoch, at: sequence)
      }
    }
    evidence = found?.rawValue
    start = store.shardStartPoint.map { Point($0.position) }
    content =
      tellsContent
      ? Content(store.index.contents(ofShards: state.shardCount)[state.shard] ?? ShardContent())
      : nil
  }
}

extension LoopState {
  /// `GET /admin/history?origin=&epoch=&seq=&crc=&content=`: whether this node's history contains that
  /// point.
  func history(_ query: Parameters, _ lane: StandardLane) -> Handling {
    lane.isFor(.history)
    let asked: FollowerQuery
    do {
      asked = try FollowerQuery(query, sequence: "seq", least: 1, limits: limits)
    } catch {
      return .now(badOption(error.message))
    }
    guard (asked.epoch == nil) == (asked.sequence == nil), asked.crc == nil || asked.epoch != nil
    else { return .now(badOption("epoch and seq go together, and crc with them")) }
    let tellsContent: Bool
    switch query.text("content") {
    case nil, "false": tellsContent = false
    case "true": tellsContent = true
    default: return .now(badOption("content must be true or false"))
    }
    guard !isDraining else { return .now(unavailable("the node is stopping")) }
    let node = node
    // Called on the loop.
    nonisolated(unsafe) let lane = lane
    node.feedReaders.run(on: eventLoop) {
      Result {
        try JSONEncoder.status.encode(HistoryAnswer(node, asked, tellsContent: tellsContent))
      }
    } then: { result in
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

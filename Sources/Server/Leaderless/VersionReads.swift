import Client
import Engine
import NIOCore
import NIOHTTP1
import WAL

/// What a node has of some keys, and how far it was before it looked: the answer to `GET /wal/versions?key=K&…`.
/// For each key 4 bytes that count, and as many of `KeyVersions`; 2 bytes that count, and so many clocks of what it knows
/// to be replaced, though it may not have come: 2 bytes that count, and so many origins and sequence numbers. How far
/// it was is in `X-KV-Positions`.
struct HeldVersions {
  static let positionsField = "X-KV-Positions"

  struct Key {
    var versions: KeyVersions
    var replaced: [VersionVector]
  }

  var applied: VersionVector
  var keys: [Key]

  /// - Returns: nil where the answer is none.
  init?(_ answer: KVResponse, keys count: Int) {
    guard answer.status == 200, let text = answer.headers.first(name: Self.positionsField),
      let applied = VersionVector(text)
    else { return nil }
    self.applied = applied
    keys = []
    var body = answer.body
    for _ in 0..<count {
      guard let bytes = body.readInteger(endianness: .little, as: UInt32.self),
        let part = body.readSlice(length: Int(bytes)),
        let versions = part.withUnsafeReadableBytes({ KeyVersions(parsing: $0) })
      else { return nil }
      var replaced: [VersionVector] = []
      guard let clocks = body.readInteger(endianness: .little, as: UInt16.self) else { return nil }
      for _ in 0..<clocks {
        guard let clock = Self.readClock(&body) else { return nil }
        replaced.append(clock)
      }
      keys.append(Key(versions: versions, replaced: replaced))
    }
    guard body.readableBytes == 0 else { return nil }
  }

  private static func readClock(_ body: inout ByteBuffer) -> VersionVector? {
    guard let entries = body.readInteger(endianness: .little, as: UInt16.self) else { return nil }
    var clock = VersionVector()
    for _ in 0..<entries {
      guard let origin = body.readInteger(endianness: .little, as: UInt64.self),
        let sequence = body.readInteger(endianness: .little, as: UInt64.self), sequence > 0
      else { return nil }
      clock.add(Dot(origin: origin, sequence: sequence))
    }
    return clock
  }

  /// What this node has.
  init(_ keys: [[UInt8]], of state: MergedState) {
    applied = state.applied
    self.keys = keys.map { key in
      let held = key.withUnsafeBytes { state.held($0) }
      return Key(versions: held.versions, replaced: held.replaced)
    }
  }

  func write(into buffer: inout ByteBuffer) {
    for key in keys {
      var bytes: [UInt8] = []
      key.versions.encode(into: &bytes)
      buffer.writeInteger(UInt32(bytes.count), endianness: .little)
      buffer.writeBytes(bytes)
      buffer.writeInteger(UInt16(clamping: key.replaced.count), endianness: .little)
      for clock in key.replaced.prefix(Int(UInt16.max)) {
        buffer.writeInteger(UInt16(clock.entries.count), endianness: .little)
        for entry in clock.entries {
          buffer.writeInteger(entry.origin, endianness: .little)
          buffer.writeInteger(entry.sequence, endianness: .little)
        }
      }
    }
  }

  /// Takes in what another node has.
  mutating func merge(_ other: HeldVersions) {
    for (index, key) in other.keys.enumerated() {
      keys[index].versions.merge(key.versions, known: applied, theirs: other.applied)
      keys[index].replaced += key.replaced
      for clock in keys[index].replaced { keys[index].versions.delete(clock) }
    }
    applied.merge(other.applied)
  }

  /// Whether a node that is so far lacks one of them.
  func areMissing(at applied: VersionVector) -> Bool {
    keys.contains { $0.versions.all.contains { !applied.covers($0.dot) } }
  }
}

/// A read of a leaderless shard that asks several members. What they have is merged; who lacks something is told
/// to fetch it.
final class VersionRead {
  private let wanted: Int
  private let members: Int
  private let node: NodeState
  private var held: HeldVersions
  private var answers: Int
  private var open: Int
  private var told: [(peer: NodeAddress, applied: VersionVector)] = []
  private var own: VersionVector
  private var timer: Scheduled<Void>?
  private var action: ((Result<[KeyVersions], TooFew>) -> Void)?

  /// So many have answered.
  struct TooFew: Error { let count: Int }

  private init(
    _ wanted: Int, _ keys: [[UInt8]], _ node: NodeState, _ merged: MergedStore,
    action: @escaping (Result<[KeyVersions], TooFew>) -> Void
  ) {
    self.wanted = wanted
    self.node = node
    self.action = action
    members = node.peers.count + 1
    held = HeldVersions(keys, of: merged.state)
    own = held.applied
    answers = node.lacks.load(ordering: .relaxed) || !node.isMember ? 0 : 1
    open = node.peers.count
  }

  /// Asks all members; calls `action`, in a later turn, once enough have answered or cannot any more.
  static func ask(
    _ wanted: Int, for keys: [[UInt8]], _ node: NodeState, _ merged: MergedStore,
    within time: TimeAmount, on loop: any EventLoop,
    action: @escaping (Result<[KeyVersions], TooFew>) -> Void
  ) {
    let read = VersionRead(wanted, keys, node, merged, action: action)
    let query = keys.map { key in
      "key=" + PercentEncoding.encode(key)
    }.joined(separator: "&")
    read.timer = loop.assumeIsolated().scheduleTask(in: time) { read.end() }
    for peer in node.peers {
      node.forwarder.ownPool.execute(
        KVRequest(.GET, "/wal/versions?" + query), on: peer, deadline: .now() + time,
        eventLoop: loop
      ).assumeIsolated().whenComplete { result in
        read.answered(
          (try? result.get()).flatMap { HeldVersions($0, keys: keys.count) }, by: peer)
      }
    }
  }

  private func answered(_ other: HeldVersions?, by peer: NodeAddress) {
    open -= 1
    if let other {
      told.append((peer, other.applied))
      // Late ones are still told what they lack.
      if action != nil {
        answers += 1
        held.merge(other)
      }
    }
    if answers >= wanted || answers + open < wanted { end() }
    if open == 0 { repair() }
  }

  private func end() {
    timer?.cancel()
    guard let action else { return }
    self.action = nil
    action(
      answers >= wanted ? .success(held.keys.map(\.versions)) : .failure(TooFew(count: answers)))
  }

  /// Read repair: whoever lacks what was read fetches the frames that it is in.
  private func repair() {
    if held.areMissing(at: own) { node.originFollowing?.hurry() }
    for (peer, applied) in told where held.areMissing(at: applied) {
      _ = node.forwarder.ownPool.execute(
        KVRequest(.POST, "/wal/positions", isIdempotent: true), on: peer,
        deadline: .now() + .seconds(1))
    }
  }
}

extension LoopState {
  /// What this node has of keys, for who asks several.
  func heldVersions(_ query: Parameters, _ lane: StandardLane) -> Handling {
    lane.isFor(.versions)
    guard let merged = node.merged else { return .now(notLeaderless()) }
    guard !node.lacks.load(ordering: .relaxed), node.isMember else {
      return .now(unavailable("this node may lack what it has acknowledged"))
    }
    let keys = query.all("key")
    guard !keys.isEmpty, keys.allSatisfy({ (1...limits.keyBytesMax).contains($0.count) }) else {
      return .now(badOption("key is missing, or one is empty or too long"))
    }
    let held = HeldVersions(keys, of: merged.state)
    held.write(into: &body)
    guard body.readableBytes <= answerBytesMax else {
      body.clear()
      writeError("the values are larger than \(answerBytesMax) bytes together")
      return .now(Answer(.contentTooLarge, .json))
    }
    return .fields(
      Answer(.ok, .bytes), [(name: HeldVersions.positionsField, value: "\(held.applied)")])
  }
}

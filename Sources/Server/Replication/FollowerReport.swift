import Engine
import NIOCore
import WAL

/// How a replica stands to its leader.
struct FollowerReport: Sendable {
  let leader: String
  let received: UInt64
  let applied: UInt64
  /// Bytes of frames that were received and are not applied yet.
  let pendingBytes: Int
  /// `streaming`, `connecting`, `waiting`.
  let state: String
  /// The leader's last number, as it said last; nil when nothing is heard of it.
  let leaderEnd: UInt64?
  /// Why there is no stream.
  let trouble: String?
  /// What somebody has to look into.
  let alarm: String?
  let connections: Int
  /// Everything was applied here once that the leader had.
  let hasCaughtUp: Bool
  /// On the monotonic clock: when this node had all that the leader had then.
  private let currentAt: UInt64?
  /// On the same: when the leader said last where its log ends.
  private let toldAt: UInt64?
  /// Who was not told for longer than some heartbeats that nothing is missing does not know it: the
  /// connection may be cut, which only its silence will show.
  private static let toldNanosecondsMax: UInt64 = 2_000_000_000

  init(leader: String, _ state: FollowerState, pendingBytes: Int) {
    self.leader = leader
    self.pendingBytes = pendingBytes
    received = state.received.sequence
    applied = state.applied.sequence
    leaderEnd = state.leaderEnd?.sequence
    toldAt = state.leaderEnd?.atNanoseconds
    trouble = state.trouble
    alarm = state.alarm
    connections = state.connections
    currentAt = state.currentAt
    hasCaughtUp = state.hasCaughtUp
    self.state =
      switch state.phase {
      case .streaming: "streaming"
      case .connecting: "connecting"
      case .waiting, .ended: "waiting"
      }
  }

  /// Records of the leader's that are not received here; nil when nothing is heard of it.
  var recordsToReceive: UInt64? { missing(behind: received) }
  /// Those that are not applied here.
  var recordsToApply: UInt64? { missing(behind: applied) }

  private func missing(behind sequence: UInt64) -> UInt64? {
    guard let leaderEnd, let toldAt else { return nil }
    let count = leaderEnd - min(leaderEnd, sequence)
    let isFresh = NIODeadline.now().uptimeNanoseconds <= toldAt + Self.toldNanosecondsMax
    return count > 0 || isFresh ? count : nil
  }

  /// How long ago this node had all that the leader had: the age of what is read here, at most. Nil when
  /// it never had.
  var secondsBehind: Double? {
    currentAt.map { at in
      let now = NIODeadline.now().uptimeNanoseconds
      return Double(now - min(now, at)) / 1e9
    }
  }

  /// The same, as a lag: 0 when nothing is missing; nil when nothing is heard of the leader.
  var lagSeconds: Double? { recordsToApply.flatMap { $0 == 0 ? 0 : secondsBehind } }
}

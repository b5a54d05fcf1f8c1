import Engine
import WAL

/// How a replica stands to its leader.
struct FollowerReport: Sendable {
  var leader: String
  /// `streaming`, `connecting`, `waiting`.
  var state = "waiting"
  var received: UInt64
  var applied: UInt64
  /// The leader's last number, as it said last; nil when nothing is heard.
  var leaderEnd: UInt64?
  /// Why there is no stream.
  var trouble: String?
  var alarm: String?
  var connections = 0

  init(leader: String, applied: LogPosition) {
    self.leader = leader
    received = applied.sequence
    self.applied = applied.sequence
  }

  init(leader: String, state: FollowerState, hasGathered: Bool) {
    self.init(leader: leader, applied: state.applied)
    received = state.received.sequence
    leaderEnd = state.leaderEnd.map { max($0.sequence, state.received.sequence) }
    trouble = state.trouble
    alarm = state.alarm
    connections = state.connections
    self.state =
      switch state.phase {
      case .streaming: "streaming"
      case .connecting: "connecting"
      case .waiting, .ended: "waiting"
      }
  }

  /// Records that are not applied yet; nil when that is not known.
  var lagRecords: UInt64? { leaderEnd.map { $0 - min($0, applied) } }
}

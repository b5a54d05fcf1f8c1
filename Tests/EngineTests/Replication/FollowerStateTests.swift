import Engine
import SimulatedDisk
import Testing
import WAL

@Suite("A follower's state")
struct FollowerStateTests {
  private static let second: UInt64 = 1_000_000_000
  private static let origin: UInt64 = 77

  private static func position(_ sequence: UInt64, epoch: UInt64 = 3) -> LogPosition {
    LogPosition(
      epoch: Epoch(number: epoch, node: 5), sequence: sequence, crc: UInt32(sequence) &* 31)
  }

  private static func state(at sequence: UInt64 = 10, now: UInt64 = 0) -> FollowerState {
    FollowerState(applied: position(sequence), origin: origin, now: now, jitter: 12_345)
  }

  private static func header(behind position: LogPosition, origin: UInt64 = origin) -> SegmentHeader
  {
    SegmentHeader(origin: origin, previous: position, durableSequence: 0, isShipped: true)
  }

  /// One that has a stream from `sequence` on.
  private static func streaming(at sequence: UInt64 = 10, now: UInt64 = 0) -> FollowerState {
    var state = state(at: sequence, now: now)
    _ = state.tick(now)
    #expect(state.opened(header(behind: position(sequence)), now) == nil)
    #expect(state.phase == .streaming)
    return state
  }

  @Test("asks for what comes behind what it has, and names that")
  func asks() {
    var state = Self.state()
    let action = state.tick(0)
    #expect(
      action
        == .connect(StreamRequest(from: 11, after: Self.position(10), origin: Self.origin)))
    #expect(state.phase == .connecting)
    #expect(state.tick(1) == nil, "it does not ask twice")
  }

  @Test("takes no stream that is another log's, or begins elsewhere")
  func otherStream() {
    var state = Self.state()
    _ = state.tick(0)
    guard case .disconnect = state.opened(Self.header(behind: Self.position(10), origin: 78), 0)
    else { Issue.record("another log was taken"); return }
    guard case .disconnect = state.opened(Self.header(behind: Self.position(9)), 0) else {
      Issue.record("a stream that begins before was taken")
      return
    }
    guard case .disconnect = state.opened(Self.header(behind: Self.position(11)), 0) else {
      Issue.record("a stream with a hole was taken")
      return
    }
    var other = Self.position(10)
    other.crc ^= 1
    guard case .disconnect = state.opened(Self.header(behind: other), 0) else {
      Issue.record("another history was taken")
      return
    }
  }

  @Test("asks again for what was received and not applied when the stream ends")
  func unapplied() {
    var state = Self.streaming()
    var last = Self.position(10)
    for _ in 0..<3 {
      let header = frame(behind: last)
      state.frame(header)
      last = header.position
    }
    state.applied(Self.position(10))
    #expect(state.received == last && last.sequence == 13)
    state.closed("cut", Self.second)
    guard case .waiting(let until) = state.phase else {
      Issue.record("not waiting")
      return
    }
    #expect(
      state.tick(until)
        == .connect(StreamRequest(from: 11, after: Self.position(10), origin: Self.origin)))
  }

  private func frame(behind position: LogPosition) -> FrameHeader {
    FrameHeader(
      standingFor: position.sequence + 1, epoch: position.epoch, timeMilliseconds: 1,
      crc: UInt32(position.sequence + 1) &* 31, recordBytes: 8)
  }

  @Test("what is confirmed is what headers say, as far as it is applied here")
  func confirmed() {
    var state = Self.streaming()
    #expect(state.confirmed == 0 && !state.hasCaughtUp)
    var header = frame(behind: Self.position(10))
    header.confirmedSequence = 9
    state.frame(header)
    #expect(state.confirmed == 9)
    header.confirmedSequence = 11
    state.confirmed(header)
    state.heartbeat(end: 11, 0)
    #expect(state.confirmed == 10 && !state.hasCaughtUp)
    state.applied(header.position)
    #expect(state.confirmed == 11 && state.hasCaughtUp)
    // An older frame of the same history says less.
    header.confirmedSequence = 8
    state.confirmed(header)
    #expect(state.confirmed == 11)
  }

  @Test("waits longer after each failure, up to a bound, and not as long as others do")
  func backoff() {
    var state = Self.state()
    var now: UInt64 = 0
    var waits: [UInt64] = []
    for _ in 0..<40 {
      guard case .connect = state.tick(now) else {
        Issue.record("no try")
        return
      }
      state.closed("refused", now)
      guard let deadline = state.deadline else {
        Issue.record("it gave up")
        return
      }
      #expect(state.tick(deadline - 1) == nil)
      waits.append(deadline - now)
      now = deadline
    }
    #expect(waits[0] < 100_000_000)
    #expect(waits.allSatisfy { $0 <= 2 * Self.second })
    #expect(waits[30...].allSatisfy { $0 >= Self.second })
    #expect(Set(waits[30...]).count > 5, "jittered")
    // A stream that works forgets the failures before it.
    _ = state.tick(now)
    _ = state.opened(Self.header(behind: Self.position(10)), now)
    state.closed("cut", now)
    #expect(state.deadline! - now < 100_000_000)
  }

  @Test("gives up a leader that says nothing, and not one that says something now and then")
  func silence() {
    var state = Self.streaming()
    var now: UInt64 = 0
    for _ in 0..<100 {
      now += 4 * Self.second
      #expect(state.tick(now) == nil)
      state.heard(now)
    }
    guard case .disconnect = state.tick(now + FollowerState.silenceNanosecondsMax) else {
      Issue.record("it waits for ever")
      return
    }
  }

  @Test("knows how far the leader is only while it hears of it")
  func lag() {
    var state = Self.streaming()
    #expect(state.leaderEnd == nil)
    state.heartbeat(end: 41, 5)
    #expect(state.leaderEnd?.sequence == 41 && state.currentAt == nil)
    state.applied(Self.position(41))
    #expect(state.currentAt == 5, "what the leader had then")
    state.heartbeat(end: 42, 7)
    #expect(state.currentAt == 5)
    state.closed("cut", 8)
    #expect(state.leaderEnd == nil && state.currentAt == 5)
  }

  @Test("fetches a snapshot when the log that it needs is gone")
  func tooOld() {
    var state = Self.state()
    _ = state.tick(0)
    #expect(
      state.refused(StreamRefusal(status: 410, reason: "gone", oldest: 100), 0) == .copy)
    #expect(state.phase == .ended && state.deadline == nil)
    state.closed("late", 1)
    #expect(state.phase == .ended)
  }

  @Test("puts its history away for one of a higher epoch, and for no other")
  func diverged() {
    for (epoch, node, isHigher) in [
      (4, 1, true), (3, 6, true), (3, 5, false), (3, 4, false), (2, 9, false),
    ] as [(UInt64, UInt64, Bool)] {
      var state = Self.state()
      _ = state.tick(0)
      let action = state.refused(
        StreamRefusal(
          status: 409, reason: "not this history", lastEpoch: Epoch(number: epoch, node: node),
          origin: Self.origin), 0)
      if isHigher {
        guard case .diverged = action else {
          Issue.record("epoch \(epoch)-\(node) was refused")
          return
        }
      } else {
        // An emptied leader must not empty its replicas.
        #expect(action == nil && state.alarm != nil, "epoch \(epoch)-\(node)")
        #expect(state.deadline == 5 * Self.second)
      }
    }
    var state = Self.state()
    _ = state.tick(0)
    #expect(state.refused(StreamRefusal(status: 409, reason: "no epochs"), 0) == nil)
    #expect(state.deadline != nil)
  }

  @Test("keeps what it has when the leader's log is another one, whatever its epoch")
  func otherLog() {
    for origin in [78, nil] as [UInt64?] {
      var state = Self.state()
      _ = state.tick(0)
      let action = state.refused(
        StreamRefusal(
          status: 409, reason: "another origin", lastEpoch: Epoch(number: 9, node: 5),
          origin: origin), 0)
      #expect(action == nil && state.alarm != nil && state.phase != .ended)
    }
  }

  @Test("forgets an alarm when the stream is well again")
  func alarmEnds() {
    var state = Self.state()
    _ = state.tick(0)
    _ = state.refused(
      StreamRefusal(status: 409, reason: "less", lastEpoch: Epoch(number: 3, node: 5)), 0)
    #expect(state.alarm != nil)
    guard case .connect = state.tick(5 * Self.second) else {
      Issue.record("it does not try again")
      return
    }
    _ = state.opened(Self.header(behind: Self.position(10)), 5 * Self.second)
    #expect(state.alarm == nil && state.trouble == nil)
  }
}

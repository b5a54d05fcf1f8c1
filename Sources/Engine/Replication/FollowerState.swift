import WAL

/// The receiving side of log shipping, without sockets and without a clock: events go in, what to do
/// comes out.
///
///     waiting --tick--> connecting --opened--> streaming --closed--> waiting
///                           |
///                           +--refused--> waiting | halted, or `copy`, or `diverged`
///
/// Every connection asks for what comes behind the last position that is applied here, and names that
/// position, so that a leader of another history is found out before a single frame is taken.
public struct FollowerState: Sendable {
  /// What the shell has to do.
  public enum Action: Equatable, Sendable {
    case connect(StreamRequest)
    /// Closes the connection; `closed` follows.
    case disconnect(String)
    /// What is missing here is not in the leader's log any more: a snapshot has to be fetched.
    case copy
    /// What is here is not the leader's history, which is of a higher epoch and has gone through these:
    /// what it does not have is put away.
    case diverged(String, leader: [EpochHistory.Start])
  }

  public enum Phase: Equatable, Sendable {
    /// Until the time given, then a connection is tried.
    case waiting(until: UInt64)
    case connecting
    case streaming
    /// The shell is at work; it makes a new state when it is done.
    case ended
  }

  /// How long nothing may come from a leader, which says something every half second.
  public static let silenceNanosecondsMax: UInt64 = 5_000_000_000
  static let backoffNanosecondsMin: UInt64 = 20_000_000
  static let backoffNanosecondsMax: UInt64 = 2_000_000_000
  /// Between tries where somebody has to do something first.
  static let haltNanoseconds: UInt64 = 5_000_000_000

  public private(set) var phase: Phase
  /// What is applied here.
  public private(set) var applied: LogPosition
  /// What was received and is on its way.
  public private(set) var received: LogPosition
  /// Why the last connection ended, or was refused; nil while one is well.
  public private(set) var trouble: String?
  /// Set where waiting does not help: a leader that has less than this node, or another log.
  public private(set) var alarm: String?
  /// The leader's end, and when it was told; nil while nothing is heard.
  public private(set) var leaderEnd: (sequence: UInt64, atNanoseconds: UInt64)?
  /// When everything was applied here that the leader had then; nil before that ever was.
  public private(set) var currentAt: UInt64?
  /// What the headers of frames and heartbeats say is confirmed: of this history, so that it is true
  /// for whoever has it, whatever the epoch.
  public private(set) var toldConfirmed: UInt64 = 0
  public private(set) var connections = 0
  private let origin: UInt64?
  private var failures = 0
  private var heardAt: UInt64 = 0
  private var jitter: UInt64

  /// - Parameters:
  ///   - origin: the log's; nil where nothing of it is here yet.
  ///   - jitter: a random number: followers that lose their leader do not all come back at once.
  public init(applied: LogPosition, origin: UInt64?, now: UInt64, jitter: UInt64) {
    self.applied = applied
    self.origin = origin
    self.jitter = jitter
    received = applied
    phase = .waiting(until: now)
  }

  // MARK: - Time

  /// When `tick` has something to do.
  public var deadline: UInt64? {
    switch phase {
    case .waiting(let until): until
    case .connecting, .streaming: heardAt + Self.silenceNanosecondsMax
    case .ended: nil
    }
  }

  public mutating func tick(_ now: UInt64) -> Action? {
    guard let deadline, now >= deadline else { return nil }
    if case .waiting = phase {
      phase = .connecting
      heardAt = now
      received = applied
      return .connect(
        StreamRequest(from: applied.sequence + 1, after: applied, origin: origin))
    }
    heardAt = now
    return .disconnect("nothing heard for \(Self.silenceNanosecondsMax / 1_000_000_000) s")
  }

  // MARK: - The stream

  /// Something came, whatever it was.
  public mutating func heard(_ now: UInt64) { heardAt = now }

  /// The leader's answer has begun with that segment header.
  public mutating func opened(_ header: SegmentHeader, _ now: UInt64) -> Action? {
    if let origin, header.origin != origin {
      return .disconnect("the stream is of another log")
    }
    guard header.previous == received else {
      return .disconnect("the stream does not go on from \(received.sequence)")
    }
    guard case .connecting = phase else { return nil }
    phase = .streaming
    connections += 1
    failures = 0
    trouble = nil
    alarm = nil
    return nil
  }

  public mutating func frame(_ header: FrameHeader) {
    received = header.position
    confirmed(header)
  }

  /// The leader's header says what is confirmed.
  public mutating func confirmed(_ header: FrameHeader) {
    toldConfirmed = max(toldConfirmed, header.confirmedSequence)
  }

  /// What is applied here, and known to be confirmed.
  public var confirmed: UInt64 { min(toldConfirmed, applied.sequence) }

  /// Everything was applied here once that the leader had: what this node may have lost before, too.
  public var hasCaughtUp: Bool { currentAt != nil }

  /// The leader says where its log ends.
  public mutating func heartbeat(end sequence: UInt64, _ now: UInt64) {
    leaderEnd = (sequence, now)
    noteCurrent()
  }

  public mutating func applied(_ position: LogPosition) {
    applied = position
    noteCurrent()
  }

  private mutating func noteCurrent() {
    guard let leaderEnd, applied.sequence >= leaderEnd.sequence else { return }
    currentAt = leaderEnd.atNanoseconds
  }

  /// The connection has ended, or was not made. What was received and not applied is asked for again.
  public mutating func closed(_ reason: String, _ now: UInt64) {
    guard phase != .ended else { return }
    trouble = reason
    leaderEnd = nil
    wait(now)
  }

  private mutating func wait(_ now: UInt64) {
    failures += 1
    let most = min(
      Self.backoffNanosecondsMax, Self.backoffNanosecondsMin << UInt64(min(failures, 7)))
    jitter = jitter &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    phase = .waiting(until: now + most / 2 + (jitter >> 33) % (most / 2))
  }

  // MARK: - Refusals

  /// The leader has answered with anything but a stream.
  public mutating func refused(_ refusal: StreamRefusal, _ now: UInt64) -> Action? {
    leaderEnd = nil
    trouble = refusal.reason
    switch refusal.status {
    case 410:
      phase = .ended
      return .copy
    case 409:
      guard let leader = refusal.lastEpoch else { break }
      // Epochs of two logs say nothing of one another: a leader that lost its data has a new one.
      guard origin == nil || refusal.origin == origin else {
        alarm =
          "the leader's log is another one than this node's, which ends at \(applied.sequence): "
          + "\(refusal.reason). Was its data lost? Nothing is taken from it"
        phase = .waiting(until: now + Self.haltNanoseconds)
        return nil
      }
      if leader > applied.epoch {
        phase = .ended
        return .diverged(
          "up to \(applied.sequence), epoch \(applied.epoch.number), this is not the history of the "
            + "leader, whose epoch is \(leader.number): \(refusal.reason)", leader: refusal.epochs)
      }
      // The same epoch, or an older one: nothing that this node has may go for that.
      alarm =
        "the leader has less than this node, which ends at \(applied.sequence), in an epoch that is not "
        + "higher: \(refusal.reason). Was its data lost? Nothing is taken from it"
      phase = .waiting(until: now + Self.haltNanoseconds)
      return nil
    case 503:
      wait(now)
      return nil
    default: break
    }
    phase = .waiting(until: now + Self.haltNanoseconds)
    return nil
  }
}

/// What a follower asks for.
public struct StreamRequest: Equatable, Sendable {
  public var from: UInt64
  /// What is here already.
  public var after: LogPosition
  public var origin: UInt64?

  public init(from: UInt64, after: LogPosition, origin: UInt64?) {
    self.from = from
    self.after = after
    self.origin = origin
  }
}

/// Why there is no stream.
public struct StreamRefusal: Equatable, Sendable {
  public var status: Int
  public var reason: String
  /// The newest epoch of the node that refused.
  public var lastEpoch: Epoch?
  /// Its oldest sequence number that is in the log.
  public var oldest: UInt64?
  /// Its log's id.
  public var origin: UInt64?
  /// The epochs of its history, oldest first; of very many the newest.
  public var epochs: [EpochHistory.Start]

  public init(
    status: Int, reason: String, lastEpoch: Epoch? = nil, oldest: UInt64? = nil,
    origin: UInt64? = nil, epochs: [EpochHistory.Start] = []
  ) {
    self.origin = origin
    self.epochs = epochs
    self.status = status
    self.reason = reason
    self.lastEpoch = lastEpoch
    self.oldest = oldest
  }
}

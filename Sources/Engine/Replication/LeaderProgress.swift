import WAL

/// What a node knows of those who follow its log: how far each is, and what that comes to.
///
/// Events in, answers out; times are the caller's, in nanoseconds of a monotonic clock. *Members* are
/// configured and count towards a quorum; other replicas are known from what they ask for, are kept
/// log for, and count for nothing.
public struct LeaderProgress: Sendable {
  public struct Peer: Hashable, Sendable {
    public var id: String
    public var address: String

    public init(id: String, address: String) {
      self.id = id
      self.address = address
    }
  }

  public enum State: String, Hashable, Sendable, CaseIterable {
    /// Gets frames as they are applied.
    case streaming
    /// Gets older frames, from the files.
    case catchingUp = "catching-up"
    /// Takes a snapshot, and has no stream.
    case copying
    case offline
  }

  /// One replica, as it is shown.
  public struct Row: Hashable, Sendable {
    public var id: String
    public var address: String?
    public var isMember: Bool
    /// The last sequence number that it has acknowledged; nil before it has.
    public var durable: UInt64?
    public var lag: ReplicaLag
    public var state: State
    /// How long nothing was heard of it; nil when nothing ever was.
    public var silentSeconds: Double?
  }

  /// A stream that was opened: of several of one replica the last one counts.
  public struct StreamID: Hashable, Sendable {
    fileprivate let replica: String
    fileprivate let number: UInt64
  }

  private struct Replica {
    let id: String
    let address: String?
    let isMember: Bool
    var acknowledged: UInt64?
    /// The log behind here is needed; nil where nobody knows: a member may need all of it, and who
    /// has never followed, none.
    var needed: UInt64?
    /// That of its newest stream.
    var stream: UInt64?
    var isLive = false
    /// The stream has been live: from then on it falls behind for moments only.
    var wasLive = false
    /// A snapshot counts as being taken until then.
    var copyEnd: UInt64 = 0
    var heard: UInt64?

    func state(at now: UInt64) -> State {
      if stream != nil { return isLive ? .streaming : .catchingUp }
      return copyEnd > now ? .copying : .offline
    }

    /// Whether it is only known from a copy that it has made, a backup perhaps.
    func isOver(at now: UInt64) -> Bool {
      !isMember && needed == nil && stream == nil && copyEnd <= now
    }
  }

  /// Replicas that are not members, at most: names come from whoever sends them.
  public static let guestsMax = 64
  /// Members that a write waits for count as confirmed, this node included.
  public let quorum: Int
  private let copyNanoseconds: UInt64
  /// Members first, in their order.
  private var replicas: [Replica]
  private var lastStream: UInt64 = 0
  private var pledge: (epoch: Epoch, own: UInt64)?

  /// - Parameters:
  ///   - others: the members but this node.
  ///   - copySeconds: for so long after a part of a snapshot was asked for its replica counts as copying.
  public init(others: [Peer], quorum: Int, copySeconds: UInt64) {
    precondition(quorum >= 1)
    self.quorum = quorum
    copyNanoseconds = copySeconds * 1_000_000_000
    replicas = others.map { Replica(id: $0.id, address: $0.address, isMember: true) }
  }

  /// Members, this node included.
  public var memberCount: Int { 1 + replicas.count(where: \.isMember) }

  // MARK: - Events

  /// The number of the replica of that name, which is known from now on; nil when there are too many.
  private mutating func hear(_ id: String, at now: UInt64) -> Int? {
    if let number = replicas.firstIndex(where: { $0.id == id }) {
      replicas[number].heard = now
      return number
    }
    replicas.removeAll { $0.isOver(at: now) }
    if replicas.count(where: { !$0.isMember }) >= Self.guestsMax {
      // The one that has been gone for longest is forgotten.
      let gone = replicas.indices.filter {
        !replicas[$0].isMember && replicas[$0].state(at: now) == .offline
      }
      guard let oldest = gone.min(by: { replicas[$0].heard! < replicas[$1].heard! }) else {
        return nil
      }
      replicas.remove(at: oldest)
    }
    replicas.append(Replica(id: id, address: nil, isMember: false, heard: now))
    return replicas.count - 1
  }

  /// A replica follows the log from that number on.
  ///
  /// - Returns: nil when there are too many replicas.
  public mutating func streamOpened(
    _ id: String, from: UInt64, at now: UInt64
  ) -> StreamID? {
    guard let number = hear(id, at: now) else { return nil }
    lastStream += 1
    replicas[number].stream = lastStream
    replicas[number].isLive = false
    replicas[number].wasLive = false
    replicas[number].copyEnd = 0
    replicas[number].needed = from - 1
    // Who asks for what it has acknowledged does not have it any more.
    if let acknowledged = replicas[number].acknowledged, acknowledged >= from {
      replicas[number].acknowledged = nil
    }
    return StreamID(replica: id, number: lastStream)
  }

  public mutating func streamClosed(_ stream: StreamID, at now: UInt64) {
    change(stream) { replica in
      replica.stream = nil
      replica.isLive = false
      replica.wasLive = false
      replica.heard = now
    }
  }

  /// The stream sends what was applied last.
  public mutating func caughtUp(_ stream: StreamID) {
    change(stream) { replica in
      replica.isLive = true
      replica.wasLive = true
    }
  }

  /// The stream sends what is not in memory any more.
  public mutating func fellBehind(_ stream: StreamID) { change(stream) { $0.isLive = false } }

  private mutating func change(_ stream: StreamID, _ body: (inout Replica) -> Void) {
    guard
      let number = replicas.firstIndex(where: {
        $0.id == stream.replica && $0.stream == stream.number
      })
    else { return }
    body(&replicas[number])
  }

  /// A replica has asked for a part of the snapshot up to that number.
  public mutating func snapshotRead(_ id: String, sequence: UInt64, at now: UInt64) {
    guard let number = hear(id, at: now), replicas[number].stream == nil else { return }
    let (end, isTooLate) = now.addingReportingOverflow(copyNanoseconds)
    replicas[number].copyEnd = isTooLate ? .max : end
    // Who has only ever copied holds the log by a lease, for a while.
    if replicas[number].isMember || replicas[number].needed != nil {
      replicas[number].needed = sequence
    }
    replicas[number].acknowledged = nil
  }

  /// A replica has everything up to there durable and applied, in this history.
  ///
  /// - Returns: false when there are too many replicas.
  public mutating func acknowledged(_ id: String, _ sequence: UInt64, at now: UInt64) -> Bool {
    guard let number = hear(id, at: now) else { return false }
    // They may come in another order than they were sent.
    guard sequence >= replicas[number].acknowledged ?? 0 else { return true }
    replicas[number].acknowledged = sequence
    replicas[number].needed = max(replicas[number].needed ?? 0, sequence)
    return true
  }

  // MARK: - Answers

  /// How many members have that record durable and applied.
  ///
  /// - Parameter own: what this node has.
  public func count(having sequence: UInt64, own: UInt64) -> Int {
    replicas.reduce(own >= sequence ? 1 : 0) { count, replica in
      count + (replica.isMember && (replica.acknowledged ?? 0) >= sequence ? 1 : 0)
    }
  }

  /// What a quorum of members has confirmed.
  ///
  /// - Parameter newest: as below.
  public func confirmed(own: UInt64, since newest: EpochHistory.Start?) -> UInt64 {
    number(confirmedBy: quorum, own: own, since: newest)
  }

  /// What so many members have durable and applied, where that is for good.
  ///
  /// Records of an older epoch are confirmed only together with the first one of the newest: until then
  /// a node that has not these, but an epoch in between, may be promoted and take them back, however
  /// many members have them (Ongaro and Ousterhout, "In Search of an Understandable Consensus
  /// Algorithm", 2014, 5.4.2).
  ///
  /// - Parameter newest: the newest epoch in this node's log, as it is when this is asked:
  ///   acknowledgements that were counted may be of that epoch.
  /// - Returns: 0 as long as nothing is confirmed that way.
  public func number(
    confirmedBy quorum: Int, own: UInt64, since newest: EpochHistory.Start?
  ) -> UInt64 {
    guard quorum > 1 else { return own }
    guard let newest else { return 0 }
    var numbers = [counted(own, since: newest)]
    for replica in replicas where replica.isMember { numbers.append(replica.acknowledged ?? 0) }
    guard quorum <= numbers.count else { return 0 }
    let number = numbers.sorted(by: >)[quorum - 1]
    return number >= newest.firstSequence ? number : 0
  }

  /// Until an epoch that is not below its promise has come to this node's log, it stands for what it had
  /// when it promised, and for nothing that it has got since.
  private func counted(_ own: UInt64, since newest: EpochHistory.Start?) -> UInt64 {
    guard let pledge else { return own }
    if let newest, newest.epoch >= pledge.epoch { return own }
    return min(own, pledge.own)
  }

  /// This node has promised an epoch.
  ///
  /// - Parameter own: what it had then; 0 where that is not known.
  public mutating func pledged(
    _ epoch: Epoch, own: UInt64, since newest: EpochHistory.Start?
  ) {
    pledge = (epoch, counted(own, since: newest))
  }

  /// Members whose stream has come to the end of the log, this node included: those that a write may wait
  /// for. One that falls behind for a moment stays among them.
  public var streamingCount: Int {
    1 + replicas.count { $0.isMember && $0.stream != nil && $0.wasLive }
  }

  /// The log behind here is needed by somebody; nil when nobody needs any.
  ///
  /// - Parameter isLeading: then members of whom nothing was heard may need all of it. Of another node
  ///   they get it from the leader.
  public func needed(isLeading: Bool) -> UInt64? {
    replicas.compactMap { $0.isMember && isLeading ? $0.needed ?? 0 : $0.needed }.min()
  }

  public func knows(_ id: String) -> Bool { replicas.contains { $0.id == id } }

  /// The names of all replicas that are known.
  public var ids: [String] { replicas.map(\.id) }

  /// All replicas, members first.
  ///
  /// - Parameters:
  ///   - isLeading: then also those of whom nothing was heard.
  ///   - lag: of who has everything up to a number.
  public func rows(
    at now: UInt64, isLeading: Bool = true, lag: (UInt64) -> ReplicaLag
  ) -> [Row] {
    replicas.filter { !$0.isOver(at: now) && (isLeading || $0.heard != nil) }.map { replica in
      Row(
        id: replica.id, address: replica.address, isMember: replica.isMember,
        durable: replica.acknowledged, lag: replica.acknowledged.map(lag) ?? .unknown,
        state: replica.state(at: now),
        silentSeconds: replica.heard.map { Double(now - min($0, now)) / 1e9 })
    }
  }
}

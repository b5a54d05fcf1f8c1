import WAL

/// A shard that nobody can lead or follow because of promises that came to nothing, as one of its members
/// sees it: when this node asks for promises by itself.
///
/// A promotion that gets too few promises leaves those who gave one waiting for a leader that does not come;
/// and a leader that goes on without them is not followed by them. Then one of two nodes is promoted again,
/// by the rules of every promotion: the one that asked for the promises, and the one that led before. No
/// other is: who leads stays the choice of people. Only with a write quorum above 1: promises fence then.
///
/// Looks go in, with what the others say; times are the caller's, in nanoseconds of a monotonic clock.
public struct Vacancy: Sendable {
  /// How this node stands.
  public struct Own: Hashable, Sendable {
    public var voter: Voter
    /// Its number in epochs.
    public var node: UInt64
    public var isLeading: Bool

    public init(voter: Voter, node: UInt64, isLeading: Bool) {
      self.voter = voter
      self.node = node
      self.isLeading = isLeading
    }
  }

  /// The node that was to lead comes first, and each time later: it may be the other one that can.
  static let candidateNanoseconds: UInt64 = 1_000_000_000
  static let formerNanoseconds: UInt64 = 3_000_000_000
  private static let doublingsMax: UInt64 = 5

  private var since: UInt64?
  private var attempts: UInt64 = 0

  public init() {}

  /// - Parameters:
  ///   - own: of a node that leads, or waits for whom it has promised; nil for any other.
  ///   - reports: of the others, of this node's log.
  ///   - jitter: a random number.
  /// - Returns: whether this node had better be promoted now.
  public mutating func look(
    _ own: Own?, reports: [Succession.Report], now: UInt64, jitter: UInt64
  ) -> Bool {
    guard let own, let patience = Self.patience(own), Self.isVacant(own, reports) else {
      since = nil
      if own.map({ !$0.voter.waits }) ?? true, reports.allSatisfy({ $0.promised == nil }) {
        attempts = 0
      }
      return false
    }
    guard let since else {
      since = now
      return false
    }
    let wait = patience << min(attempts, Self.doublingsMax)
    guard now >= since + wait + jitter % (wait / 2) else { return false }
    self.since = nil
    attempts += 1
    return true
  }

  /// Nil where it is not this node's to lead.
  private static func patience(_ own: Own) -> UInt64? {
    if own.isLeading { return formerNanoseconds }
    guard own.voter.waits else { return nil }
    if own.voter.highest.node == own.node { return candidateNanoseconds }
    return own.voter.logEpoch.node == own.node ? formerNanoseconds : nil
  }

  /// Whether nobody leads, or is about to, whom all who have said how they stand could follow.
  ///
  /// - Parameters: as of `look`: asked again right before promises are asked for.
  public static func isVacant(_ own: Own, _ reports: [Succession.Report]) -> Bool {
    guard own.isLeading || own.voter.waits, !reports.contains(where: \.isTakingOver) else {
      return false
    }
    let known = reports.compactMap { $0.standing?.epoch }.max() ?? own.voter.logEpoch
    if own.isLeading {
      // Somebody has promised an epoch above this one, which has not begun.
      let promised = reports.compactMap(\.promised).max() ?? own.voter.logEpoch
      return promised > own.voter.logEpoch && known <= own.voter.logEpoch
    }
    // What was promised has begun, or somebody leads who will be promoted above it.
    return known < own.voter.highest && !reports.contains { $0.isLeading && $0.standing != nil }
  }
}

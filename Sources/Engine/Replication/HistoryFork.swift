import WAL

/// Where two histories of one log part, as their lists of epochs say it.
///
/// An epoch that both have, with the same number, node and first sequence number, is one log in both; it
/// ends where the next one begins, or where the log does. Up to the lower of the two ends of the newest
/// such epoch they are the same, and since every epoch begins a frame, a frame ends there.
public struct HistoryFork: Hashable, Sendable {
  /// The last sequence number that both have, and its epoch.
  public var sequence: UInt64
  public var epoch: Epoch

  public init(sequence: UInt64, epoch: Epoch) {
    self.sequence = sequence
    self.epoch = epoch
  }

  /// The fork between this node's history and its leader's.
  ///
  /// - Parameters:
  ///   - own: this node's epochs, oldest first, and where its log ends.
  ///   - leader: the leader's, of which the oldest may be missing.
  /// - Returns: nil when they have no epoch in common; when the newest one that they have is the leader's
  ///   last: then nothing says where it ends there; and when nothing is behind it here.
  public static func find(
    own: [EpochHistory.Start], through end: UInt64, leader: [EpochHistory.Start]
  ) -> HistoryFork? {
    guard let common = own.lastIndex(where: { leader.contains($0) }),
      let theirs = leader.firstIndex(of: own[common]), theirs + 1 < leader.count
    else { return nil }
    let ownEnd = common + 1 < own.count ? own[common + 1].firstSequence - 1 : end
    let sequence = min(ownEnd, leader[theirs + 1].firstSequence - 1)
    guard sequence >= own[common].firstSequence, sequence < end else { return nil }
    return HistoryFork(sequence: sequence, epoch: own[common].epoch)
  }
}

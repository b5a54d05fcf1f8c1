import Sharding
import WAL

/// Whether the keys of another shard may go here: whether the node that leads that shard holds them.
///
/// It does where a point of this node's history, at or behind the highest version that any of those keys
/// has here, is a point of its history, too. Then it has had each of these keys, with the value that it
/// has here; and whatever it has for it now, a newer value or none, came later and by the shard's own
/// leader. A history is named by its log's id and a checksum that covers all that precedes, so a
/// coincidence is none. Where nothing of the log from then is left on either side, the same
/// keys with the same versions, in an epoch that both have, will do.
///
/// Pure: what was asked, and what came of it, go in.
public struct PurgeProof: Sendable {
  /// The shard that the keys are of.
  public var shard: UInt32
  public var shardCount: UInt32
  public var hash: ShardHash
  /// What there is of it here.
  public var content: ShardContent
  /// This node's log.
  public var origin: UInt64

  public init(
    shard: UInt32, shardCount: UInt32, hash: ShardHash, content: ShardContent, origin: UInt64
  ) {
    self.shard = shard
    self.shardCount = shardCount
    self.hash = hash
    self.content = content
    self.origin = origin
  }

  /// What the owner says, and what this node makes of it.
  public struct Report: Sendable {
    public var address: String
    public var shard: UInt32
    public var shardCount: UInt32
    public var hash: String
    public var isLeading: Bool
    public var origin: UInt64
    /// The last number that its write quorum has.
    public var confirmed: UInt64
    /// Points of this node's history, and what they are in the owner's.
    public var points: [(LogBase, HistoryEvidence)] = []
    /// The point at which the owner's directory became its shard, and what it is in this node's history.
    public var start: (LogBase, HistoryEvidence)?
    /// What the owner has of the shard, and what its list of epochs makes of the record with the highest
    /// version here.
    public var content: (ShardContent, HistoryEvidence)?

    public init(
      address: String, shard: UInt32, shardCount: UInt32, hash: String, isLeading: Bool,
      origin: UInt64, confirmed: UInt64
    ) {
      self.address = address
      self.shard = shard
      self.shardCount = shardCount
      self.hash = hash
      self.isLeading = isLeading
      self.origin = origin
      self.confirmed = confirmed
    }
  }

  public enum Verdict: Hashable, Sendable {
    case holds
    /// In words that go behind the owner's address.
    case refused(String)
  }

  /// Whether it makes sense to ask on, for points and for contents.
  public func isRelated(_ report: Report) -> Bool { obstacle(report) == nil }

  public func judge(_ report: Report) -> Verdict {
    if let obstacle = obstacle(report) { return .refused(obstacle) }
    let highest = content.highestVersion
    let common = (report.points + (report.start.map { [$0] } ?? []))
      .filter { $0.0.position.sequence >= highest }
    if common.contains(where: { $1.isProof }) || isSame(report.content) {
      return report.confirmed >= highest
        ? .holds
        : .refused(
          "does not hold them for good: its write quorum has its log up to \(report.confirmed), and the highest version of these keys is \(highest)"
        )
    }
    if common.contains(where: { $1 == .absent }) {
      return .refused(
        "does not hold them: its history does not contain that of this node up to \(highest), the highest version of these keys"
      )
    }
    return .refused(
      "does not show that it holds them: the log of neither goes back to \(highest), the highest version of these keys, and what it has now is something else"
    )
  }

  private func isSame(_ owners: (ShardContent, HistoryEvidence)?) -> Bool {
    guard let (theirs, evidence) = owners, evidence.isProof || evidence == .epochs else {
      return false
    }
    return theirs.keys == content.keys && theirs.digest == content.digest
  }

  private func obstacle(_ report: Report) -> String? {
    guard report.shard == shard, report.shardCount == shardCount, report.hash == hash.name else {
      return
        "is of shard \(report.shard) of \(report.shardCount) (\(report.hash)), not \(shard) of \(shardCount) (\(hash.name)): do both have the same configuration?"
    }
    guard report.isLeading else { return "does not lead the shard" }
    guard report.origin == origin else {
      return
        "does not hold them: its log, \(hexadecimal(report.origin)), is another one than this node's, \(hexadecimal(origin))"
    }
    return nil
  }
}

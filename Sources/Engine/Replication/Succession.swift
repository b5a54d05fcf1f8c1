import WAL

/// Who leads a shard, from what its members say: asked by a node that starts, before it takes writes,
/// and by one that has lost its leader.
///
/// The configuration names the first leader. From then on it is the node whose epoch is the highest: the
/// number of a node in an epoch is that of its name.
public struct Succession: Sendable {
  /// How far a log is.
  public struct Standing: Hashable, Sendable {
    public var origin: UInt64
    public var epoch: Epoch
    /// The last number that is durable and applied.
    public var sequence: UInt64

    public init(origin: UInt64, epoch: Epoch, sequence: UInt64) {
      self.origin = origin
      self.epoch = epoch
      self.sequence = sequence
    }

    /// Of two logs of one origin, the one that has less.
    public static func isLess(_ left: Standing, _ right: Standing) -> Bool {
      (left.epoch, left.sequence) < (right.epoch, right.sequence)
    }
  }

  /// What another member says.
  public struct Report: Hashable, Sendable {
    public var address: String
    /// Its number in epochs.
    public var node: UInt64
    public var isLeading: Bool
    /// Nil where it has no record.
    public var standing: Standing?
    /// It may have acknowledged what it does not have any more.
    public var mayLack: Bool
    /// The highest epoch that it has promised.
    public var promised: Epoch?
    /// It is on its way to leading.
    public var isTakingOver: Bool

    public init(
      address: String, node: UInt64, isLeading: Bool, standing: Standing?, mayLack: Bool = false,
      promised: Epoch? = nil, isTakingOver: Bool = false
    ) {
      self.address = address
      self.node = node
      self.isLeading = isLeading
      self.standing = standing
      self.mayLack = mayLack
      self.promised = promised
      self.isTakingOver = isTakingOver
    }
  }

  public enum Verdict: Hashable, Sendable {
    /// Nobody has anything: a log begins here.
    case create
    /// The log is this node's to go on with; in a new epoch, or in the running one.
    case lead(inNewEpoch: Bool)
    /// The same, but first comes what that member has more of, up to there.
    case fetch(from: String, through: Standing)
    /// That node leads, or it led last and nobody has taken over.
    case follow(String)
  }

  /// This node.
  public var node: UInt64
  /// The configuration's leader; nil where that is this node.
  public var configuredLeader: String?
  /// The other members, and their numbers.
  public var others: [(address: String, node: UInt64)]

  public init(
    node: UInt64, configuredLeader: String?, others: [(address: String, node: UInt64)]
  ) {
    self.node = node
    self.configuredLeader = configuredLeader
    self.others = others
  }

  /// Whether so many of the other members have said what they have: those that may lack something count
  /// only where all have, since there is nothing to be had beyond that.
  public static func areEnough(_ reports: [Report], _ least: Int, of others: Int) -> Bool {
    reports.count { !$0.mayLack } >= least || reports.count == others
  }

  /// - Parameters:
  ///   - own: nil where this node has no record.
  ///   - owesEpoch: it may have acknowledged what it does not have any more.
  ///   - reports: of those who have answered. Logs of another origin than `own` count for nothing: their
  ///     nodes are refused when they come.
  public func verdict(
    own: Standing?, owesEpoch: Bool, reports: [Report]
  ) -> Verdict {
    let related = reports.filter { report in
      own == nil || report.standing == nil || report.standing!.origin == own!.origin
    }
    let standings = related.compactMap(\.standing)
    guard let newest = (standings + [own].compactMap(\.self)).map(\.epoch).max() else {
      return configuredLeader.map { .follow($0) } ?? .create
    }
    let leading = related.filter { $0.isLeading && $0.standing?.epoch == newest }
    if let leader = leading.first { return .follow(leader.address) }
    if let owner = others.first(where: { $0.node == newest.node }) { return .follow(owner.address) }
    // This node led last; or somebody did whom the configuration does not name any more.
    if newest.node != node, let configuredLeader { return .follow(configuredLeader) }
    let best = related.filter { $0.standing != nil }
      .max { Standing.isLess($0.standing!, $1.standing!) }
    if let best, let theirs = best.standing, own.map({ Standing.isLess($0, theirs) }) ?? true {
      return .fetch(from: best.address, through: theirs)
    }
    return .lead(inNewEpoch: owesEpoch || newest.node != node)
  }
}

import WAL

/// What a member answers that is asked to follow nobody below an epoch.
public struct Voter: Hashable, Sendable {
  /// The highest that it has promised.
  public var promised: Epoch?
  /// That of its log.
  public var logEpoch: Epoch

  public init(promised: Epoch?, logEpoch: Epoch) {
    self.promised = promised
    self.logEpoch = logEpoch
  }

  /// The highest epoch that it knows.
  public var highest: Epoch { max(promised ?? logEpoch, logEpoch) }

  /// Whether it gives the promise: of two promotions at once the higher epoch wins, and a promise that
  /// was given is given again to whoever asks for it twice.
  public func promises(_ epoch: Epoch) -> Bool {
    epoch > logEpoch && epoch > Promotion.question && (promised.map { epoch >= $0 } ?? true)
  }

  /// Whether it follows a node that leads in that epoch: nobody below what it has, or has promised.
  public func follows(_ epoch: Epoch) -> Bool { epoch >= highest }

  /// Whether it acknowledges a record of that epoch. One of an older epoch than it has promised, which it
  /// has got since, is none that it stands for: the log of the node it has promised may not have it.
  public func acknowledges(_ epoch: Epoch) -> Bool { promised.map { epoch >= $0 } ?? true }

  /// Whether, leading in the epoch of its log, it makes room for a node that leads in that one.
  public func yields(to epoch: Epoch) -> Bool { epoch > logEpoch && follows(epoch) }

  /// Whether it waits for the leader that it was promised to, whatever the others say: after a start, too.
  public var waits: Bool { highest > logEpoch }
}

/// A node on its way to leading: who has promised what, and what has to be had before.
///
/// With a write quorum of W, what was acknowledged is on W members; N − W + 1 promises, this node's
/// included, meet every one of these sets. The highest log among them has it all, and nobody who has
/// promised acknowledges anything to a leader of an older epoch any more.
///
/// A member that may lack what it has acknowledged promises as well, but its log does not stand for
/// what it had: such promises count only where every member has given one. There is nothing to be had
/// beyond what all have.
public struct Promotion: Sendable {
  public struct Granted: Hashable, Sendable {
    public var address: String
    public var standing: Succession.Standing
    /// It may have acknowledged what it does not have any more.
    public var mayLack: Bool
  }

  /// No member promises this one, and all say what they know: that asks, and binds nobody.
  public static let question = Epoch(number: 1, node: 0)

  /// No epoch is promised from here on, so that there is always one above.
  public static let numberLimit = Format.sequenceLimit / 2

  /// The members of the shard.
  public let memberCount: Int
  public let writeQuorum: Int
  /// The epoch that is to begin.
  public let epoch: Epoch
  public private(set) var granted: [Granted] = []
  /// The highest epoch that somebody knows who has refused.
  public private(set) var higher: Epoch?
  private var own: Succession.Standing
  private let ownMayLack: Bool

  /// - Parameters:
  ///   - own: what this node has, which has promised.
  ///   - mayLack: it may have acknowledged what it does not have any more.
  ///   - known: epochs that were heard of, promised ones too: the new one is above all of them.
  public init(
    own: Succession.Standing, mayLack: Bool = false, node: UInt64, known: [Epoch],
    memberCount: Int, writeQuorum: Int
  ) {
    self.own = own
    ownMayLack = mayLack
    self.memberCount = memberCount
    self.writeQuorum = writeQuorum
    let highest = (known + [own.epoch]).map(\.number).max()!
    epoch = Epoch(number: highest + 1, node: node)
  }

  /// How many promises it takes, this node's included. With a quorum of 1 nothing can be fenced, and what
  /// can be reached is taken.
  public var neededPromises: Int { writeQuorum > 1 ? memberCount - writeQuorum + 1 : 1 }
  public var promises: Int { 1 + granted.count }
  /// Those of members that have all they have acknowledged.
  public var surePromises: Int { (ownMayLack ? 0 : 1) + granted.count { !$0.mayLack } }
  public var isEnough: Bool {
    writeQuorum == 1 || surePromises >= neededPromises || promises == memberCount
  }

  /// Nothing of that node's comes behind its promise any more.
  public mutating func promised(
    by address: String, _ standing: Succession.Standing, mayLack: Bool = false
  ) {
    guard standing.origin == own.origin, !granted.contains(where: { $0.address == address })
    else { return }
    granted.append(Granted(address: address, standing: standing, mayLack: mayLack))
  }

  public mutating func refused(_ highest: Epoch) {
    higher = max(higher ?? highest, highest)
  }

  /// Who has more than this node, and up to where; nil when nobody has.
  public var best: Granted? {
    let best = granted.max { Succession.Standing.isLess($0.standing, $1.standing) }
    guard let best, Succession.Standing.isLess(own, best.standing) else { return nil }
    return best
  }

  /// Whether a log that has come that far has what has to be had. A longer log of an older epoch has not.
  public func isReached(by standing: Succession.Standing) -> Bool {
    granted.allSatisfy { !Succession.Standing.isLess(standing, $0.standing) }
  }

  /// Whether the epoch may begin behind that log: not where another one, which is higher, has begun in it
  /// meanwhile.
  public func mayBegin(behind standing: Succession.Standing) -> Bool {
    standing.origin == own.origin && standing.epoch < epoch && isReached(by: standing)
  }
}

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
    epoch > logEpoch && (promised.map { epoch >= $0 } ?? true)
  }
}

/// A node on its way to leading: who has promised what, and what has to be had before.
///
/// With a write quorum of W, what was acknowledged is on W members; N − W + 1 promises, this node's
/// included, meet every one of these sets. The highest log among them has it all, and nobody who has
/// promised acknowledges anything to a leader of an older epoch any more.
public struct Promotion: Sendable {
  public struct Granted: Hashable, Sendable {
    public var address: String
    public var standing: Succession.Standing
  }

  /// The members of the shard.
  public let memberCount: Int
  public let writeQuorum: Int
  /// The epoch that is to begin.
  public let epoch: Epoch
  public private(set) var granted: [Granted] = []
  /// The highest epoch that somebody knows who has refused.
  public private(set) var higher: Epoch?
  private var own: Succession.Standing

  /// - Parameters:
  ///   - own: what this node has, which has promised.
  ///   - known: epochs that were heard of: the new one is above all of them.
  public init(
    own: Succession.Standing, node: UInt64, known: [Epoch], memberCount: Int, writeQuorum: Int
  ) {
    self.own = own
    self.memberCount = memberCount
    self.writeQuorum = writeQuorum
    let highest = (known + [own.epoch]).map(\.number).max()!
    epoch = Epoch(number: highest + 1, node: node)
  }

  /// How many promises it takes, this node's included. With a quorum of 1 nothing can be fenced, and what
  /// can be reached is taken.
  public var neededPromises: Int { writeQuorum > 1 ? memberCount - writeQuorum + 1 : 1 }
  public var promises: Int { 1 + granted.count }
  public var isEnough: Bool { promises >= neededPromises }

  /// Nothing of this node's comes behind its promise any more.
  public mutating func promised(by address: String, _ standing: Succession.Standing) {
    guard standing.origin == own.origin else { return }
    granted.append(Granted(address: address, standing: standing))
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
}

import WAL

/// A stretch of the log that was healed.
public struct RepairedLog: Hashable, Sendable {
  /// What came from elsewhere; nil where nothing was missing but a segment's header, or its name.
  public var sequences: ClosedRange<UInt64>?
  /// Who had it.
  public var sources: [String]
  /// Of its frames.
  public var bytes: UInt64
  /// The segments that were written anew.
  public var paths: [String]
  /// Where the damaged files are now.
  public var keptPaths: [String]
  /// True when nothing but the source says where the log ends.
  public var hasUnknownEnd: Bool

  init(_ healed: LogRepair.Healed) {
    sequences = healed.sequences
    sources = healed.sources
    bytes = healed.bytes
    paths = healed.paths
    keptPaths = healed.keptPaths
    hasUnknownEnd = healed.hasUnknownEnd
  }
}

extension RepairedLog: CustomStringConvertible {
  public var description: String {
    let places = keptPaths.joined(separator: ", ")
    let kept = keptPaths.isEmpty ? "" : "; what was damaged is in \(places)"
    guard !paths.isEmpty else { return "a file that no record belongs to was put away\(kept)" }
    let names = paths.map { lastComponent($0) }.joined(separator: ", ")
    guard let sequences else { return "\(names): written anew from what is in it\(kept)" }
    let end =
      hasUnknownEnd
      ? "; nothing here said where the log ended, so that is all that could be had" : ""
    return "\(names): sequence numbers \(sequences.lowerBound) to \(sequences.upperBound) "
      + "(\(bytes) bytes) healed from \(sources.joined(separator: ", "))\(end)\(kept)"
  }
}

/// What is damaged still.
public struct UnrepairedLog: Hashable, Sendable {
  public var first: UInt64
  /// Nil where nothing says how far it goes.
  public var through: UInt64?
  /// What was found, and where.
  public var damage: Damage
  /// A line for each of those who were asked.
  public var reasons: [String]

  init(_ unhealed: LogRepair.Unhealed) {
    first = unhealed.first
    through = unhealed.through
    damage = unhealed.damage
    reasons = unhealed.reasons
  }
}

extension UnrepairedLog: CustomStringConvertible {
  public var description: String {
    let range = through.map { "sequence numbers \(first) to \($0)" } ?? "from \(first) on"
    let asked = reasons.isEmpty ? "nobody was asked" : reasons.joined(separator: "; ")
    return "\(damage.path): at byte \(damage.offset), \(range): not healed: \(asked)"
  }
}

/// What a repair has found and done.
public struct RepairReport: Sendable {
  public var healed: [RepairedLog] = []
  /// Without which a node does not start.
  public var unhealed: [UnrepairedLog] = []
  /// Damaged still, but nothing is lost: a snapshot covers it, or it is a torn write.
  public var left: [UnrepairedLog] = []
  /// Damaged snapshots that were put away, and where they are now.
  public var quarantined: [(path: String, error: WALError)] = []
  /// Damaged snapshots that cannot be done without.
  public var badSnapshots: [(path: String, error: WALError)] = []
  /// A snapshot that was made, or fetched, in place of what is damaged.
  public var snapshot: SnapshotInfo?
  /// Of the log and the snapshots that were read.
  public var checkedBytes: UInt64 = 0
  /// The log's id; nil where nothing says it.
  public var origin: UInt64?
  /// Where the log ends.
  public var end: LogPosition?

  public init() {}

  /// True when all that was looked at was whole.
  public var wasWhole: Bool {
    healed.isEmpty && unhealed.isEmpty && left.isEmpty && quarantined.isEmpty
      && badSnapshots.isEmpty
  }
  /// True when nothing is missing any more that a start needs.
  public var isWhole: Bool { unhealed.isEmpty && badSnapshots.isEmpty }
}

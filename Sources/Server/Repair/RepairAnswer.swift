import Engine
import WAL

/// A repair's report, as JSON says it.
public struct RepairAnswer: Codable, Sendable {
  public struct Healed: Codable, Sendable {
    public var from: UInt64?
    public var through: UInt64?
    public var bytes: UInt64
    public var sources: [String]
    public var files: [String]
    public var kept: [String]
    public var unknown_end: Bool
  }

  public struct Damaged: Codable, Sendable {
    public var from: UInt64
    public var through: UInt64?
    public var file: String
    public var offset: UInt64
    public var reasons: [String]
  }

  public var checked_bytes: UInt64
  public var healed: [Healed]
  /// Without which a node does not start.
  public var damaged: [Damaged]
  /// Damaged, but nothing is lost.
  public var covered: [Damaged]
  /// Files that were put away, or replaced.
  public var quarantined: [String]
  /// The snapshot that covers what could not be healed.
  public var snapshot: UInt64?
  public var whole: Bool

  public init(_ report: RepairReport) {
    checked_bytes = report.checkedBytes
    healed = report.healed.map {
      Healed(
        from: $0.sequences?.lowerBound, through: $0.sequences?.upperBound, bytes: $0.bytes,
        sources: $0.sources, files: $0.paths, kept: $0.keptPaths, unknown_end: $0.hasUnknownEnd)
    }
    damaged = report.unhealed.map(Self.damaged)
    covered = report.left.map(Self.damaged)
    quarantined = report.quarantined.map(\.path)
    snapshot = report.snapshot?.sequence
    whole = report.isWhole
  }

  private static func damaged(_ log: UnrepairedLog) -> Damaged {
    Damaged(
      from: log.first, through: log.through, file: log.damage.path, offset: log.damage.offset,
      reasons: log.reasons)
  }
}

import WAL

/// What has to be true of a key for a write to happen (RFC 9110, 13.1): judged when the write's turn
/// has come, after all writes before it.
public struct WriteCondition: Hashable, Sendable {
  public enum Rule: Hashable, Sendable {
    case none
    /// `*`: any version; that is, that the key exists.
    case any
    /// One of these versions, as a range of a submission's `versions`.
    case versions(Range<Int>)
  }

  /// The key has such a version.
  public var ifMatch: Rule
  /// The key has no such version.
  public var ifNoneMatch: Rule

  public init(ifMatch: Rule = .none, ifNoneMatch: Rule = .none) {
    self.ifMatch = ifMatch
    self.ifNoneMatch = ifNoneMatch
  }

  public static let always = WriteCondition()

  /// Whether a key that has that version, or none, meets it.
  public func holds(for version: UInt64?, versions: [UInt64]) -> Bool {
    (ifMatch == .none || Self.matches(ifMatch, version, versions))
      && !Self.matches(ifNoneMatch, version, versions)
  }

  private static func matches(_ rule: Rule, _ version: UInt64?, _ versions: [UInt64]) -> Bool {
    guard let version else { return false }
    switch rule {
    case .none: return false
    case .any: return true
    case .versions(let range): return versions[range].contains(version)
    }
  }
}

/// One write that waits for the committer, and then what became of it.
public struct WriteRequest: Sendable {
  public enum Kind: Sendable {
    case put
    case delete
    /// Several puts and deletes, all or none of them.
    case batch
    case purge
  }

  public enum Outcome: Sendable {
    case pending
    /// Durable and readable: the key is new.
    case created
    /// Durable and readable: the key had another value.
    case replaced
    /// Durable: the key is absent now.
    case deleted
    /// Durable and readable: a batch or a purge.
    case done
    /// There was nothing to delete. Nothing was written, unless there was something that had expired
    /// and was still to be removed: then that is gone now, durably.
    case absent
    /// The condition did not hold; nothing was written.
    case conditionFailed
    /// No space on the disk; nothing was written.
    case diskFull
    /// No space in memory; nothing was written.
    case memoryFull
    /// The key has so many concurrent values that no further one is taken beside them; nothing was written.
    case tooManyVersions
    /// The log is a copy, which takes no writes: nothing was written.
    case readOnly
    /// The log takes no more writes: nothing was written.
    case stopped
    /// Writing or syncing failed: whether it is written is for the next start to find out.
    case failed
  }

  public let kind: Kind
  /// The submitter's own.
  public let token: UInt
  public internal(set) var outcome = Outcome.pending
  /// The sequence number of its last record, where something was written.
  public internal(set) var version: UInt64 = 0
  /// How many keys a purge removed.
  public internal(set) var removed = 0

  /// Whether it is in the log, at `version`, durable and applied.
  public var isWritten: Bool {
    switch outcome {
    case .created, .replaced, .deleted, .done: true
    case .absent: version > 0
    default: false
    }
  }

  /// The number of its operations.
  public var count: Int { Int(recordCount) }

  /// Whether it gives a key a value, and so takes memory.
  let hasPuts: Bool
  /// Of a purge: the one version is the number behind which nothing that goes was written.
  let condition: WriteCondition
  /// Of the one key of a put or a delete.
  let hash: KeyHash
  /// Where the submission has what the client has seen, which the write replaces; nil where it replaces what
  /// is here.
  var context: Int?
  /// What was written in a leaderless shard.
  public internal(set) var stamp: UInt64 = 0
  public internal(set) var clock: VersionVector?
  /// Its records, in the submission's bytes.
  var records: Range<Int>
  var recordCount: UInt32
}

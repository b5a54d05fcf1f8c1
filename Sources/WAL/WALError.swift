public enum SystemCall: String, Sendable {
  case open, read, write, sync, allocate, list, status, rename, remove, lock
  case makeDirectory = "create directory"
  case syncDirectory = "sync directory"
}

/// Everything that can go wrong with a log.
public indirect enum WALError: Error, Sendable, Hashable {
  /// The operating system refused.
  case system(SystemCall, path: String, errno: Int32)
  /// No space, and nothing was changed: the same call works once there is room.
  case diskFull(path: String)
  /// Another process has the directory.
  case locked(path: String, holder: String)
  /// The log holds damage that cannot be cut without losing what was acknowledged.
  case damaged(Damage)
  /// A later version wrote this.
  case unsupported(path: String, offset: UInt64, FormatViolation)
  /// An earlier write or sync failed, and what is on the disk is unknown until a new start.
  case stopped(because: WALError)
  /// The log does not go back that far.
  case notRetained(sequence: UInt64, oldest: UInt64)
  /// A file that is not the log's breaks its format.
  case invalidFile(path: String, offset: UInt64, reason: String)
  /// The work was told to end before it was done.
  case cancelled
  /// A setting makes no sense.
  case setting(String)
}

extension WALError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .system(let call, let path, let errno):
      "\(path): cannot \(call.rawValue): \(systemMessage(errno))"
    case .diskFull(let path):
      "\(path): no space left on the disk; nothing was written. Make room and it goes on by itself"
    case .locked(let path, let holder):
      "\(path): the directory is in use by \(holder). Stop that process, or use another directory"
    case .damaged(let damage):
      damage.description
    case .unsupported(let path, let offset, let violation):
      "\(path): at byte \(offset): \(violation). A newer version wrote it: use that version"
    case .stopped(let cause):
      "the log takes no more writes since this error: \(cause). Restart, to recover from the disk"
    case .notRetained(let sequence, let oldest):
      "sequence number \(sequence) is no longer in the log, whose oldest is \(oldest)"
    case .invalidFile(let path, let offset, let reason):
      "\(path): at byte \(offset): \(reason)"
    case .cancelled:
      "cancelled"
    case .setting(let message):
      message
    }
  }

  /// The same about another name of the file: a segment is opened under the name of a spare.
  func at(_ path: String) -> WALError {
    if case .system(let call, _, let errno) = self {
      .system(call, path: path, errno: errno)
    } else {
      self
    }
  }

  /// True when it is about a lack of space, said by the system or by the log.
  public var isFullDisk: Bool { if case .diskFull = self { true } else { isNoSpace } }

  package var isNoSpace: Bool {
    if case .system(_, _, let errno) = self { systemNoSpace.contains(errno) } else { false }
  }

  var isSync: Bool {
    if case .system(.sync, _, _) = self { true } else { false }
  }

  /// True when it says that a file is not there.
  public var isNotFound: Bool {
    if case .system(_, _, let errno) = self { errno == systemNotFound } else { false }
  }
}

/// Bytes of a log that are not what they were, and what that means.
public struct Damage: Hashable, Sendable {
  public enum Kind: Sendable {
    /// Nothing says that this was ever acknowledged: a write that a crash interrupted.
    case torn
    /// Something says that this was on the disk.
    case corrupt
  }

  public enum Finding: Hashable, Sendable {
    /// The bytes break a rule.
    case violation(FormatViolation)
    /// A whole frame, but not the next one of this history.
    case chain(found: UInt64)
    /// A whole segment header, but of another log.
    case origin
    /// The segment does not begin where its name, or the segment before it, says.
    case segmentStart(found: UInt64)
    /// The file is shorter than it was made.
    case shortened(fromBytes: UInt64)
    /// Records are missing up to this one.
    case missing(through: UInt64)
    /// The log ends before this number, which was known to be durable.
    case ends(beforeDurable: UInt64)
  }

  /// What shows that the damaged records were on the disk.
  public struct Proof: Hashable, Sendable {
    public var path: String
    public var offset: UInt64
    public var durableSequence: UInt64
  }

  /// Where the log goes on behind the damage.
  public struct Continuation: Hashable, Sendable {
    public var path: String
    public var offset: UInt64
    public var position: LogPosition
  }

  public var kind: Kind
  public var path: String
  public var offset: UInt64
  /// The first sequence number that is damaged or missing.
  public var sequence: UInt64
  public var finding: Finding
  /// Nil when torn, or when the evidence is not in the log itself.
  public var proof: Proof?
  /// The first whole frame behind the damage, described by the position before it.
  public var continuation: Continuation?
}

extension Damage {
  /// Corruption that is known from elsewhere than the bytes of the log.
  package init(corrupt path: String, offset: UInt64 = 0, sequence: UInt64, finding: Finding) {
    self.init(kind: .corrupt, path: path, offset: offset, sequence: sequence, finding: finding)
  }
}

extension Damage: CustomStringConvertible {
  public var description: String {
    let place = "\(path): at byte \(offset), sequence number \(sequence)"
    let through = continuation.map(\.position.sequence).flatMap {
      $0 > sequence ? " to \($0)" : nil
    }
    switch kind {
    case .torn:
      return "\(place): torn write: \(findingText). Nothing shows that it was ever acknowledged; "
        + "the next start saves it aside and cuts it off"
    case .corrupt:
      let evidence =
        proof.map {
          "; the log at \(lastComponent($0.path)) byte \($0.offset) proves that everything up to "
            + "\($0.durableSequence) was on the disk"
        } ?? ""
      return
        "\(place)\(through ?? ""): corrupt, acknowledged data is damaged: \(findingText)\(evidence). "
        + "Restore the file from a backup, or take the data from a replica; nothing was changed"
    }
  }

  private var findingText: String {
    switch finding {
    case .violation(let violation): "\(violation)"
    case .chain(let found): "the frame here, with sequence number \(found), is of another history"
    case .origin: "the segment is of another log"
    case .segmentStart(let found): "the segment begins with sequence number \(found)"
    case .shortened(let bytes): "the file is shorter than the \(bytes) bytes that it was made with"
    case .missing(let through): "the records up to \(through) are missing"
    case .ends(let durable): "the log ends here, but its records up to \(durable) were on the disk"
    }
  }
}

import WAL

/// Takes a closed data directory back to where its history left another one: log and snapshots.
///
/// What is behind the fork goes to `diverged/EPOCH-FIRST`, segments and snapshots. `LogRewind` has the
/// steps; an interrupted one is finished by the next start of a store.
public struct HistoryRewind {
  private let path: String
  private let fileSystem: any FileSystem
  private let log: LogRewind
  private let snapshots: SnapshotDirectory

  public init(_ dataDirectory: String, fileSystem: any FileSystem = SystemFileSystem()) {
    path = dataDirectory
    self.fileSystem = fileSystem
    log = LogRewind(dataDirectory, fileSystem: fileSystem)
    snapshots = SnapshotDirectory(dataDirectory, fileSystem: fileSystem)
  }

  /// Rewinds to the fork.
  ///
  /// - Parameter origin: the log's.
  /// - Returns: what was taken off, or why this history cannot be kept up to the fork: nothing was
  ///   changed then.
  /// - Throws: `locked`; `diskFull`, to be tried again; `damaged`; that of a system call. What was begun
  ///   is finished by the next start of a store.
  public func run(to fork: HistoryFork, origin: UInt64) throws(WALError) -> Outcome {
    let lock = try DirectoryLock(path, fileSystem: fileSystem)
    defer { withExtendedLifetime(lock) {} }
    guard let tail = try tail(behind: fork, origin: origin) else {
      return .impossible(
        "no frame of epoch \(fork.epoch.number) ends at \(fork.sequence) here", nil)
    }
    guard try isCovered(tail) else {
      return .impossible(
        "the log does not go back to 1, nor to a snapshot at or below \(fork.sequence)", tail)
    }
    do {
      try log.begin(tail)
      try finish(tail)
    } catch {
      throw error.isNoSpace ? .diskFull(path: path) : error
    }
    return .rewound(tail)
  }

  public enum Outcome: Hashable, Sendable {
    case rewound(LostTail)
    /// With what is behind the fork, where that is known.
    case impossible(String, LostTail?)
  }

  /// Finishes what was interrupted. The caller holds the lock.
  ///
  /// - Returns: nil when there was nothing to do.
  package func resume() throws(WALError) -> LostTail? {
    guard let tail = try log.begun() else { return nil }
    do {
      try finish(tail)
    } catch {
      throw error.isNoSpace ? .diskFull(path: path) : error
    }
    return tail
  }

  private func tail(
    behind fork: HistoryFork, origin: UInt64
  ) throws(WALError) -> LostTail? {
    do {
      return try log.tail(behind: fork.sequence, fork.epoch, origin: origin)
    } catch {
      // Without a directory of segments there is no frame, either.
      guard error.isNotFound else { throw error }
      return nil
    }
  }

  /// Whether the state at the fork can be made from what stays: a whole snapshot at or below it with all
  /// of the log behind, or a log that begins at 1.
  private func isCovered(_ tail: LostTail) throws(WALError) -> Bool {
    let segments = try SegmentFile.list(path + "/wal", in: fileSystem)
    guard let first = segments.first?.firstSequence, tail.fork.crc != 0 || first == 1 else {
      return false
    }
    if first == 1 { return true }
    for (path, sequence) in try snapshots.list()
    where sequence <= tail.fork.sequence && first <= sequence + 1 {
      do throws(WALError) {
        let file = try SnapshotFile(path, fileSystem: fileSystem)
        guard file.header.sequence == sequence, file.header.base.origin == tail.origin,
          file.header.base.position.crc != 0
        else { continue }
        try SnapshotCheck.run(file, pace: Pace())
        return true
      } catch {
        guard error.isDamage else { throw error }
      }
    }
    return false
  }

  private func finish(_ tail: LostTail) throws(WALError) {
    let cut = try SegmentFile.list(path + "/wal", in: fileSystem)
      .last { $0.firstSequence! <= tail.fork.sequence }
    try log.cut(tail)
    try moveSnapshots(tail)
    // What is known about segments that are shorter now, or gone.
    try snapshots.removeSidecars(from: cut?.firstSequence ?? 0)
    try log.finish(tail)
  }

  /// Moves the snapshots that cover more than the fork.
  private func moveSnapshots(_ tail: LostTail) throws(WALError) {
    let place = log.place(of: tail)
    var isMoved = false
    for (path, sequence) in try snapshots.list() where sequence > tail.fork.sequence {
      try fileSystem.rename(path, to: place + "/" + lastComponent(path))
      isMoved = true
    }
    guard isMoved else { return }
    try fileSystem.syncDirectory(place)
    try fileSystem.syncDirectory(snapshots.path)
  }
}

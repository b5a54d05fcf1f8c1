import Sharding
import WAL

/// Folds the log of a data directory that nobody uses into one snapshot, in place.
///
/// What is there before is complete until the new snapshot is durable, has been read again and the log
/// has been closed in order behind it. Only then do the segments go, oldest first, and the older
/// snapshots. So at every moment there is what a node starts from, with the same state; a run that was
/// interrupted is done again.
package struct Compaction {
  private let directory: String
  private let fileSystem: any FileSystem
  private let clock: LogClock
  private let pace: Pace
  private let node: UInt64
  private let hash: ShardHash
  private let snapshots: SnapshotDirectory

  /// - Parameters:
  ///   - hash: of the keys, where no snapshot says it.
  ///   - node: the node's number, for the case that the log has no record yet.
  /// - Throws: `locked`; `damaged` and `invalidFile` when acknowledged data is; `setting` when there is
  ///   nothing; that of a system call.
  package static func run(
    _ directory: String, hash: ShardHash = .fnv1, node: UInt64, pace: Pace,
    fileSystem: any FileSystem = SystemFileSystem(), clock: LogClock = .system
  ) throws(WALError) -> OfflineReport {
    try OriginNote.refuse(directory, fileSystem)
    guard try hasData(directory, fileSystem) else {
      throw .setting("\(directory): no data here. Name a data directory: it has wal/ or snapshots/")
    }
    let lock = try DirectoryLock(directory, fileSystem: fileSystem)
    let compaction = Compaction(
      directory: directory, fileSystem: fileSystem, clock: clock, pace: pace, node: node,
      hash: hash,
      snapshots: SnapshotDirectory(directory, fileSystem: fileSystem))
    defer { withExtendedLifetime(lock) {} }
    return try compaction.run()
  }

  private static func hasData(
    _ directory: String, _ fileSystem: any FileSystem
  ) throws(WALError) -> Bool {
    if try !DataFiles.segments(in: directory, fileSystem: fileSystem).isEmpty { return true }
    return try !SnapshotDirectory(directory, fileSystem: fileSystem).list().isEmpty
  }

  private func run() throws(WALError) -> OfflineReport {
    let start = clock.monotonicNanoseconds()
    let before = try DataFiles.bytes(in: directory, fileSystem: fileSystem)
    // The snapshot is read twice, the log twice and what counts of it once more; the new one is written
    // and read.
    pace.expect(Int(before.snapshots) * 3 + Int(before.log) * 5 / 2)
    try snapshots.prepare()
    let choice = try SnapshotChoice(snapshots, pace: pace)
    let folded: Folded
    if let done = try alreadyFolded(choice) {
      folded = done
    } else {
      folded = try fold(choice)
    }
    var report = OfflineReport(
      directory: directory, snapshot: SnapshotInfo(folded.file),
      position: folded.file.header.base.position, epoch: folded.file.header.base.position.epoch,
      bytesBefore: before.log + before.snapshots, bytesAfter: 0, seconds: 0, cut: folded.cut)
    report.quarantined = folded.quarantined + (try putAway(choice, but: folded.file.path))
    try removeCovered(folded.file)
    let after = try DataFiles.bytes(in: directory, fileSystem: fileSystem)
    report.bytesAfter = after.log + after.snapshots
    report.seconds = Double(clock.monotonicNanoseconds() - start) / 1e9
    return report
  }

  private struct Folded {
    var file: SnapshotFile
    var cut: (damage: Damage, saved: [String])?
    var quarantined: [String] = []
  }

  /// The snapshot of a directory that has no log any more, and was closed in order. Opening that log
  /// would take the note of it away for a moment, and what is lost with it is that nothing is missing.
  private func alreadyFolded(_ choice: SnapshotChoice) throws(WALError) -> Folded? {
    guard let file = choice.file,
      try DataFiles.segments(in: directory, fileSystem: fileSystem).isEmpty
    else { return nil }
    do {
      let notes = try LogNotes(in: directory + "/wal", fileSystem: fileSystem)
      let base = file.header.base
      guard notes.clean == CleanStop(origin: base.origin, position: base.position) else {
        return nil
      }
      return Folded(file: file)
    } catch {
      guard error.isNotFound else { throw error }
      return nil
    }
  }

  private func fold(_ choice: SnapshotChoice) throws(WALError) -> Folded {
    let base = choice.file
    var options = LogOptions(dataDirectory: directory, node: node)
    options.fileSystem = fileSystem
    options.clock = clock
    options.usesThreads = false
    options.base = base?.header.base
    let opened: (writer: LogWriter, report: RecoveryReport)
    do {
      opened = try LogRecovery.open(options) { (header, _) throws(WALError) in
        try pace.spent(header.frameBytes)
      }
    } catch {
      throw choice.explain(error)
    }
    let log = opened.writer
    let end = LogBase(origin: log.origin, position: log.position)
    let after = base?.header.sequence ?? 0
    let segments = DataFiles.between(
      try DataFiles.segments(in: directory, fileSystem: fileSystem), after: after,
      through: end.position.sequence)
    pace.expect(
      Int(opened.report.bytes) * 3 / 2 + Int(base?.bytes ?? 0) * 2 + pace.doneBytes)
    let place = SnapshotMerge.Place(
      directory: snapshots, hash: base?.header.hash ?? hash,
      shardIndex: base?.header.shardIndex ?? 0, shardCount: base?.header.shardCount ?? 1,
      clock: clock)
    let made = try SnapshotMerge.run(
      SnapshotMerge.Input(previous: base, segments: segments), place, pace: pace)
    guard made.header.base == end else {
      throw .invalidFile(
        path: made.path, offset: 0,
        reason: "it ends at \(made.header.sequence), and the log at \(end.position.sequence)")
    }
    // Opened again: what counts is what is on the disk.
    try SnapshotCheck.run(SnapshotFile(made.path, fileSystem: fileSystem), pace: pace)
    try log.close(markContent: nil)
    return Folded(file: made, cut: opened.report.cut, quarantined: opened.report.quarantined)
  }

  /// - Parameter path: a name that a whole snapshot has by now.
  private func putAway(
    _ choice: SnapshotChoice, but path: String
  ) throws(WALError) -> [String] {
    let quarantine = Quarantine(directory + "/quarantine", fileSystem: fileSystem)
    var moved: [String] = []
    for bad in choice.bad where bad.path != path { moved.append(try quarantine.take(bad.path)) }
    return moved
  }

  /// Removes the log, which the snapshot covers, and the snapshots before it.
  private func removeCovered(_ snapshot: SnapshotFile) throws(WALError) {
    // Oldest first, each durably before the next: what an interruption leaves has no hole.
    for segment in try DataFiles.segments(in: directory, fileSystem: fileSystem) {
      try fileSystem.remove(segment.path)
      try fileSystem.syncDirectory(directory + "/wal")
    }
    for (path, sequence) in try snapshots.list() where sequence < snapshot.header.sequence {
      try fileSystem.remove(path)
    }
    try snapshots.removeSidecars(through: .max)
    // The merge's own, of a part of a segment.
    try snapshots.prepare()
    try fileSystem.syncDirectory(snapshots.path)
  }
}

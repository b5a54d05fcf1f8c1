import WAL

/// Finds out what is damaged in a data directory that nobody uses, and heals it with what others have.
///
/// The log is healed frame by frame (`LogRepair`). A damaged snapshot is put away where what is left
/// serves: an older one and the log behind it, or the whole log.
package struct DirectoryRepair: Sendable {
  private let path: String
  private let fileSystem: any FileSystem
  private let directory: SnapshotDirectory
  private let pace: Pace
  // Nobody else works here as long as this is kept.
  private let lock: DirectoryLock
  /// True for a copy of another node's log: where that ends is known there.
  private let isCopy: Bool
  /// The log's id, where nothing here says it: only believed if frames here bear it out.
  package var guessedOrigin: UInt64?
  package var takesUnknownEnd = false
  /// Called now and then; what it throws ends the work.
  package var check: @Sendable () throws(WALError) -> Void = {}

  /// - Throws: `locked` when a node is running there; `invalidFile` when it is no data directory.
  package init(
    _ path: String, isCopy: Bool, pace: Pace = Pace(),
    fileSystem: any FileSystem = SystemFileSystem()
  ) throws(WALError) {
    self.path = path
    self.isCopy = isCopy
    self.pace = pace
    self.fileSystem = fileSystem
    directory = SnapshotDirectory(path, fileSystem: fileSystem)
    let names = try fileSystem.list(path)
    guard names.contains("wal") || names.contains("snapshots") else {
      throw .invalidFile(
        path: path, offset: 0, reason: "it holds no log and no snapshot: is it a data directory?")
    }
    try OriginNote.refuse(path, fileSystem)
    lock = try DirectoryLock(path, fileSystem: fileSystem)
  }

  /// The snapshots: whole ones, newest first, and the damaged.
  private struct Snapshots {
    var whole: [SnapshotFile] = []
    var bad: [(path: String, error: WALError)] = []
    var bytes: UInt64 = 0
  }

  /// - Parameter sources: who may have what is missing, asked in this order.
  /// - Throws: `unsupported` or `setting` for files of a later version, `cancelled`, that of a system call.
  ///   What was healed until then stays so, and the rest can be healed later.
  package func run(_ sources: [any FrameSource]) throws(WALError) -> RepairReport {
    // Half of one would look like damage.
    _ = try HistoryRewind(path, fileSystem: fileSystem).resume()
    let snapshots = try readSnapshots()
    let found = try examine(snapshots)
    var report = RepairReport()
    report.checkedBytes = snapshots.bytes + found.files.reduce(0) { $0 + $1.bytes }
    report.origin = found.origin
    report.end = found.end
    if found.origin == nil, let file = found.files.first {
      report.unhealed.append(
        UnrepairedLog(
          LogRepair.Unhealed(
            first: file.segment.firstSequence!, through: nil,
            damage: Damage(
              corrupt: file.segment.path, sequence: file.segment.firstSequence!,
              finding: .violation(.segmentMagic)),
            reasons: ["nothing says whose log this is"])))
    }
    if !found.isWhole {
      try heal(found, covered: snapshots.whole.first?.header.sequence ?? 0, sources, &report)
    }
    if report.unhealed.isEmpty {
      let quarantine = Quarantine(path + "/quarantine", fileSystem: fileSystem)
      for (path, error) in snapshots.bad {
        report.quarantined.append((try quarantine.take(path), error))
      }
    } else {
      report.badSnapshots = snapshots.bad
    }
    return report
  }

  private func readSnapshots() throws(WALError) -> Snapshots {
    var found = Snapshots()
    for (path, sequence) in try directory.list() {
      do throws(WALError) {
        let file = try SnapshotFile(path, fileSystem: fileSystem)
        guard file.header.sequence == sequence else {
          throw .invalidFile(
            path: path, offset: 0, reason: "it is a snapshot up to \(file.header.sequence)")
        }
        try SnapshotCheck.run(file, pace: pace)
        found.whole.append(file)
        found.bytes += file.bytes
      } catch {
        guard error.isDamage else { throw error }
        found.bad.append((path, error))
      }
    }
    return found
  }

  private func examine(
    _ snapshots: Snapshots, probe: UInt64? = nil
  ) throws(WALError) -> LogExamination {
    let base = snapshots.whole.first?.header.base
    let segments = try DataFiles.segments(in: path, fileSystem: fileSystem)
    var clean: CleanStop?
    do {
      clean = try CleanStop.read(in: path + "/wal", fileSystem: fileSystem)
    } catch {
      guard error.isNotFound else { throw error }
    }
    let known = LogExamination.Known(
      origin: base?.origin ?? clean?.origin, base: base?.position, end: clean?.position)
    let found = try examine(segments, known, probe)
    guard found.origin == nil, let guessedOrigin, !segments.isEmpty else { return found }
    let guess = LogExamination.Known(origin: guessedOrigin)
    let guessed = try examine(segments, guess, probe)
    return guessed.end == nil ? found : guessed
  }

  private func examine(
    _ segments: [SegmentFile], _ known: LogExamination.Known, _ probe: UInt64?
  ) throws(WALError) -> LogExamination {
    let (pace, check) = (pace, check)
    return try LogExamination.run(
      segments, known, probe: probe, fileSystem: fileSystem
    ) { (bytes) throws(WALError) in
      try pace.spent(bytes)
      try check()
    }
  }

  private func heal(
    _ found: LogExamination, covered: UInt64, _ sources: [any FrameSource],
    _ report: inout RepairReport
  ) throws(WALError) {
    try directory.prepare()
    try directory.removeSidecars(through: .max)
    var options = LogRepair.Options(
      directory: path + "/wal", quarantineDirectory: path + "/quarantine")
    options.isCopy = isCopy
    options.takesUnknownEnd = takesUnknownEnd
    options.fileSystem = fileSystem
    try fileSystem.makeDirectory(options.directory)
    let result = try LogRepair.run(found, options, sources: sources, check: check)
    report.healed = result.healed.map { RepairedLog($0) }
    for unhealed in result.unhealed {
      let isCovered = unhealed.through.map { $0 <= covered } ?? false
      if isCovered || unhealed.damage.kind == .torn {
        report.left.append(UnrepairedLog(unhealed))
      } else {
        report.unhealed.append(UnrepairedLog(unhealed))
      }
    }
  }

  // MARK: - A snapshot of another node's

  /// Takes another node's snapshot over that covers what could not be healed, if it is of this history.
  ///
  /// - Parameters:
  ///   - file: whole, and on the same disk; it is moved.
  ///   - report: what could not be healed.
  /// - Returns: why it does not serve; nil when it was taken.
  package func adopt(_ file: String, _ report: RepairReport) throws(WALError) -> String? {
    let snapshot = try SnapshotFile(file, fileSystem: fileSystem)
    let base = snapshot.header.base
    guard report.origin == nil || base.origin == report.origin else {
      return "its snapshot is of another log"
    }
    for hole in report.unhealed {
      guard let through = hole.through, through <= base.position.sequence else {
        return "its snapshot, up to \(base.position.sequence), does not cover what is missing"
      }
    }
    let found = try examine(try readSnapshots(), probe: base.position.sequence)
    // A copy may be behind its leader's snapshot; what else there is has to be of one history with it.
    let isBehind = isCopy && found.end.map { $0.sequence < base.position.sequence } ?? true
    guard found.probed == base.position || isBehind else {
      return "nothing shows that its snapshot, up to \(base.position.sequence), is of this history"
    }
    try directory.prepare()
    let target = directory.path(of: base.position.sequence)
    if try fileSystem.list(directory.path).contains(lastComponent(target)) {
      // It is damaged; otherwise there would be nothing that is not covered.
      _ = try Quarantine(path + "/quarantine", fileSystem: fileSystem).take(target)
    }
    try fileSystem.rename(file, to: target)
    try fileSystem.syncDirectory(directory.path)
    return nil
  }
}

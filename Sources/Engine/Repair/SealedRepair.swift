import WAL

/// Heals the segments of a running node that do not change any more. Whoever reads them goes on: a
/// segment is replaced by a whole one of the same name in one step.
struct SealedRepair {
  let log: SnapshotLog
  let directory: SnapshotDirectory
  let pace: Pace

  struct Outcome {
    var healed: [RepairedLog] = []
    var unhealed: [UnrepairedLog] = []
    var bytes: UInt64 = 0
  }

  /// Reads them all, and heals what is damaged.
  ///
  /// - Parameter sources: called when something is.
  /// - Throws: `cancelled`; that of a system call.
  func run(_ sources: () -> [any FrameSource]) throws(WALError) -> Outcome {
    let fileSystem = directory.fileSystem
    var outcome = Outcome()
    guard let sealed = try log.sealedFiles() else { return outcome }
    let pace = pace
    let found = try LogExamination.run(
      sealed.present, LogExamination.Known(origin: sealed.origin, first: sealed.names.min()),
      limit: sealed.limit,
      fileSystem: fileSystem
    ) { (bytes) throws(WALError) in try pace.spent(bytes) }
    outcome.bytes = found.files.dropLast().reduce(0) { $0 + $1.bytes }
    guard !found.isWhole else { return outcome }
    try directory.removeSidecars(through: .max)
    var options = LogRepair.Options(
      directory: log.directory, quarantineDirectory: log.quarantineDirectory)
    options.fileSystem = fileSystem
    options.names = sealed.names
    let result = try LogRepair.run(found, options, sources: sources()) {
      () throws(WALError) in try pace.spent(0)
    }
    outcome.healed = result.healed.map { RepairedLog($0) }
    outcome.unhealed = result.unhealed.map { UnrepairedLog($0) }
    return outcome
  }
}

extension SnapshotLog {
  struct SealedFiles: Sendable {
    var origin: UInt64
    /// Oldest first; the last one is being written, or not durable yet.
    var present: [SegmentFile]
    /// The first sequence numbers of all that should be there.
    var names: Set<UInt64>
    /// The last sequence number that does not change any more.
    var limit: UInt64
  }

  /// The segments as the writer knows them; nil where none is sealed.
  func sealedFiles() throws(WALError) -> SealedFiles? {
    let durable = durableSequence
    let (origin, all) = try committer.perform { (log) in (log.origin, log.segmentFiles) }
    guard let last = all.lastIndex(where: { $0.firstSequence! <= durable + 1 }), last > 0 else {
      return nil
    }
    let there = Set(try fileSystem.list(directory))
    let known = all[...last]
    return SealedFiles(
      origin: origin, present: known.filter { there.contains(lastComponent($0.path)) },
      names: Set(known.map { $0.firstSequence! }), limit: known[last].firstSequence! - 1)
  }
}

import Synchronization
import WAL

/// The log, as far as snapshots are concerned: its sealed segments, and what its writer does for them.
final class SnapshotLog: Sendable {
  struct Sealed: Sendable {
    /// Oldest first.
    var segments: [SegmentFile]
    /// Of their files.
    var bytes: UInt64
    /// The segment behind the last of them.
    var next: SegmentFile?
  }

  let quarantineDirectory: String
  let directory: String
  let fileSystem: any FileSystem
  let committer: Committer
  private let progress: LogProgress
  /// The state in memory, for where the log cannot be read.
  let index: Index
  let epochs: EpochHistory
  /// What may be covered, where that is less than what is durable.
  private let bound = Mutex<(@Sendable () -> UInt64)?>(nil)
  /// So often it is looked whether that has moved.
  private let looksMax: Int
  private static let lookMilliseconds: UInt32 = 10

  init(
    _ options: LogOptions, _ committer: Committer, _ progress: LogProgress, _ index: Index,
    _ epochs: EpochHistory
  ) {
    directory = options.directory
    quarantineDirectory = options.quarantineDirectory
    fileSystem = options.fileSystem
    self.committer = committer
    self.progress = progress
    self.index = index
    self.epochs = epochs
    // Without threads nothing moves while one waits.
    looksMax = options.usesThreads ? 500 : 0
  }

  /// Everything up to here is on the disk.
  var durableSequence: UInt64 { progress.durable }

  /// Has snapshots cover nothing behind a number, which is asked for whenever one is due.
  func setBound(_ body: @escaping @Sendable () -> UInt64) { bound.withLock { $0 = body } }

  /// What a snapshot may cover.
  private var coverable: UInt64 {
    bound.withLock { $0 }.map { min($0(), progress.durable) } ?? progress.durable
  }

  /// Waits, not for long, until a snapshot may cover everything up to there.
  ///
  /// - Throws: `setting` when it may not in time; `cancelled`.
  func awaitCoverable(_ sequence: UInt64, _ pace: Pace) throws(WALError) {
    var looks = 0
    while coverable < sequence {
      try pace.spent(0)
      guard looks < looksMax else {
        throw .setting(
          "the log goes up to \(sequence), and a write quorum has confirmed it up to \(coverable): "
            + "a snapshot covers nothing that a failover could take back. It is made once that is confirmed"
        )
      }
      looks += 1
      sleep(milliseconds: Self.lookMilliseconds)
    }
  }

  /// Ends the running segment: the log's end then, at a moment when everything up to it has been
  /// applied. What is behind is in other files, whatever is wrong with those before it.
  func sealedEnd() throws(WALError) -> LogBase {
    try committer.perform { (log) throws(WALError) in
      try log.seal()
      try log.sync()
      return LogBase(origin: log.origin, position: log.position)
    }
  }

  /// The segments that hold records behind a sequence number, that do not change any more, are durable,
  /// and may be covered.
  ///
  /// - Parameter all: also those that a failover could take back, where nothing can.
  func sealedSegments(
    behind sequence: UInt64, all: Bool = false
  ) throws(WALError) -> Sealed {
    let coverable = all ? .max : coverable
    let files = try SegmentFile.list(directory, in: fileSystem)
    var sealed = Sealed(segments: [], bytes: 0)
    for (number, segment) in files.enumerated().dropLast() {
      let last = files[number + 1].firstSequence! - 1
      guard last > sequence, last <= coverable else { continue }
      sealed.segments.append(segment)
      sealed.next = files[number + 1]
      sealed.bytes += try fileSystem.open(segment.path, .readOnly).size()
    }
    return sealed
  }

  /// The segments all of whose records are at or before a sequence number, and the last of those.
  func segments(
    coveredBy sequence: UInt64
  ) throws(WALError) -> [(segment: SegmentFile, last: UInt64)] {
    let all = try SegmentFile.list(directory, in: fileSystem)
    return zip(all, all.dropFirst()).map { ($0, $1.firstSequence! - 1) }
      .filter { $0.last <= sequence }
  }

  /// Disposes of retired segments where no thread does.
  func disposeStep() throws(WALError) {
    _ = try committer.perform { (log) in
      while log.backgroundStep() {}
    }
  }

  /// Gives up the segments that hold nothing behind `needed`; and those that only leases need, when
  /// they are more than so many bytes.
  ///
  /// - Parameter bytes: how much log is expected before the next call.
  /// - Returns: bytes of the files that are kept for leases alone.
  func retire(
    through needed: UInt64, butAtMost retainBytes: UInt64, forLeasesBehind unneeded: UInt64,
    expecting bytes: UInt64
  ) throws(WALError) -> UInt64 {
    var through = needed
    var held: UInt64 = 0
    if needed < unneeded {
      // Newest first, until what is kept for leases alone is too much.
      let all = try SegmentFile.list(directory, in: fileSystem)
      for (number, segment) in all.enumerated().dropLast().reversed() {
        let last = all[number + 1].firstSequence! - 1
        guard last <= unneeded, last > needed else { continue }
        let size = try fileSystem.open(segment.path, .readOnly).size()
        if held + size > retainBytes {
          through = last
          break
        }
        held += size
      }
    }
    let sequence = through
    try committer.perform { (log) in log.retire(through: sequence, expecting: bytes) }
    return held
  }

  /// Moves the segment that begins there to `quarantine`, and all before it: without it nobody can
  /// read on from them.
  func quarantine(segmentFrom first: UInt64) throws(WALError) -> [String] {
    try committer.perform { (log) throws(WALError) in
      let files = log.segmentFiles
      guard let number = files.firstIndex(where: { $0.firstSequence == first }),
        number + 1 < files.count
      else { return [] }
      return try log.quarantine(through: files[number + 1].firstSequence! - 1)
    }
  }
}

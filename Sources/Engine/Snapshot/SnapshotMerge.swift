import Sharding
import WAL

/// The state of a log at a sequence number, from an older state and the log behind it: the one way in
/// which snapshots are made, of a running node and by the tools.
///
/// A merge of sorted runs: of each key the record with the highest sequence number counts. It holds a
/// block of the older snapshot, and a piece and one record of each run.
package struct SnapshotMerge {
  /// What goes into it.
  package struct Input {
    /// The older state; nil for the empty one.
    package var previous: SnapshotFile?
    /// The log's segments, oldest first. Together they hold every record behind the older state, up to
    /// `through`.
    package var segments: [SegmentFile]
    /// The segment behind them, whose header says where they end; nil when there is none. A last segment
    /// that has lost its end looks whole without it.
    package var next: SegmentFile?
    /// The last sequence number that counts; nil for the end of the last segment.
    package var through: UInt64?

    package init(
      previous: SnapshotFile?, segments: [SegmentFile], next: SegmentFile? = nil,
      through: UInt64? = nil
    ) {
      self.previous = previous
      self.segments = segments
      self.next = next
      self.through = through
    }
  }

  /// Where it is made, and of what.
  package struct Place {
    package var directory: SnapshotDirectory
    package var hash: ShardHash
    package var shardIndex: UInt32
    package var shardCount: UInt32
    package var clock: LogClock

    package init(
      directory: SnapshotDirectory, hash: ShardHash, shardIndex: UInt32 = 0, shardCount: UInt32 = 1,
      clock: LogClock = .system
    ) {
      self.directory = directory
      self.hash = hash
      self.shardIndex = shardIndex
      self.shardCount = shardCount
      self.clock = clock
    }
  }

  private let place: Place
  private let pace: Pace
  /// Through which sidecars and segments are read.
  private let files: OpenFiles

  private init(_ place: Place, _ pace: Pace) {
    self.place = place
    self.pace = pace
    files = OpenFiles(place.directory.fileSystem)
  }

  /// Writes the snapshot of the state that the input leads to.
  ///
  /// - Returns: the snapshot, durable, under its name.
  /// - Throws: `damaged` and `invalidFile` when an input is; `cancelled`; `setting` when there is
  ///   nothing to make it of; that of a system call. Nothing that looks like a snapshot is left then.
  package static func run(
    _ input: Input, _ place: Place, pace: Pace
  ) throws(WALError) -> SnapshotFile {
    let merge = SnapshotMerge(place, pace)
    do {
      return try merge.run(try merge.checked(input))
    } catch {
      guard case .invalidFile(let path, _, _) = error, path.contains(SegmentSidecar.suffix) else {
        throw error
      }
      // They are not synced, and are made of their segments again.
      try place.directory.removeSidecars(through: .max)
      let again = SnapshotMerge(place, pace)
      return try again.run(try again.checked(input))
    }
  }

  private func run(_ input: Input) throws(WALError) -> SnapshotFile {
    let sidecars = try sidecars(input)
    let summary = summary(input, sidecars)
    guard summary.end.position.sequence >= 1 else {
      throw .setting("there is no log to make a snapshot of")
    }
    let path = place.directory.path(of: summary.end.position.sequence)
    if let previous = input.previous, previous.path == path { return previous }
    let writer = try SnapshotWriter(
      header(input, summary), path: path, fileSystem: place.directory.fileSystem, pace: pace)
    do {
      try write(input, sidecars, summary, to: writer)
      _ = try writer.finish()
    } catch {
      writer.discard()
      throw error
    }
    try place.directory.removePartialSidecars()
    return try SnapshotFile(path, fileSystem: place.directory.fileSystem)
  }

  // MARK: - Input

  /// Leaves out what is behind the end, and sees that nothing is missing at the beginning.
  private func checked(_ input: Input) throws(WALError) -> Input {
    var input = input
    let after = input.previous?.header.sequence ?? 0
    if let through = input.through {
      guard through >= after else {
        throw .setting("a state at \(through) cannot be made of one at \(after)")
      }
      if let behind = input.segments.firstIndex(where: { $0.firstSequence! > through }) {
        input.next = input.segments[behind]
        input.segments.removeSubrange(behind...)
      }
    }
    if let first = input.segments.first, first.firstSequence! > after + 1 {
      throw .invalidFile(
        path: first.path, offset: 0,
        reason: "the segment does not go on from \(after), which is what there is before it")
    }
    return input
  }

  /// The sidecars of the segments: those that there are, and the others made now.
  private func sidecars(_ input: Input) throws(WALError) -> [SegmentSidecar] {
    let base = input.previous?.header.base
    let after = base?.position.sequence ?? 0
    var found: [SegmentSidecar] = []
    for (index, segment) in input.segments.enumerated() {
      let isLast = index == input.segments.count - 1
      let next = isLast ? input.next : input.segments[index + 1]
      if let next, next.firstSequence! - 1 <= after { continue }
      let through = isLast ? input.through : nil
      if segment.firstSequence! > after, through == nil {
        if let base, found.isEmpty { try checkStart(segment, base) }
        found.append(try sidecar(of: segment, before: next))
      } else {
        found.append(try partialSidecar(of: segment, after: base, through: through, before: next))
      }
    }
    return found
  }

  /// The older state and the log must be of one history.
  private func checkStart(_ segment: SegmentFile, _ base: LogBase) throws(WALError) {
    let header = try place.directory.header(of: segment)
    guard LogBase(origin: header.origin, position: header.previous) == base else {
      throw .invalidFile(
        path: segment.path, offset: 0, reason: "the segment does not go on from the snapshot")
    }
  }

  /// That of a segment of which only a part counts.
  private func partialSidecar(
    of segment: SegmentFile, after: LogBase?, through: UInt64?, before next: SegmentFile?
  ) throws(WALError) -> SegmentSidecar {
    let part = try SegmentSidecar.make(
      place.directory.partialSidecarPath(of: segment), of: segment, after: after,
      through: through ?? .max,
      runItemsMax: place.directory.runItemsMax, hash: place.hash,
      fileSystem: place.directory.fileSystem, files: files, pace: pace)
    guard let next else { return part }
    let isWhole =
      if let through, through < next.firstSequence! - 1 {
        part.summary.end.position.sequence >= through
      } else {
        try leads(part, to: next)
      }
    guard isWhole else { throw endsEarly(part, segment) }
    return part
  }

  /// The sidecar of a whole segment. One that was made earlier must lead to where the next segment
  /// goes on: it is of another file otherwise, which has had the same name.
  private func sidecar(
    of segment: SegmentFile, before next: SegmentFile?
  ) throws(WALError) -> SegmentSidecar {
    let directory = place.directory
    guard let next else {
      // Nothing says where the last segment ends but its frames.
      return try directory.makeSidecar(
        of: segment, before: nil, hash: place.hash, files: files, pace: pace)
    }
    if let made = try directory.sidecar(of: segment, hash: place.hash, files: files),
      try leads(made, to: next), try made.isWhole()
    {
      return made
    }
    let new = try directory.makeSidecar(
      of: segment, before: next, hash: place.hash, files: files, pace: pace)
    guard try leads(new, to: next) else { throw endsEarly(new, segment) }
    return new
  }

  private func leads(
    _ made: SegmentSidecar, to next: SegmentFile
  ) throws(WALError) -> Bool {
    let header = try place.directory.header(of: next)
    return made.summary.end == LogBase(origin: header.origin, position: header.previous)
  }

  private func endsEarly(_ made: SegmentSidecar, _ segment: SegmentFile) -> WALError {
    .invalidFile(
      path: segment.path, offset: 0,
      reason: "the segment ends with \(made.summary.end.position.sequence), and the next one does "
        + "not go on from there")
  }

  private func summary(_ input: Input, _ sidecars: [SegmentSidecar]) -> LogSummary {
    var summary = LogSummary(
      end: input.previous?.header.base ?? LogBase(origin: 0, position: .start))
    summary.frameTimeMilliseconds = input.previous?.header.frameTimeMilliseconds ?? 0
    for sidecar in sidecars { summary.append(sidecar.summary) }
    if let through = input.through, summary.end.position.sequence > through {
      // In the middle of a frame: such a position has no place in the chain.
      summary.end.position.sequence = through
      summary.end.position.crc = 0
      let epochs = (input.previous?.header.epochs ?? []) + summary.epochs
      if let epoch = epochs.last(where: { $0.firstSequence <= through })?.epoch {
        summary.end.position.epoch = epoch
      }
    }
    return summary
  }

  private func header(_ input: Input, _ summary: LogSummary) -> SnapshotHeader {
    SnapshotHeader(
      timeMilliseconds: place.clock.wallMilliseconds(),
      frameTimeMilliseconds: summary.frameTimeMilliseconds, hash: place.hash,
      shardIndex: place.shardIndex, shardCount: place.shardCount, positions: [summary.end],
      epochs: (input.previous?.header.epochs ?? []) + summary.epochs)
  }

  // MARK: - Merging

  private func write(
    _ input: Input, _ sidecars: [SegmentSidecar], _ summary: LogSummary, to writer: SnapshotWriter
  ) throws(WALError) {
    let survival = try Survival(summary)
    var queue = MergeQueue()
    if let previous = input.previous { queue.add(try SnapshotSource(previous, pace: pace)) }
    for sidecar in sidecars {
      for run in sidecar.runs { queue.add(try SidecarSource(sidecar, run, pace: pace)) }
    }
    var tied: [Int] = []
    while let least = queue.least {
      guard queue.isTied else {
        try write(queue.first, least, survival, to: writer)
        try queue.advanceFirst()
        continue
      }
      queue.popTied(into: &tied)
      try keepLeastKey(&tied, in: &queue)
      var newest = queue.source(tied[0])
      for number in tied where queue.source(number).version > newest.version {
        newest = queue.source(number)
      }
      try write(newest, least, survival, to: writer)
      for number in tied {
        try queue.source(number).advance()
        queue.putBack(number)
      }
    }
  }

  /// Writes what a source stands at, if it is still there at the end.
  private func write(
    _ source: any MergeSource, _ order: KeyOrder, _ survival: Survival, to writer: SnapshotWriter
  ) throws(WALError) {
    let (bytes, record) = try source.record()
    guard record.type == .put, survival.holds(source.version, order, record, bytes) else { return }
    try writer.append(
      order, version: source.version, bytes, dataBytes: record.key.count + record.value.count)
  }

  /// Of sources at keys of the same hash, keeps those at the least key; the others go back.
  private func keepLeastKey(
    _ tied: inout [Int], in queue: inout MergeQueue
  ) throws(WALError) {
    var least = [tied[0]]
    for number in tied.dropFirst() {
      let order = compare(try queue.source(number).key(), try queue.source(least[0]).key())
      if order < 0 {
        for other in least { queue.putBack(other) }
        least.removeAll(keepingCapacity: true)
      }
      if order <= 0 { least.append(number) } else { queue.putBack(number) }
    }
    tied = least
  }

  /// Which of the last records about keys are still there at the end.
  private struct Survival {
    /// The last one by each range: it has removed what the others of it did.
    private let purges: [ShardRange: (sequence: UInt64, hash: ShardHash)]
    private let frameTime: UInt64

    init(_ summary: LogSummary) throws(WALError) {
      var purges: [ShardRange: (sequence: UInt64, hash: ShardHash)] = [:]
      for purge in summary.purges {
        guard let hash = ShardHash(rawValue: purge.range.hash) else {
          throw .setting(
            "the purge with sequence number \(purge.sequence) is by a hash that this version does "
              + "not know. A newer version wrote it: use that version")
        }
        purges[purge.range] = (purge.sequence, hash)
      }
      self.purges = purges
      frameTime = summary.frameTimeMilliseconds
    }

    func holds(
      _ version: UInt64, _ order: KeyOrder, _ record: Record, _ bytes: UnsafeRawBufferPointer
    ) -> Bool {
      if let expiry = record.metadata.expiryMilliseconds, expiry <= frameTime { return false }
      for (range, purge) in purges where purge.sequence > version {
        let key = UnsafeRawBufferPointer(rebasing: bytes[record.key])
        if !range.contains(purge.hash(key)) { return false }
      }
      return true
    }
  }
}

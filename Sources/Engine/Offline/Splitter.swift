import Sharding
import WAL

/// Makes a data directory for each child shard of one that rests: `OUT/shard-J-of-M`.
///
/// The source is read and never changed. A child is made beside its place, under a name that no data
/// directory has, and all of them get theirs once all are whole and durable. Keys keep their versions
/// and expiry, and the children the parent's origin, positions and epochs; each goes on in an epoch of
/// its own (`SplitChild`).
package struct Splitter {
  /// Each takes memory for a block, and a few open files.
  package static let childrenMax = 256

  private let source: String
  private let count: UInt32
  private let out: String
  private let options: Options
  private var fileSystem: any FileSystem { options.fileSystem }
  private var pace: Pace { options.pace }

  package struct Options: Sendable {
    /// The second half of the children's epochs begins with it.
    package var node: UInt64
    /// Reads everything again, and proves it, before the children get their names.
    package var verifies = false
    package var pace = Pace()
    package var fileSystem: any FileSystem = SystemFileSystem()
    package var clock = LogClock.system
    /// That a split may use; 1 for none but the caller's.
    package var threads = processorCount()

    package init(node: UInt64) { self.node = node }
  }

  /// - Parameters:
  ///   - count: how many shards there are to be, a multiple of how many there are.
  ///   - out: where the children's directories are made: a directory, or the name of one in an
  ///     existing one.
  /// - Throws: `locked` when a node has the source; `damaged` and `invalidFile` when what is needed of it
  ///   is; `setting` when that number of shards cannot be had or a child's place is taken; that of
  ///   a system call. No child has its name then.
  package static func run(
    _ source: String, into count: UInt32, out: String, options: Options
  ) throws(WALError) -> SplitReport {
    let splitter = Splitter(source: source, count: count, out: out, options: options)
    let lock = try DirectoryLock.reading(source, fileSystem: options.fileSystem)
    defer { withExtendedLifetime(lock) {} }
    do throws(WALError) {
      return try splitter.run()
    } catch {
      throw splitter.explain(error)
    }
  }

  private func run() throws(WALError) -> SplitReport {
    let start = options.clock.monotonicNanoseconds()
    let found = try SplitSource(source, fileSystem: fileSystem, pace: pace)
    try check(found)
    expect(found)
    let rule = SplitRule(parent: found.shard, count: count, frameTimeMilliseconds: 0)
    let places = (0..<rule.children).map { place(rule.note(of: $0)) }
    for place in places { try DirectoryDraft.checkFree(place, fileSystem) }
    try fileSystem.makeDirectory(out)
    try fileSystem.syncDirectory(parentOf(out))
    var drafts: [DirectoryDraft] = []
    do throws(WALError) {
      for place in places { drafts.append(try DirectoryDraft(place, fileSystem: fileSystem)) }
      var report = try write(found, places, drafts)
      try name(drafts)
      for child in report.children.indices { settle(&report.children[child]) }
      report.seconds = Double(options.clock.monotonicNanoseconds() - start) / 1e9
      return report
    } catch {
      // What is left has a name that says so, and no data that would fill the disk.
      for draft in drafts { draft.discard() }
      throw error
    }
  }

  private func place(_ shard: ShardNote) -> String {
    "\(out)/shard-\(shard.index)-of-\(shard.count)"
  }

  // MARK: - What is asked for

  private func check(_ found: SplitSource) throws(WALError) {
    let parent = found.shard
    guard count >= 1, count.isMultiple(of: parent.count) else {
      throw .setting(
        "\(source): it holds \(parent), and \(count) shards cannot be made of that: choose a "
          + "multiple of \(parent.count), as \(UInt64(parent.count) * 2)")
    }
    let children = Int(count / parent.count)
    guard children <= Self.childrenMax else {
      throw .setting(
        "\(source): it holds \(parent), and \(count) shards would make \(children) directories of "
          + "it: at most \(Self.childrenMax) can be made at once. Split it in several steps")
    }
    guard found.base.position.sequence < Format.sequenceLimit - 4,
      found.highestEpoch.number < Format.sequenceLimit - 1
    else { throw .setting("\(source): its numbers are used up") }
    guard found.base.position.sequence >= 1 else {
      throw .setting("\(source): its log has no record yet. Start a node on it first")
    }
  }

  /// How much there is to read and to write, about.
  private func expect(_ found: SplitSource) {
    let snapshot = Int(found.snapshot?.bytes ?? 0)
    var bytes = pace.doneBytes + snapshot * (options.verifies ? 5 : 2)
    if found.tail.changesKeys { bytes += snapshot * 2 + Int(found.bytes) }
    pace.expect(bytes)
  }

  // MARK: - Making it

  private func write(
    _ found: SplitSource, _ places: [String], _ drafts: [DirectoryDraft]
  ) throws(WALError) -> SplitReport {
    let state = try state(found, in: drafts[0])
    let rule = SplitRule(
      parent: found.shard, count: count, frameTimeMilliseconds: state.frameTimeMilliseconds)
    var children: [SplitChild] = []
    for (number, draft) in drafts.enumerated() {
      let epoch = Epoch(
        number: found.highestEpoch.number + 1, node: options.node &+ UInt64(number))
      children.append(
        try SplitChild(
          rule.note(of: number), places[number], draft, of: state, epoch: epoch,
          fileSystem: fileSystem, clock: options.clock))
    }
    let result = try divide(state.file, rule, children.map(\.plan))
    if options.verifies {
      try SplitVerification(rule: rule, fileSystem: fileSystem, pace: pace)
        .run(state.file, children.map(\.snapshotPath), leftOut: result.leftOut)
    }
    if found.tail.changesKeys, let file = state.file { try fileSystem.remove(file.path) }
    return SplitReport(
      source: source, parent: found.shard, position: state.base.position,
      children: try children.map { (child) throws(WALError) in
        SplitReport.Child(
          directory: child.target, shard: child.shard, epoch: child.epoch,
          snapshot: SnapshotInfo(try SnapshotFile(child.snapshotPath, fileSystem: fileSystem)))
      },
      snapshotBytes: state.file?.bytes ?? 0, copiedBlocks: result.copiedBlocks,
      writtenBlocks: result.writtenBlocks, hasFolded: found.tail.changesKeys,
      foreignKeys: result.leftOut.foreign, cut: found.survey.torn, isVerified: options.verifies,
      seconds: 0)
  }

  /// The state at the source's end: its snapshot, where nothing behind that changes a key; else a
  /// merge of it with the log.
  private func state(
    _ found: SplitSource, in draft: DirectoryDraft
  ) throws(WALError) -> SplitState {
    guard found.tail.changesKeys else {
      let header = found.snapshot?.header
      return SplitState(
        file: found.snapshot, base: found.base,
        frameTimeMilliseconds: max(
          header?.frameTimeMilliseconds ?? 0, found.tail.frameTimeMilliseconds),
        epochs: (header?.epochs ?? []) + found.tail.epochs)
    }
    let directory = SnapshotDirectory(draft.path, fileSystem: fileSystem)
    let made = try SnapshotMerge.run(
      SnapshotMerge.Input(
        previous: found.snapshot, segments: found.segments, through: found.survey.end.sequence),
      SnapshotMerge.Place(
        directory: directory, hash: found.shard.hash, shardIndex: found.shard.index,
        shardCount: found.shard.count, clock: options.clock), pace: pace)
    guard made.header.base == found.base else {
      throw .invalidFile(
        path: made.path, offset: 0,
        reason: "it ends at \(made.header.sequence), and the log at \(found.survey.end.sequence)")
    }
    try directory.removeSidecars(through: .max)
    return SplitState(
      file: made, base: made.header.base,
      frameTimeMilliseconds: made.header.frameTimeMilliseconds, epochs: made.header.epochs)
  }

  private func divide(
    _ file: SnapshotFile?, _ rule: SplitRule, _ plans: [SplitChild.Plan]
  ) throws(WALError) -> SplitResult {
    guard let file else {
      var result = SplitResult(children: plans.count)
      for (child, plan) in plans.enumerated() {
        let writer = try SnapshotWriter(
          plan.header, path: plan.path, fileSystem: fileSystem, pace: pace)
        result.footers[child] = try writer.finish()
      }
      return result
    }
    let result =
      rule.isContiguous
      ? try RangeSplit.run(
        file, rule, plans, fileSystem: fileSystem, pace: pace, threads: options.threads)
      : try DistributingSplit.run(file, rule, plans, fileSystem: fileSystem, pace: pace)
    guard result.isWhole(file.footer) else {
      throw .invalidFile(
        path: file.path, offset: 0,
        reason: "its entries are not what its footer says: their number, bytes or digest differ")
    }
    return result
  }

  // MARK: - The end

  /// Gives all of them their names, once everything is durable; takes those back that were given when
  /// one cannot be.
  private func name(_ drafts: [DirectoryDraft]) throws(WALError) {
    for draft in drafts { try draft.settle() }
    var named: [DirectoryDraft] = []
    do throws(WALError) {
      for draft in drafts {
        named.append(draft)
        try draft.name()
      }
    } catch {
      for draft in named { draft.takeBack() }
      throw error
    }
  }

  /// The child has moved.
  private func settle(_ child: inout SplitReport.Child) {
    child.snapshot.path = SnapshotDirectory(child.directory, fileSystem: fileSystem)
      .path(of: child.snapshot.sequence)
  }

  /// Says what can be done about damage in the source.
  private func explain(_ error: WALError) -> WALError {
    guard case .invalidFile(let path, let offset, let reason) = error,
      path.hasPrefix(source + "/snapshots/")
    else { return error }
    return .invalidFile(
      path: path, offset: offset,
      reason: reason + ". No shard was made, and nothing changed. `wal-compact --data-dir "
        + "\(source)` puts a damaged snapshot away where an older one and the log will do; or split "
        + "the data directory of another node of this shard")
  }
}

import Sharding
import Synchronization
import WAL

/// How a store is opened.
public struct StoreOptions: Sendable {
  /// Where the data is; made when there is none. Its parent exists.
  public var dataDirectory: String
  /// This node's number: the second half of the epochs that it begins.
  public var node: UInt64
  public var syncPolicy = SyncPolicy.always
  public var segmentBytes = Format.segmentBytesDefault
  public var hash = ShardHash.fnv1
  public var shardIndex: UInt32 = 0
  public var shardCount: UInt32 = 1
  /// Puts are refused when keys and values take that much; nil for no bound.
  public var memoryBytesMax: Int?
  /// A snapshot is due when the log behind the last one outgrows this, and that snapshot.
  public var snapshotLogBytes: UInt64 = 256 << 20
  /// Log that is kept for copies that are being made, and for nothing else, is bounded by this.
  public var retainBytes: UInt64 = 1 << 30
  /// What making a snapshot reads and writes a second, at most; nil for no limit.
  public var snapshotBytesPerSecond: Int? = 32 << 20
  public var fileSystem: any FileSystem = SystemFileSystem()
  public var clock = LogClock.system
  /// Is told how far opening is.
  public var progress: StartProgress?
  /// True where the log is a copy of another node's: it takes frames of that log, and no writes.
  public var isCopy = false
  /// The id of a log that is not there yet; for a copy, its original's.
  public var origin: UInt64?
  /// As in the log's options.
  package var usesThreads = true

  /// What the frames that were committed last take in memory, while somebody follows the log.
  package var recentBytesMax = RecentFrames.bytesMaxDefault

  public init(dataDirectory: String, node: UInt64) {
    self.dataDirectory = dataDirectory
    self.node = node
  }
}

/// What opening a store found and did.
public struct StoreReport: Sendable {
  public var log: RecoveryReport
  /// The snapshot that was loaded, if there was one, and how long that took.
  public var snapshot: (info: SnapshotInfo, seconds: Double)?
  /// Snapshots that are damaged, and where they are now.
  public var badSnapshots: [(error: WALError, path: String)] = []
  /// Marks whose digest was not that of the replayed state, and the last of them: a bug, or memory
  /// that does not keep what is written to it.
  public var digestMismatches: [UInt64] = []
  public var seconds: Double = 0
  /// What an interrupted rewind was finished of.
  public var rewound: LostTail?
  /// What is kept under `diverged/`.
  public var diverged = SavedTails.Totals()
}

/// One shard's keys on this node: the index, the log behind it, and the thread between them.
///
/// Reads go to `index`, writes through `committer`.
public final class Store: Sendable {
  public let index: Index
  public let committer: Committer
  public let epochs: EpochHistory
  public let report: StoreReport
  public let options: StoreOptions
  /// How far the log is.
  public let progress: LogProgress
  public let origin: UInt64
  /// True when what this start found may be less than what this node has acknowledged, and no epoch was
  /// begun for that yet: as a copy it waits for one.
  public let owesEpoch: Bool
  /// Where the history was when the directory became this shard; nil where it has always been it.
  package let shardStart: ShardStart?
  public let snapshots: Snapshotter
  /// What the frames of the log say that a quorum has confirmed, as of the start: it is true for whoever has
  /// this history.
  public let confirmedAtStart: UInt64
  /// The log for those who follow it.
  public let feed: LogFeed
  /// Whether the log is a copy of another node's now.
  private let copies: Atomic<Bool>
  /// Whether it is one log of a leaderless shard's: it has no digest of its own.
  public let isMerged: Bool
  /// Where the log's segments are.
  private let logDirectory: String
  private let thread: ThreadHandle
  private let snapshotThread: Mutex<ThreadHandle?>
  private let isJoined = Mutex(false)
  private let closes = Atomic(false)
  private let areSnapshotsEnded = Mutex(false)

  /// Locks the directory, loads the newest snapshot that is whole, replays the log behind it, and starts
  /// the committer.
  ///
  /// A log that was cut, or not closed in order under a relaxed policy, begins a new epoch: there is
  /// nobody else here to ask for what it may have lost. So does one that has become another shard, of which
  /// there may be a copy elsewhere that has become the rest.
  ///
  /// - Throws: `locked`, `damaged`, `cancelled`, `setting` for a directory of another shard or one that was
  ///   not finished, or that of a system call. Nothing is left running then.
  public static func open(
    _ options: StoreOptions, observer: (any CommitterObserver)? = nil,
    snapshotObserver: (any SnapshotObserver)? = nil
  ) throws(WALError) -> Store {
    let begun = options.clock.monotonicNanoseconds()
    try makeDirectory(options)
    let lock = try DirectoryLock(options.dataDirectory, fileSystem: options.fileSystem)
    try OriginNote.refuse(options)
    let rewound = try HistoryRewind(options.dataDirectory, fileSystem: options.fileSystem).resume()
    var claim = try ShardClaim(options)
    let directory = SnapshotDirectory(options.dataDirectory, fileSystem: options.fileSystem)
    try directory.prepare()
    let base = try SnapshotBase.load(
      directory, hash: options.hash, shardCount: claim.heldCount,
      threads: options.usesThreads ? processorCount() : 1, clock: options.clock,
      progress: options.progress)
    let index = base.index
    let epochs = EpochHistory()
    for start in base.file?.header.epochs ?? [] {
      epochs.begin(start.epoch, at: start.firstSequence)
    }
    var logOptions = LogOptions(dataDirectory: options.dataDirectory, node: options.node)
    logOptions.syncPolicy = options.syncPolicy
    logOptions.segmentBytes = options.segmentBytes
    logOptions.fileSystem = options.fileSystem
    logOptions.clock = options.clock
    logOptions.usesThreads = options.usesThreads
    logOptions.origin = options.origin
    logOptions.isCopy = options.isCopy
    logOptions.base = base.file?.header.base
    logOptions.progress = options.progress
    try base.checkLog(logOptions.directory)
    try claim.check(base.file?.header)
    var replay = Replay(
      index: index, epochs: epochs, frameTime: base.file?.header.frameTimeMilliseconds ?? 0)
    let opened: (writer: LogWriter, report: RecoveryReport)
    do {
      opened = try LogRecovery.open(logOptions) { (header, records) throws(WALError) in
        try replay.apply(header, records)
      }
    } catch {
      throw base.explain(error)
    }
    let log = opened.writer
    let recovery = opened.report
    if log.position.sequence > 0, epochs.last?.epoch != log.epoch {
      // The log's first record, which this start wrote.
      epochs.begin(log.epoch, at: log.position.sequence)
    }
    let start = try claim.settle(LogBase(origin: log.origin, position: log.position), index)
    let isUndivided = start.map { epochs.isUndivided(since: $0.point.position) } ?? false
    if log.owesEpoch || isUndivided, !options.isCopy {
      let new = Epoch(number: log.epoch.number + 1, node: options.node)
      let position = try log.startEpoch(new, reason: log.owesEpoch ? .recovered : .handoff)
      epochs.begin(new, at: position.sequence)
    }
    // What this start wrote is part of the log's time, too.
    index.endFrame(time: log.frameTimeMilliseconds)
    index.setApplied(log.position.sequence)
    var report = StoreReport(log: recovery, digestMismatches: replay.digestMismatches)
    if let file = base.file { report.snapshot = (SnapshotInfo(file), base.seconds) }
    report.badSnapshots = try base.putAway(logOptions.quarantineDirectory)
    report.rewound = rewound
    report.diverged = try SavedTails(options.dataDirectory, fileSystem: options.fileSystem).totals()
    report.seconds = Double(options.clock.monotonicNanoseconds() - begun) / 1e9
    return Store(
      options: options, shardStart: start, index: index, epochs: epochs, log: log, lock: lock,
      report: report, confirmed: min(replay.confirmedSequence, log.position.sequence),
      snapshots: try base.whole(), logOptions: logOptions, directory: directory,
      observer: observer, snapshotObserver: snapshotObserver)
  }

  /// Opens one of a leaderless shard's logs, whose records are merged with those of the others.
  ///
  /// - Parameters:
  ///   - options: as for the shard; the log is this node's own unless it is a copy.
  ///   - base: what the state has of it already.
  ///   - lock: the shard's, on its directory.
  ///   - index: where the number of what is applied is kept: of this node's own log the shard's.
  ///   - sealed: called when a segment was sealed.
  /// - Throws: as `open`.
  static func open(
    _ options: StoreOptions, merged: MergedLog, base: LogBase?, lock: DirectoryLock, index: Index,
    observer: (any CommitterObserver)?, sealed: @escaping @Sendable () -> Void
  ) throws(WALError) -> Store {
    let begun = options.clock.monotonicNanoseconds()
    let places = OriginPlaces(options.dataDirectory, merged.origin)
    for parent in ["wal", "diverged", "quarantine"] {
      try options.fileSystem.makeDirectory(options.dataDirectory + "/" + parent)
    }
    try options.fileSystem.makeDirectory(places.log)
    try options.fileSystem.syncDirectory(options.dataDirectory + "/wal")
    var logOptions = LogOptions(
      directory: places.log, divergedDirectory: places.diverged,
      quarantineDirectory: places.quarantine, node: options.node)
    logOptions.syncPolicy = options.syncPolicy
    logOptions.segmentBytes = options.segmentBytes
    logOptions.fileSystem = options.fileSystem
    logOptions.clock = options.clock
    logOptions.usesThreads = options.usesThreads
    logOptions.origin = merged.origin
    logOptions.isCopy = options.isCopy
    logOptions.base = base
    logOptions.progress = options.progress
    let epochs = EpochHistory()
    if let position = base?.position { epochs.begin(position.epoch, at: 1) }
    var replay = Replay(index: index, epochs: epochs, merged: merged)
    let opened = try LogRecovery.open(logOptions) { (header, records) throws(WALError) in
      try replay.apply(header, records)
    }
    let log = opened.writer
    guard log.origin == merged.origin else {
      throw .setting(
        "\(places.log) holds the log \(hexadecimal(log.origin)): put it back under its own name")
    }
    if log.position.sequence > 0, epochs.last?.epoch != log.epoch {
      epochs.begin(log.epoch, at: log.position.sequence)
    }
    index.setApplied(log.position.sequence)
    merged.state.noteApplied(
      LogBase(origin: merged.origin, position: log.position),
      time: log.frameTimeMilliseconds)
    var report = StoreReport(log: opened.report)
    report.seconds = Double(options.clock.monotonicNanoseconds() - begun) / 1e9
    return Store(
      options: options, shardStart: nil, index: index, epochs: epochs, log: log, lock: lock,
      report: report, confirmed: min(replay.confirmedSequence, log.position.sequence),
      snapshots: [], logOptions: logOptions,
      directory: SnapshotDirectory(options.dataDirectory, fileSystem: options.fileSystem),
      observer: observer, snapshotObserver: nil, merged: (merged, sealed))
  }

  /// Makes the data directory, and its name durable: what is acknowledged must not be lost with it.
  private static func makeDirectory(_ options: StoreOptions) throws(WALError) {
    let path = options.dataDirectory
    try DirectoryDraft.checkNone(for: path, options.fileSystem)
    try options.fileSystem.makeDirectory(path)
    // What comes next is the log's own directory: once that is there, this was done.
    guard try !options.fileSystem.list(path).contains("wal") else { return }
    try options.fileSystem.syncDirectory(path + "/..")
  }

  private init(
    options: StoreOptions, shardStart: ShardStart?, index: Index, epochs: EpochHistory,
    log: sending LogWriter, lock: DirectoryLock, report: StoreReport, confirmed: UInt64,
    snapshots found: [SnapshotInfo],
    logOptions: LogOptions, directory: SnapshotDirectory,
    observer: (any CommitterObserver)?, snapshotObserver: (any SnapshotObserver)?,
    merged: (log: MergedLog, sealed: @Sendable () -> Void)? = nil
  ) {
    logDirectory = logOptions.directory
    isMerged = merged != nil
    self.options = options
    self.shardStart = shardStart
    self.index = index
    self.epochs = epochs
    self.report = report
    confirmedAtStart = confirmed
    progress = log.progress
    origin = log.origin
    owesEpoch = log.owesEpoch
    copies = Atomic(options.isCopy)
    let feed = LogFeed(
      index: index, epochs: epochs, end: log.position, directory: logOptions.directory,
      fileSystem: options.fileSystem, recentBytesMax: options.recentBytesMax)
    self.feed = feed
    let committer = Committer()
    self.committer = committer
    // Only the new thread touches it from here on.
    nonisolated(unsafe) var handedOver: LogWriter? = log
    let snapshots = Snapshotter(
      found,
      place: SnapshotMerge.Place(
        directory: directory, hash: options.hash, shardIndex: options.shardIndex,
        shardCount: options.shardCount, clock: options.clock),
      options: Snapshotter.Options(
        logBytes: options.snapshotLogBytes, bytesPerSecond: options.snapshotBytesPerSecond,
        retainBytes: options.retainBytes),
      log: SnapshotLog(logOptions, committer, log.progress, index, epochs), clock: options.clock,
      observer: snapshotObserver)
    self.snapshots = snapshots
    let workOptions = CommitterWork.Options(
      memoryBytesMax: options.memoryBytesMax, syncPolicy: options.syncPolicy,
      sealed: merged?.sealed ?? { @Sendable in snapshots.wake() },
      copies: options.isCopy ? epochs : nil,
      merged: merged?.log)
    thread = ThreadHandle { [weak observer] in
      let log = handedOver!
      handedOver = nil
      committer.run(
        CommitterWork(
          log: log, index: index, options: workOptions, clock: options.clock, observer: observer,
          feed: feed))
      // Nobody else gets the directory before the log is closed and its threads are gone.
      withExtendedLifetime(lock) {}
    }
    // The snapshots of a leaderless shard are of all its logs.
    let hasThread = options.usesThreads && merged == nil
    snapshotThread = Mutex(hasThread ? ThreadHandle { snapshots.run() } : nil)
  }

  /// As `close`, except that nobody is told what came of it.
  deinit {
    endSnapshots()
    committer.beginClosing()
    join()
  }

  /// Commits what waits, syncs, closes the log in order, and gives the directory up. What is
  /// submitted from then on is not taken; reads go on. Closing again comes to the same.
  ///
  /// - Throws: what kept the log from being closed in order. It is closed all the same: nothing that
  ///   was acknowledged is lost, and the next start takes the stop for unclean.
  public func close() throws(WALError) {
    closes.store(true, ordering: .releasing)
    endSnapshots()
    defer { join() }
    try committer.close()
  }

  /// Before the committer goes: the snapshots' thread may wait for it.
  private func endSnapshots() {
    snapshots.stop()
    areSnapshotsEnded.withLock { isEnded in
      if !isEnded { snapshotThread.withLock { $0 }?.join() }
      isEnded = true
    }
  }

  /// Has snapshots made, of a leaderless shard.
  ///
  /// - Parameter found: those that there are, newest first.
  func beginSnapshots(_ making: any SnapshotMaking, _ found: [SnapshotInfo]) {
    let snapshots = snapshots
    snapshots.setMaking(making, found)
    if options.usesThreads {
      snapshotThread.withLock { $0 = ThreadHandle { snapshots.run() } }
    }
  }

  /// Does the background's work where there are no threads for it.
  package func step() { snapshots.step() }

  private func join() {
    isJoined.withLock { isJoined in
      if !isJoined {
        thread.join()
        index.directory.stop()
      }
      isJoined = true
    }
  }

  // MARK: - Leading and following

  /// True as long as the log is a copy of another node's: it takes frames of that log, and no writes.
  public var isCopy: Bool { copies.load(ordering: .sequentiallyConsistent) }

  /// From here on the log is this node's to write: behind what was shipped until now.
  ///
  /// - Parameter number: that of the epoch which begins; nil to go on in the one that is running.
  /// - Throws: `diskFull`, with everything as it was; any other error stops the log.
  public func lead(
    epoch number: UInt64?, reason: EpochChange.Reason = .promoted
  ) throws(WALError) {
    let new = number.map { Epoch(number: $0, node: options.node) }
    let epochs = epochs
    try committer.change { (work) throws(WALError) in try work.lead(new, reason, epochs) }
    copies.store(false, ordering: .sequentiallyConsistent)
  }

  /// From here on the log is a copy again. Writes that were taken before are committed; those that come
  /// behind are refused.
  public func follow() throws(WALError) {
    let epochs = epochs
    try committer.change { (work) throws(WALError) in work.follow(epochs) }
    copies.store(true, ordering: .sequentiallyConsistent)
  }

  // MARK: - Looking

  /// Nothing comes to the log any more.
  public var isClosed: Bool { closes.load(ordering: .acquiring) }

  /// That of the last record; (0, 0) in a copy that has none yet.
  public var epoch: Epoch { epochs.last?.epoch ?? LogPosition.start.epoch }

  /// The time by which keys are hidden, milliseconds since 1970: this node's clock, but never behind
  /// what the log has reached, so that a clock that was set back lets nothing expire too early.
  public var nowMilliseconds: UInt64 {
    max(options.clock.wallMilliseconds(), index.frameTime)
  }

  /// The first sequence number that the log still has. Reads the directory.
  public func oldestSequence() throws(WALError) -> UInt64 {
    let segments = try SegmentFile.list(logDirectory, in: options.fileSystem)
    return segments.first?.firstSequence ?? feed.end.sequence + 1
  }

  /// A segment of the log, as it is on the disk.
  public struct LogFile: Sendable {
    public var path: String
    public var firstSequence: UInt64
    public var bytes: UInt64
  }

  /// The log's segments, oldest first. Reads the directory.
  public func logFiles() throws(WALError) -> [LogFile] {
    var files: [LogFile] = []
    for segment in try SegmentFile.list(logDirectory, in: options.fileSystem) {
      guard let first = segment.firstSequence else { continue }
      do {
        let bytes = try options.fileSystem.open(segment.path, .readOnly).size()
        files.append(LogFile(path: segment.path, firstSequence: first, bytes: bytes))
      } catch {
        // Retired since it was listed.
        guard error.isNotFound else { throw error }
      }
    }
    return files
  }
}

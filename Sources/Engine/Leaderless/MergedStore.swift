import Sharding
import Synchronization
import WAL

/// What opening a leaderless shard's node found and did.
public struct MergedReport: Sendable {
  /// What became of each log, this node's own first.
  public var logs: [(origin: UInt64, report: RecoveryReport)] = []
  /// Why this node writes to a new log; nil where it goes on in its own.
  public var renewed: String?
  /// The snapshot that was loaded, if there was one, and how long that took.
  public var snapshot: (info: SnapshotInfo, seconds: Double)?
  /// Snapshots that are damaged, and where they are now.
  public var badSnapshots: [(error: WALError, path: String)] = []
  public var seconds: Double = 0
}

/// One leaderless shard on this node: a log of its own, copies of all the others', and the state that they come
/// to together.
///
/// A number of a log is never used twice, or what was written under it would pass for what is there: so a
/// node begins a new log when it may have lost the end of its own, or finds its directory at another address.
public final class MergedStore: Sendable {
  /// Logs that a node keeps: above it none that is new is taken.
  public static let logsMax = 1_024

  public let state: MergedState
  /// This node's own log.
  public let own: Store
  public let report: MergedReport
  let options: StoreOptions
  private let copies: Mutex<[UInt64: Store]>
  /// Nil once it is closed.
  private let lock: Mutex<DirectoryLock?>
  private let sealed: SealedSignal
  private weak let observer: (any CommitterObserver)?
  private let making: Mutex<MergedSnapshots?> = Mutex(nil)

  /// Tells the snapshots' thread, which comes later, of sealed segments.
  final class SealedSignal: Sendable {
    private let action = Mutex<(@Sendable () -> Void)?>(nil)
    func fire() { action.withLock { $0 }?() }
    func set(_ body: @escaping @Sendable () -> Void) { action.withLock { $0 = body } }
  }

  /// Locks the directory, brings the state to what all logs say, and begins this node's own log where there is
  /// none that it can go on with.
  ///
  /// - Parameters:
  ///   - options: those of the shard; `origin` and `isCopy` are not looked at.
  ///   - address: where the node takes requests.
  ///   - othersHave: up to where other nodes have the logs, as far as they could be asked. Where that is more
  ///     of this node's own log than there is here, the directory was put back to what it once was.
  /// - Throws: as `Store.open`.
  public static func open(
    _ options: StoreOptions, address: String, othersHave: VersionVector = VersionVector(),
    observer: (any CommitterObserver)? = nil
  ) throws(WALError) -> MergedStore {
    let begun = options.clock.monotonicNanoseconds()
    let (directory, fileSystem) = (options.dataDirectory, options.fileSystem)
    try DirectoryDraft.checkNone(for: directory, fileSystem)
    try fileSystem.makeDirectory(directory)
    let lock = try DirectoryLock(directory, fileSystem: fileSystem)
    guard try DataFiles.segments(in: directory, fileSystem: fileSystem).isEmpty else {
      throw .setting(
        "\(directory) holds a node of a shard that has a leader, and this one is leaderless. Give it another "
          + "--data-dir")
    }
    var claim = try ShardClaim(options)
    try claim.check(nil)
    try fileSystem.syncDirectory(directory + "/..")
    var report = MergedReport()
    let note = try OriginNote.read(in: directory, fileSystem: fileSystem)
    let state = MergedState(
      index: Index(hash: options.hash, shardCount: options.shardCount), clock: options.clock)
    let sealed = SealedSignal()
    let snapshots = SnapshotDirectory(directory, fileSystem: fileSystem)
    try snapshots.prepare()
    let (found, bad) = try load(snapshots, options, into: state, &report)
    var bases: [UInt64: LogBase] = [:]
    for base in found.first?.header.positions ?? [] { bases[base.origin] = base }

    /// - Parameters:
    ///   - isOwn: false for a log that this node does not write to.
    ///   - isNew: false for one that is there: nothing is written to it before it is known to be this node's.
    func log(_ origin: UInt64, isOwn: Bool, isNew: Bool = false) throws(WALError) -> Store {
      var options = options
      options.isCopy = !isNew
      return try Store.open(
        options, merged: MergedLog(state: state, origin: origin), base: bases[origin], lock: lock,
        index: isOwn
          ? state.index : Index(hash: options.hash, shardCount: options.shardCount),
        observer: observer, sealed: { sealed.fire() })
    }

    var copies: [UInt64: Store] = [:]
    var own: Store?
    let there = try OriginPlaces.list(directory, fileSystem)
    for origin in Set(there).union(bases.keys).sorted() {
      guard origin == note?.origin else {
        copies[origin] = try log(origin, isOwn: false)
        continue
      }
      report.renewed = note?.address == address ? nil : "this directory was at \(note!.address)"
      if report.renewed == nil {
        let opened = try log(origin, isOwn: true)
        let end = opened.feed.end.sequence
        if opened.owesEpoch || end == 0 {
          report.renewed =
            opened.report.log.cut.map { "the end of its log was cut: \($0.damage)" }
            ?? "its log may have lost its end"
        } else if othersHave[origin] > end {
          report.renewed =
            "the others have its log up to \(othersHave[origin]), and it ends here at \(end): the directory "
            + "was put back to what it once was"
        } else {
          try opened.lead(epoch: nil)
          own = opened
          continue
        }
        try opened.close()
      }
      copies[origin] = try log(origin, isOwn: false)
    }
    if own == nil {
      if note != nil, report.renewed == nil { report.renewed = "its own log is not there" }
      let origin = randomOrigin(besides: copies.keys)
      // Durable first: whoever begins a log may have had another one, and may lack what it has acknowledged.
      try LackNote(directory, fileSystem: fileSystem).write()
      // A log that nobody calls its own is a copy.
      try OriginNote(origin: origin, address: address).write(in: directory, fileSystem: fileSystem)
      own = try log(origin, isOwn: true, isNew: true)
    }
    let store = own!
    for (path, error) in bad {
      let quarantine = Quarantine(directory + "/quarantine", fileSystem: fileSystem)
      report.badSnapshots.append((error, try quarantine.take(path)))
    }
    report.logs =
      [(store.origin, store.report.log)]
      + copies.sorted { $0.key < $1.key }.map { ($0.key, $0.value.report.log) }
    report.seconds = Double(options.clock.monotonicNanoseconds() - begun) / 1e9
    let merged = MergedStore(
      state: state, own: store, copies: copies, report: report, options: options, lock: lock,
      sealed: sealed, observer: observer)
    merged.beginSnapshots(found)
    return merged
  }

  /// Loads the newest snapshot that is whole.
  ///
  /// - Returns: those that are, newest first; and those that are not.
  private static func load(
    _ directory: SnapshotDirectory, _ options: StoreOptions, into state: MergedState,
    _ report: inout MergedReport
  ) throws(WALError) -> (found: [SnapshotFile], bad: [(path: String, error: WALError)]) {
    let start = options.clock.monotonicNanoseconds()
    var found: [SnapshotFile] = []
    var bad: [(path: String, error: WALError)] = []
    for (path, _) in try directory.list() {
      do throws(WALError) {
        let file = try SnapshotFile(path, fileSystem: directory.fileSystem)
        guard file.header.hash == options.hash, file.header.isLeaderless else {
          throw .setting(
            "\(path) is of another hash, or of a shard that has a leader: start with the configuration "
              + "that this directory was made with")
        }
        if found.isEmpty {
          // All of it is looked at before any of it is taken.
          try SnapshotCheck.run(file, pace: Pace())
          try MergedSnapshot.load(file, into: state, progress: options.progress)
          let seconds = Double(options.clock.monotonicNanoseconds() - start) / 1e9
          report.snapshot = (SnapshotInfo(file), seconds)
        }
        found.append(file)
      } catch {
        guard error.isDamage else { throw error }
        bad.append((path, error))
      }
    }
    return (found, bad)
  }

  private func beginSnapshots(_ found: [SnapshotFile]) {
    var covered: [UInt64: LogBase] = [:]
    for base in found.first?.header.positions ?? [] { covered[base.origin] = base }
    let making = MergedSnapshots(covered: covered, fileSystem: options.fileSystem) {
      [weak self] in self
    }
    self.making.withLock { $0 = making }
    own.beginSnapshots(making, found.map { SnapshotInfo($0) })
    let snapshots = own.snapshots
    sealed.set { snapshots.wake() }
  }

  private static func randomOrigin(besides known: some Sequence<UInt64>) -> UInt64 {
    while true {
      let origin = UInt64.random(in: 1 ... .max)
      if !known.contains(origin) { return origin }
    }
  }

  private init(
    state: MergedState, own: Store, copies: [UInt64: Store], report: MergedReport,
    options: StoreOptions, lock: DirectoryLock, sealed: SealedSignal,
    observer: (any CommitterObserver)?
  ) {
    self.state = state
    self.own = own
    self.copies = Mutex(copies)
    self.report = report
    self.options = options
    self.lock = Mutex(lock)
    self.sealed = sealed
    self.observer = observer
  }

  // MARK: - Logs

  /// The log with that id; nil where there is none.
  public func log(_ origin: UInt64) -> Store? {
    origin == own.origin ? own : copies.withLock { $0[origin] }
  }

  /// All of them, this node's own first.
  public var logs: [Store] {
    [own] + copies.withLock { copies in copies.sorted { $0.key < $1.key }.map(\.value) }
  }

  /// The copy of another node's log, which is begun where there is none.
  ///
  /// - Throws: as `Store.open`; `setting` where there are too many.
  public func copy(of origin: UInt64) throws(WALError) -> Store {
    precondition(origin != own.origin)
    let result = copies.withLock { copies -> Result<Store, WALError> in
      if let there = copies[origin] { return .success(there) }
      guard copies.count < Self.logsMax - 1 else {
        return .failure(
          .setting("there are \(Self.logsMax) logs here, and no more are taken than that"))
      }
      do throws(WALError) {
        let new = try openCopy(origin, base: making.withLock { $0 }?.base(of: origin))
        copies[origin] = new
        return .success(new)
      } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }

  private func openCopy(_ origin: UInt64, base: LogBase?) throws(WALError) -> Store {
    var options = options
    options.isCopy = true
    let sealed = sealed
    guard let lock = lock.withLock({ $0 }) else {
      throw .stopped(because: .setting("the directory was given up"))
    }
    return try Store.open(
      options, merged: MergedLog(state: state, origin: origin), base: base, lock: lock,
      index: Index(hash: options.hash, shardCount: options.shardCount), observer: observer,
      sealed: { sealed.fire() })
  }

  /// Takes in another node's snapshot, where its logs do not go back to what is missing here. What is here
  /// beside that stays.
  ///
  /// The state has it first, then a snapshot of this node's, which is durable; then the copies that ended
  /// before it go on from there. A crash in between leaves either what was, or that.
  ///
  /// - Parameter path: a whole snapshot, which has been checked.
  /// - Returns: the logs whose copies begin anew.
  /// - Precondition: nobody ships frames of other nodes' logs meanwhile.
  public func absorb(_ path: String) throws(WALError) -> [UInt64] {
    let file = try SnapshotFile(path, fileSystem: options.fileSystem)
    guard file.header.hash == options.hash, file.header.isLeaderless,
      file.header.shardIndex == options.shardIndex, file.header.shardCount == options.shardCount
    else { throw .setting("\(path) is not a snapshot of this shard") }
    var jumps: [UInt64: LogBase] = [:]
    for base in file.header.positions where base.origin != own.origin {
      if log(base.origin)?.feed.end.sequence ?? 0 < base.position.sequence {
        jumps[base.origin] = base
      }
    }
    try MergedSnapshot.absorb(file, into: state)
    let result = Monitor<Result<SnapshotInfo, WALError>?>(nil)
    own.snapshots.request { outcome in result.signal { $0 = outcome } }
    if !options.usesThreads { own.step() }
    _ = try result.wait { $0 }.get()
    for (origin, base) in jumps {
      if let before = copies.withLock({ $0.removeValue(forKey: origin) }) { try before.close() }
      let new = try openCopy(origin, base: base)
      copies.withLock { $0[origin] = new }
    }
    return jumps.keys.sorted()
  }

  /// Has the next start in a directory begin a new log: others have more of the one that it wrote to.
  public static func disown(
    _ directory: String, fileSystem: any FileSystem = SystemFileSystem()
  ) throws(WALError) {
    try DurableNote(directory, OriginNote.name, fileSystem: fileSystem).remove()
  }

  /// Closes all logs in order; all of them, whatever becomes of one.
  ///
  /// - Throws: what kept the first of them from being closed in order.
  public func close() throws(WALError) {
    var first: WALError?
    for log in logs {
      do { try log.close() } catch { if first == nil { first = error } }
    }
    // Whoever comes next may have the directory, whoever looks at the state still.
    lock.withLock { $0 = nil }
    if let first { throw first }
  }
}

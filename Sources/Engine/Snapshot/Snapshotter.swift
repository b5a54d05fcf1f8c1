import CMemory
import Sharding
import Synchronization
import WAL

/// What a snapshot is, for those who only want to know.
public struct SnapshotInfo: Hashable, Sendable {
  public var path: String
  /// The last sequence number that it covers.
  public var sequence: UInt64
  public var bytes: UInt64
  public var keys: UInt64
  /// Bytes of all keys and values.
  public var dataBytes: UInt64
  /// When it was written, milliseconds since 1970.
  public var timeMilliseconds: UInt64
  /// Of the keys and their versions.
  public var digest: Digest
  /// Of the file's footer, and so of all of the file.
  public var crc: UInt32

  package init(_ file: SnapshotFile) {
    path = file.path
    sequence = file.header.sequence
    bytes = file.bytes
    keys = file.footer.entries
    dataBytes = file.footer.dataBytes
    timeMilliseconds = file.header.timeMilliseconds
    digest = file.footer.digest
    crc = file.crc
  }
}

/// How a snapshot was made.
public struct SnapshotReport: Sendable {
  public var info: SnapshotInfo
  public var seconds: Double
  /// True when a part of the log could not be read, and it was written from memory instead.
  public var isFromIndex: Bool
}

/// What the snapshots' thread tells those who run it.
public protocol SnapshotObserver: AnyObject, Sendable {
  func snapshotMade(_ report: SnapshotReport)
  /// There is no snapshot for that reason; it is tried again.
  func snapshotFailed(_ error: WALError)
  /// Segments were damaged that a snapshot covers: nothing is lost. They were moved to there.
  func quarantined(_ paths: [String], because error: WALError)
  /// Segments were damaged, and are whole again.
  func healed(_ log: RepairedLog)
}

extension SnapshotObserver {
  public func healed(_ log: RepairedLog) {}
}

/// Makes snapshots behind a running node, and gives up the log that they make superfluous.
///
/// A thread of its own, of a low priority and at a limited rate. It reads sealed segments and the
/// last snapshot, and touches neither the index nor the segment that is being written.
public final class Snapshotter: Sendable {
  package struct Options: Sendable {
    /// A snapshot is due when the log behind the last one outgrows this and that snapshot.
    package var logBytes: UInt64
    /// Read and written a second, at most.
    package var bytesPerSecond: Int?
    /// Log that only leases and followers need is kept up to so many bytes.
    package var retainBytes: UInt64

    package init(logBytes: UInt64, bytesPerSecond: Int?, retainBytes: UInt64) {
      self.logBytes = logBytes
      self.bytesPerSecond = bytesPerSecond
      self.retainBytes = retainBytes
    }
  }

  /// How far the snapshot is that is being made.
  public struct Progress: Sendable {
    public var doneBytes: Int
    /// An estimate.
    public var totalBytes: Int
  }

  struct State {
    var isStopped = false
    var hasBegun = false
    /// Somebody looked: segments may have been sealed.
    var isAwake = true
    /// Who asked for a snapshot, and has not been served.
    var requests: [@Sendable (Result<SnapshotInfo, WALError>) -> Void] = []
    /// Who asked for a look at all files, and has not been answered.
    var repairs: [@Sendable (Result<RepairReport, WALError>) -> Void] = []
    /// Who may have what is damaged here.
    var sources: (@Sendable () -> [any FrameSource])?
    /// Newest first; at most two.
    var snapshots: [SnapshotInfo]
    var pace: Pace?
    var lastError: WALError?
    var failures = 0
    var made = 0
    /// Bytes of log that only leases and followers need.
    var heldLogBytes: UInt64 = 0
  }

  let state: Monitor<State>
  let place: SnapshotMerge.Place
  private let options: Options
  let log: SnapshotLog
  private let clock: LogClock
  let observer: WeakObserver
  package let leases: LogLeases
  /// Set where they are not made by merging the log with the one before.
  private let making = Mutex<(any SnapshotMaking)?>(nil)

  final class WeakObserver: @unchecked Sendable {
    // Set once, before it is shared.
    weak var observer: (any SnapshotObserver)?
    init(_ observer: (any SnapshotObserver)?) { self.observer = observer }
  }

  /// - Parameters:
  ///   - snapshots: those that there are, newest first.
  ///   - log: the way to the log and its writer.
  init(
    _ snapshots: [SnapshotInfo], place: SnapshotMerge.Place, options: Options, log: SnapshotLog,
    clock: LogClock, observer: (any SnapshotObserver)?
  ) {
    state = Monitor(State(snapshots: Array(snapshots.prefix(2))))
    self.place = place
    self.options = options
    self.log = log
    self.clock = clock
    leases = LogLeases(clock: clock)
    self.observer = WeakObserver(observer)
  }

  /// The newest snapshot; nil when there is none.
  public var newest: SnapshotInfo? { state.withLock { $0.snapshots.first } }
  /// Both, newest first.
  public var snapshots: [SnapshotInfo] { state.withLock { $0.snapshots } }
  /// Nil when none is being made.
  public var progress: Progress? {
    state.withLock { state in
      state.pace.map { Progress(doneBytes: $0.doneBytes, totalBytes: $0.totalBytes) }
    }
  }
  /// Why the last attempt failed; nil since one succeeded.
  public var lastError: WALError? { state.withLock { $0.lastError } }
  /// How many were made, and how many attempts failed, since the start.
  public var counts: (made: Int, failed: Int) { state.withLock { ($0.made, $0.failures) } }

  /// Bytes of log that is kept for those alone who copy or follow it, when that was last looked at.
  public var heldLogBytes: UInt64 { state.withLock { $0.heldLogBytes } }

  /// Asks for a snapshot of everything that is in the log now.
  ///
  /// - Parameter completion: called on the snapshots' thread once it is durable, or has failed; also where
  ///   what is in the log may not be covered within seconds.
  public func request(_ completion: @escaping @Sendable (Result<SnapshotInfo, WALError>) -> Void) {
    var isStopped = false
    state.signal {
      isStopped = $0.isStopped
      if !isStopped { $0.requests.append(completion) }
    }
    if isStopped { completion(.failure(.cancelled)) }
  }

  /// Has snapshots cover nothing behind what `body` returns: what a failover could take back.
  package func setBound(_ body: @escaping @Sendable () -> UInt64) { log.setBound(body) }

  /// Says who may have what is damaged here: asked when it is.
  package func setSources(_ sources: @escaping @Sendable () -> [any FrameSource]) {
    state.withLock { $0.sources = sources }
  }

  /// Has all sealed segments and snapshots read, and healed where they are damaged.
  ///
  /// - Parameter completion: called on the snapshots' thread.
  public func requestRepair(
    _ completion: @escaping @Sendable (Result<RepairReport, WALError>) -> Void
  ) {
    var isStopped = false
    state.signal {
      isStopped = $0.isStopped
      if !isStopped { $0.repairs.append(completion) }
    }
    if isStopped { completion(.failure(.cancelled)) }
  }

  /// Has the thread look whether there is something to do.
  func wake() { state.signal { $0.isAwake = true } }

  func stop() {
    state.signal {
      $0.isStopped = true
      $0.pace?.cancel()
    }
  }

  // MARK: - The thread

  /// Works until `stop`.
  func run() {
    makeThreadBackground()
    begin()
    while true {
      let (requests, repairs) = state.wait { state -> ([Request], [Repair])? in
        guard
          state.isStopped || state.isAwake || !state.requests.isEmpty || !state.repairs.isEmpty
        else { return nil }
        state.isAwake = false
        defer {
          state.requests = []
          state.repairs = []
        }
        return (state.requests, state.repairs)
      }
      if state.withLock({ $0.isStopped }) {
        for request in requests { request(.failure(.cancelled)) }
        for repair in repairs { repair(.failure(.cancelled)) }
        return
      }
      if !repairs.isEmpty {
        let result = repairNow()
        for repair in repairs { repair(result) }
      }
      let result = requests.isEmpty ? work() : workNow()
      // Sorting and merging takes tens of MB now and then, which the allocator keeps otherwise; and code
      // that is not needed until the next time.
      shiplog_memory_trim()
      shiplog_memory_unmap_code()
      for request in requests { request(result) }
    }
  }

  private typealias Request = @Sendable (Result<SnapshotInfo, WALError>) -> Void
  private typealias Repair = @Sendable (Result<RepairReport, WALError>) -> Void

  /// Does what there is to do now, where there is no thread for it.
  package func step() {
    let (isFirst, requests, repairs) = state.withLock { state -> (Bool, [Request], [Repair]) in
      defer {
        state.hasBegun = true
        state.isAwake = false
        state.requests = []
        state.repairs = []
      }
      return (!state.hasBegun, state.requests, state.repairs)
    }
    if isFirst { begin() }
    if !repairs.isEmpty {
      let result = repairNow()
      for repair in repairs { repair(result) }
    }
    let result = requests.isEmpty ? work() : workNow()
    for request in requests { request(result) }
    do {
      try log.disposeStep()
    } catch {
      _ = fail(error)
    }
  }

  /// What an earlier run may have left to do.
  private func begin() {
    do {
      try retain()
    } catch {
      _ = fail(error)
    }
    scrub()
  }

  /// What is due, if anything is.
  private func work() -> Result<SnapshotInfo, WALError> {
    if let making = making.withLock({ $0 }) { return work(making, isAsked: false) }
    do {
      // Who needed it may be up to date by now, or too far behind.
      if heldLogBytes > 0 { try retain() }
      let sealed = try log.sealedSegments(behind: newest?.sequence ?? 0)
      let due = dueBytes
      guard sealed.bytes > due else {
        // A piece of the work that a snapshot will take is done early. Where the log is damaged a
        // snapshot from memory is all the more due: no start gets over that without one.
        return try prepare(sealed) ? .failure(.cancelled) : make(sealed)
      }
      return make(sealed)
    } catch {
      return fail(error)
    }
  }

  private func workNow() -> Result<SnapshotInfo, WALError> {
    if let making = making.withLock({ $0 }) { return work(making, isAsked: true) }
    do {
      let end = try log.sealedEnd().position.sequence
      try awaitCoverable(end)
      let sealed = try log.sealedSegments(behind: newest?.sequence ?? 0)
      if sealed.segments.isEmpty, let newest { return .success(newest) }
      return make(sealed)
    } catch {
      return fail(error)
    }
  }

  /// Has them made in another way.
  ///
  /// - Parameter found: those that there are, newest first.
  func setMaking(_ making: any SnapshotMaking, _ found: [SnapshotInfo]) {
    self.making.withLock { $0 = making }
    state.withLock { $0.snapshots = Array(found.prefix(2)) }
  }

  private func work(
    _ making: any SnapshotMaking, isAsked: Bool
  ) -> Result<SnapshotInfo, WALError> {
    do {
      if heldLogBytes > 0 { try retain() }
      let bytes = try making.logBytes()
      guard isAsked || bytes > dueBytes else { return .failure(.cancelled) }
      let start = clock.monotonicNanoseconds()
      let pace = begin(newest?.bytes ?? 0, isBehind: bytes > 2 * dueBytes)
      defer { state.withLock { $0.pace = nil } }
      let info = SnapshotInfo(try making.make(place, pace))
      made(info, since: start, isFromIndex: false)
      try retain()
      return .success(info)
    } catch {
      return fail(error)
    }
  }

  private func made(_ info: SnapshotInfo, since start: UInt64, isFromIndex: Bool) {
    state.withLock {
      $0.snapshots = Array(([info] + $0.snapshots.filter { $0.path != info.path }).prefix(2))
      $0.lastError = nil
      $0.made += 1
    }
    let seconds = Double(clock.monotonicNanoseconds() - start) / 1e9
    observer.observer?.snapshotMade(
      SnapshotReport(info: info, seconds: seconds, isFromIndex: isFromIndex))
  }

  private func awaitCoverable(_ sequence: UInt64) throws(WALError) {
    let pace = begin(0)
    defer { state.withLock { $0.pace = nil } }
    try log.awaitCoverable(sequence, pace)
  }

  func fail(_ error: WALError) -> Result<SnapshotInfo, WALError> {
    if error == .cancelled { return .failure(error) }
    state.withLock {
      $0.lastError = error
      $0.failures += 1
    }
    observer.observer?.snapshotFailed(error)
    return .failure(error)
  }

  /// - Parameters:
  ///   - isBehind: true when the log grows faster than snapshots are made at that rate.
  ///   - factor: of the usual rate.
  func begin(_ bytes: UInt64, isBehind: Bool = false, factor: Int = 1) -> Pace {
    let rate = options.bytesPerSecond.map { $0 * factor }
    let pace = Pace(bytesPerSecond: isBehind ? nil : rate, clock: clock)
    pace.expect(Int(bytes))
    state.withLock {
      $0.pace = pace
      if $0.isStopped { pace.cancel() }
    }
    return pace
  }

  /// Makes the sidecars of segments that have none.
  ///
  /// - Returns: false when a segment is damaged.
  private func prepare(_ sealed: SnapshotLog.Sealed) throws(WALError) -> Bool {
    let pace = begin(0)
    defer { state.withLock { $0.pace = nil } }
    do {
      for (number, segment) in sealed.segments.enumerated()
      where try place.directory.sidecar(of: segment, hash: place.hash) == nil {
        let isLast = number == sealed.segments.count - 1
        try place.directory.makeSidecar(
          of: segment, before: isLast ? sealed.next : sealed.segments[number + 1],
          hash: place.hash, pace: pace)
      }
      return true
    } catch {
      guard error.isDamage else { throw error }
      return false
    }
  }

  /// - Parameters:
  ///   - damage: why it is written from memory, if that is known already.
  ///   - isPutAway: whether what is damaged has been put away.
  func make(
    _ sealed: SnapshotLog.Sealed, because damage: WALError? = nil, isPutAway: Bool = false
  ) -> Result<SnapshotInfo, WALError> {
    let start = clock.monotonicNanoseconds()
    let newest = newest
    // What is read of the older one and of the log, twice, and what is written.
    let due = dueBytes
    let pace = begin(
      (newest?.bytes ?? 0) * 2 + sealed.bytes * 2, isBehind: sealed.bytes > 2 * due)
    defer { state.withLock { $0.pace = nil } }
    do {
      let (file, damage) = try merge(newest, sealed, pace, because: damage)
      let info = SnapshotInfo(file)
      made(info, since: start, isFromIndex: damage != nil)
      if let damage, !isPutAway { try giveUpDamaged(damage, info) }
      try retain()
      return .success(info)
    } catch {
      return fail(error)
    }
  }

  /// - Returns: the snapshot; and why it was written from memory, if it was.
  private func merge(
    _ newest: SnapshotInfo?, _ sealed: SnapshotLog.Sealed, _ pace: Pace, because damage: WALError?
  ) throws(WALError) -> (file: SnapshotFile, damage: WALError?) {
    var damage = damage
    if damage == nil {
      switch mergeOnce(newest, sealed, pace) {
      case .success(let file): return (file, nil)
      case .failure(let error):
        guard error.isDamage || error.isNotFound else { throw error }
        damage = error
      }
      if try heal(pace), case .success(let file) = mergeOnce(newest, sealed, pace) {
        return (file, nil)
      }
    }
    return (try IndexDump.run(log, place, pace: pace), damage)
  }

  private func mergeOnce(
    _ newest: SnapshotInfo?, _ sealed: SnapshotLog.Sealed, _ pace: Pace
  ) -> Result<SnapshotFile, WALError> {
    do {
      var previous: SnapshotFile?
      if let newest {
        previous = try SnapshotFile(newest.path, fileSystem: place.directory.fileSystem)
      }
      let input = SnapshotMerge.Input(
        previous: previous, segments: sealed.segments, next: sealed.next)
      return .success(try SnapshotMerge.run(input, place, pace: pace))
    } catch {
      return .failure(error)
    }
  }

  // MARK: - Retention

  /// How much log is behind a snapshot when the next one is begun.
  private var dueBytes: UInt64 { max(options.logBytes, newest?.bytes ?? 0) }

  /// Removes the snapshots but two, and the log that neither they nor a lease need.
  private func retain() throws(WALError) {
    let kept = snapshots
    let directory = place.directory
    let listed = try directory.list()
    for (path, sequence) in listed
    where sequence < (kept.last?.sequence ?? 0) && !leases.holds(snapshot: path) {
      do {
        try directory.fileSystem.remove(path)
      } catch {
        guard error.isNotFound else { throw error }
      }
    }
    if let newest = kept.first { try directory.removeSidecars(through: newest.sequence) }
    guard kept.count == 2 else { return }
    if let making = making.withLock({ $0 }) {
      let leased = listed.map(\.path).filter { leases.holds(snapshot: $0) }
      let held = try making.retire(
        behind: [kept[1].path] + leased, butAtMost: options.retainBytes, expecting: dueBytes)
      return state.withLock { $0.heldLogBytes = held }
    }
    let needed = min(kept[1].sequence, leases.least ?? .max)
    let held = try log.retire(
      through: needed, butAtMost: options.retainBytes, forLeasesBehind: kept[1].sequence,
      expecting: dueBytes)
    state.withLock { $0.heldLogBytes = held }
  }

  /// Puts the damaged input away: the new snapshot covers it.
  private func giveUpDamaged(_ damage: WALError, _ info: SnapshotInfo) throws(WALError) {
    let path: String
    switch damage {
    case .damaged(let damage): path = damage.path
    case .invalidFile(let file, _, _), .system(_, let file, _): path = file
    default: return
    }
    guard !damage.isNotFound else {
      state.withLock { $0.snapshots.removeAll { $0.path == path } }
      return
    }
    let directory = place.directory
    let quarantine = Quarantine(log.quarantineDirectory, fileSystem: directory.fileSystem)
    if SnapshotDirectory.sequence(lastComponent(path)) != nil {
      let moved = try quarantine.take(path)
      state.withLock { $0.snapshots.removeAll { $0.path == path } }
      observer.observer?.quarantined([moved], because: damage)
    } else if let first = SegmentName.firstSequence(lastComponent(path)) {
      let moved = try log.quarantine(segmentFrom: first)
      if !moved.isEmpty { observer.observer?.quarantined(moved, because: damage) }
    }
  }

  /// Reads the log that the newest snapshot covers, once.
  private func scrub() {
    guard let newest, making.withLock({ $0 }) == nil else { return }
    let scrub = LogScrub(
      log: log, fileSystem: place.directory.fileSystem, pace: begin(0, factor: 8))
    defer { state.withLock { $0.pace = nil } }
    do {
      try scrub.run(coveredBy: newest.sequence) { () throws(WALError) in
        try heal(scrub.pace)
      } quarantined: {
        observer.observer?.quarantined($0, because: $1)
      }
    } catch {
      guard !error.isNotFound else { return }
      _ = fail(error)
    }
  }
}

extension WALError {
  /// True when bytes are not what they should be, or cannot be read at all.
  var isDamage: Bool {
    switch self {
    case .damaged, .invalidFile, .system(.read, _, _): true
    default: false
    }
  }
}

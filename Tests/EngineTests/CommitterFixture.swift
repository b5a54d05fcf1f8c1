import Engine
import Glibc
import SimulatedDisk
import Synchronization
import WAL

/// The work of a committer on a simulated disk, without its thread.
final class CommitterFixture {
  let disk: SimulatedDisk
  let clock = SimulatedClock()
  let index = Index()
  let epochs = EpochHistory()
  let recorder = Recorder()
  /// For submissions that nobody waits for.
  let nobody = Nobody()
  let log: LogWriter
  let feed: LogFeed
  var work: CommitterWork
  private(set) var options: LogOptions

  /// What the observer was told.
  final class Recorder: CommitterObserver {
    let reports = Mutex<[CommitReport]>([])
    let failures = Mutex<[WALError]>([])
    let mismatches = Mutex<[UInt64]>([])
    /// True where it began, false where it ended.
    let fullDisks = Mutex<[Bool]>([])
    /// Nil where it was over.
    let delays = Mutex<[WALError?]>([])
    /// Called after every frame of writes.
    nonisolated(unsafe) var afterFrame: () -> Void = {}
    func committed(_ report: CommitReport) {
      reports.withLock { $0.append(report) }
      afterFrame()
    }
    func diskFull(_ reason: WALError?) { fullDisks.withLock { $0.append(reason != nil) } }
    func segmentsDelayed(_ reason: WALError?) { delays.withLock { $0.append(reason) } }
    func stateDiffers(at sequence: UInt64) { mismatches.withLock { $0.append(sequence) } }
    func failed(_ error: WALError) { failures.withLock { $0.append(error) } }

    var frames: [Int] { reports.withLock { $0.map(\.records) } }
    var failureCount: Int { failures.withLock { $0.count } }
  }

  final class Nobody: SubmissionOwner {
    func completed(_ submission: Submission) {}
  }

  init(
    _ disk: SimulatedDisk = SimulatedDisk(seed: 1), policy: SyncPolicy = .always,
    segmentBytes: UInt64 = 16_384, memoryBytesMax: Int? = nil, recentBytesMax: Int = 8 << 20
  ) throws(WALError) {
    self.disk = disk
    var options = LogOptions(dataDirectory: "/data", node: 7)
    options.fileSystem = disk
    options.clock = clock.clock
    options.usesThreads = false
    options.segmentBytes = segmentBytes
    options.syncPolicy = policy
    self.options = options
    var replay = Replay(index: index, epochs: epochs)
    log = try LogRecovery.open(options) { (header, records) throws(WALError) in
      try replay.apply(header, records)
    }.writer
    if epochs.last?.epoch != log.epoch { epochs.begin(log.epoch, at: log.position.sequence) }
    feed = LogFeed(
      index: index, epochs: epochs, end: log.position, directory: "/data/wal", fileSystem: disk,
      recentBytesMax: recentBytesMax)
    work = CommitterWork(
      log: log, index: index, options: CommitterWork.Options(memoryBytesMax: memoryBytesMax),
      clock: options.clock, observer: recorder, feed: feed)
  }

  func submission() -> Submission { Submission(owner: nobody) }

  /// Commits these as one take, and returns them as they were given back.
  @discardableResult
  func commit(_ submissions: [Submission]) -> [Submission] {
    var returned: [Submission] = []
    work.commit(submissions) { returned.append($0) }
    return returned
  }

  /// Commits what `fill` adds to one submission, and returns the outcomes.
  @discardableResult
  func commit(_ fill: (Submission) -> Void) -> [WriteRequest.Outcome] {
    let submission = submission()
    fill(submission)
    commit([submission])
    return submission.requests.map(\.outcome)
  }

  func value(_ key: String) -> String? {
    index.get(utf8(key)).map { String(decoding: $0.value, as: UTF8.self) }
  }

  func version(_ key: String) -> UInt64? { index.version(utf8(key)) }

  /// What a new start finds after the process was killed.
  func restarted() throws(WALError) -> CommitterFixture {
    disk.restartProcess()
    return try CommitterFixture(disk, segmentBytes: options.segmentBytes)
  }

  /// Lets one call of that kind on a file of the log fail: the next, or the one so many behind it.
  func fail(_ call: SystemCall, _ code: Int32, after skipped: Int = 0) {
    var left = skipped
    var isDone = false
    disk.fault = { found, path in
      guard found == call, path.hasPrefix("/data/wal/"), !isDone else { return nil }
      guard left == 0 else {
        left -= 1
        return nil
      }
      isDone = true
      return .fail(code)
    }
  }
}

/// Time that stands still unless a test moves it, or moves by itself with every look at it.
final class SimulatedClock: Sendable {
  // Far ahead of the machine's own clock: nobody who waits until then wakes up by himself.
  private let nanoseconds = Atomic<UInt64>(1 << 60)
  let stepNanoseconds = Atomic<UInt64>(0)
  private let wall = Atomic<UInt64>(1_700_000_000_000)

  /// Both clocks.
  func advance(milliseconds: UInt64) {
    nanoseconds.add(milliseconds * 1_000_000, ordering: .relaxed)
    wall.add(milliseconds, ordering: .relaxed)
  }

  /// Milliseconds since 1970; can be set, which the other clock does not notice.
  var wallMilliseconds: UInt64 {
    get { wall.load(ordering: .relaxed) }
    set { wall.store(newValue, ordering: .relaxed) }
  }

  private func now() -> UInt64 {
    let step = stepNanoseconds.load(ordering: .relaxed)
    return nanoseconds.add(step, ordering: .relaxed).newValue
  }

  var clock: LogClock {
    LogClock(
      wallMilliseconds: { [self] in wallMilliseconds },
      monotonicNanoseconds: { [self] in now() })
  }
}

/// Requests with keys and values as text.
extension Submission {
  func put(
    _ key: String, _ value: String, _ index: Index, _ condition: WriteCondition = .always,
    expiry: UInt64? = nil
  ) {
    put(utf8(key), utf8(value), index, condition, expiry: expiry)
  }

  func put(
    _ key: [UInt8], _ value: [UInt8], _ index: Index, _ condition: WriteCondition = .always,
    expiry: UInt64? = nil
  ) {
    let hash = index.hash(key)
    key.withUnsafeBytes { key in
      value.withUnsafeBytes {
        put(key, $0, hash, expiry: expiry, condition: condition, token: UInt(requests.count))
      }
    }
  }

  func delete(_ key: String, _ index: Index, _ condition: WriteCondition = .always) {
    delete(utf8(key), index, condition)
  }

  func delete(_ key: [UInt8], _ index: Index, _ condition: WriteCondition = .always) {
    let hash = index.hash(key)
    key.withUnsafeBytes { delete($0, hash, condition: condition, token: UInt(requests.count)) }
  }

  /// A batch: a key without a value is deleted.
  func batch(_ operations: [(key: String, value: String?)]) {
    beginBatch()
    for operation in operations {
      utf8(operation.key).withUnsafeBytes { key in
        if let value = operation.value {
          utf8(value).withUnsafeBytes { addPut(key, $0) }
        } else {
          addDelete(key)
        }
      }
    }
    endBatch(token: UInt(requests.count))
  }

  /// The condition that the key has one of these versions.
  func ifMatch(_ versions: UInt64...) -> WriteCondition {
    WriteCondition(ifMatch: .versions(add(versions: versions)))
  }
}

extension WriteCondition {
  /// That there is no such key.
  static let isNew = WriteCondition(ifNoneMatch: .any)
  static let exists = WriteCondition(ifMatch: .any)
}

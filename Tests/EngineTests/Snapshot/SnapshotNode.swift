import Engine
import Glibc
import SimulatedDisk
import Synchronization
import Testing
import WAL

/// A store with small segments and frequent snapshots on a simulated disk, whose work is done step by
/// step; and what it has acknowledged.
final class SnapshotNode {
  let disk: SimulatedDisk
  let clock = SimulatedClock()
  let observer = Observer()
  var options: StoreOptions
  private let client = StoreClient()
  private(set) var store: Store?
  /// What was acknowledged, and of each key what may be there as well: it was not refused for good.
  private(set) var acknowledged: [String: String] = [:]
  private var uncertain: [String: [String]] = [:]
  private var written = 0

  final class Observer: SnapshotObserver {
    let reports = Mutex<[SnapshotReport]>([])
    let moved = Mutex<[String]>([])
    let errors = Mutex<[WALError]>([])
    func snapshotMade(_ report: SnapshotReport) { reports.withLock { $0.append(report) } }
    func snapshotFailed(_ error: WALError) { errors.withLock { $0.append(error) } }
    func quarantined(_ paths: [String], because error: WALError) {
      moved.withLock { $0 += paths }
    }
  }

  init(_ disk: SimulatedDisk, snapshotLogBytes: UInt64 = 8_192) {
    self.disk = disk
    options = StoreOptions(dataDirectory: "/data", node: 7)
    options.fileSystem = disk
    options.clock = clock.clock
    options.usesThreads = false
    options.segmentBytes = 4_096
    options.snapshotLogBytes = snapshotLogBytes
    options.snapshotBytesPerSecond = nil
    options.origin = 99
  }

  /// The same files on another disk, with what this node knows of them.
  func copy(_ change: (SimulatedDisk) throws -> Void) rethrows -> SnapshotNode {
    let other = SimulatedDisk(
      seed: 1, directories: ["/data", "/data/wal", "/data/snapshots"])
    for path in disk.paths where !path.hasSuffix("LOCK") { other.put(path, disk.contents(path)!) }
    try change(other)
    let node = SnapshotNode(other, snapshotLogBytes: options.snapshotLogBytes)
    node.acknowledged = acknowledged
    node.uncertain = uncertain
    node.written = written
    return node
  }

  func start() throws(WALError) { store = try Store.open(options, snapshotObserver: observer) }

  func stop() throws(WALError) {
    try store?.close()
    store = nil
  }

  /// The process is gone, whatever it was doing.
  func kill() {
    disk.fault = { _, _ in .die }
    // It finds that out by itself.
    do { try store?.close() } catch {}
    store = nil
    disk.restartProcess()
  }

  /// - Returns: false when the store takes no more.
  @discardableResult
  func put(_ key: String, bytes: Int = 700) -> Bool {
    written += 1
    let value = "\(written)" + String(repeating: ".", count: bytes)
    uncertain[key, default: []].append(value)
    let request = client.put(key, value, in: store!)
    switch request.outcome {
    case .created, .replaced:
      acknowledged[key] = value
      uncertain[key] = []
      return true
    case .diskFull:
      uncertain[key]!.removeLast()
      return true
    default: return false
    }
  }

  /// Writes so many, over a few keys, and does the background's work now and then.
  func write(_ count: Int, stepEach each: Int = 4) {
    for number in 0..<count {
      guard put("key-\(written % 7)") else { return }
      if number % each == each - 1 { store!.step() }
    }
  }

  /// Asks for a snapshot, and has it made.
  @discardableResult
  func snapshot() throws(WALError) -> SnapshotInfo {
    let answer = Answer()
    store!.snapshots.request { result in answer.result.withLock { $0 = result } }
    store!.step()
    return try answer.result.withLock { $0! }.get()
  }

  private final class Answer: Sendable {
    let result = Mutex<Result<SnapshotInfo, WALError>?>(nil)
  }

  var snapshotFiles: [String] {
    disk.paths.filter { $0.hasPrefix("/data/snapshots/") && $0.hasSuffix(".snap") }
  }

  func expectAll(_ moment: String, at location: SourceLocation = #_sourceLocation) {
    guard let store else { return }
    for (key, value) in acknowledged {
      let found = store.value(key)
      let isThere = found == value || found.map { uncertain[key]!.contains($0) } ?? false
      #expect(isThere, "\(moment): \(key)", sourceLocation: location)
    }
    #expect(
      store.report.digestMismatches == [] && store.index.count <= 7, "\(moment)",
      sourceLocation: location)
    let isLeft = disk.paths.contains {
      $0.hasPrefix("/data/snapshots/") && $0.hasSuffix(".tmp")
    }
    #expect(!isLeft, "\(moment): a temporary file", sourceLocation: location)
  }

  /// What is there now, for good.
  func settle() {
    for (key, values) in uncertain where !values.isEmpty {
      acknowledged[key] = store!.value(key)
      uncertain[key] = []
    }
  }
}

import Synchronization

/// What the threads of a run share with each other and with who waits for them.
final class RunState: Sendable {
  /// What a thread shows while it works; only that thread writes.
  final class Progress: Sendable {
    let answered = Atomic<UInt64>(0)
    let failed = Atomic<UInt64>(0)
    /// How long the oldest operation that is due has waited.
    let behindNanoseconds = Atomic<UInt64>(0)
  }

  let progress: [Progress]
  let inserted: InsertedKeys
  let board: VersionBoard?
  /// Nil where requests go where they went, whatever comes.
  let leaders: ShardLeaders?
  /// Set to end the run early.
  let isStopping = Atomic(false)
  /// When the warm-up begins, on the monotonic clock; 0 until all threads have their connections.
  let start = Atomic<UInt64>(0)
  private let readyCount = Atomic(0)
  private let results = Mutex<[Result<Measurements, BenchError>]>([])

  init(threads: Int, keys: UInt64, board: VersionBoard?, leaders: ShardLeaders?) {
    self.leaders = leaders
    progress = (0..<threads).map { _ in Progress() }
    inserted = InsertedKeys(keys: keys)
    self.board = board
  }

  /// A thread has tried to make all of its connections. The last one begins the run.
  func isReady() {
    let count = readyCount.add(1, ordering: .acquiringAndReleasing).newValue
    if count == progress.count { start.store(Clock.monotonic(), ordering: .releasing) }
  }

  func finish(_ result: Result<Measurements, BenchError>) {
    results.withLock { $0.append(result) }
  }

  /// - Returns: nil as long as a thread works.
  func finished() -> [Result<Measurements, BenchError>]? {
    results.withLock { $0.count == progress.count ? $0 : nil }
  }
}

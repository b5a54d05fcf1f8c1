import Client
import Synchronization
import WAL

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// A whole run: looks at the targets, stores keys where they are missing, measures.
public struct BenchRun: Sendable {
  private static let pollMilliseconds = 100

  private let parameters: BenchParameters
  private let descriptorsMax: Int
  private let show: LiveLine?

  /// - Parameters:
  ///   - descriptorsMax: connections and files that the process may have.
  ///   - showsProgress: on standard error, where that is a terminal.
  public init(_ parameters: BenchParameters, descriptorsMax: Int, showsProgress: Bool = true) {
    self.parameters = parameters
    self.descriptorsMax = descriptorsMax
    show = showsProgress ? LiveLine() : nil
  }

  /// - Throws: `BenchError` when nothing could be measured.
  public func run() async throws(BenchError) -> BenchResult {
    try parameters.validate()
    let pool = KVPool()
    defer { pool.close() }
    let (descriptions, targets) = try await ClusterSurvey(parameters, pool).take()
    if parameters.checksStaleness {
      guard parameters.mix.hasReads, parameters.mix.hasWrites else {
        throw .unusable("--stale-check needs reads and writes in the mix")
      }
    }
    // Beside them: the terminal, pollers, and what the libraries use.
    guard parameters.connections * targets.usedCount + 64 <= descriptorsMax else {
      throw .system(
        "\(parameters.connections) connections to each of \(targets.usedCount) nodes are too many "
          + "for the limit of \(descriptorsMax) descriptors: raise it (ulimit -n)")
    }
    let board = try makeBoard(targets)
    let loader = KeyLoader(parameters, targets, show)
    let loading = try await loader.load()
    if loading != nil, let board {
      for key in 0..<parameters.keys { board.keyIsPresent(key) }
    }
    return try await measure(targets, descriptions, loading, board, pool)
  }

  /// Only a mix of reads and writes has versions and intervals to be compared.
  private func makeBoard(_ targets: TargetMap) throws(BenchError) -> VersionBoard? {
    guard parameters.mix.hasReads, parameters.mix.hasWrites else { return nil }
    let added = parameters.mix.inserts > 0 ? InsertedKeys.countMax : 0
    return try VersionBoard(
      keys: parameters.keys + added,
      judgesContexts: targets.mode == .leaderless && parameters.checksStaleness)
  }

  private func measure(
    _ targets: TargetMap, _ descriptions: [NodeDescription], _ loading: BenchResult.Loading?,
    _ board: VersionBoard?, _ pool: KVPool
  ) async throws(BenchError) -> BenchResult {
    let plans = try WorkerPlan.plans(parameters, targets)
    let leaders = ShardLeaders(targets, descriptions)
    let state = RunState(
      threads: plans.count, keys: parameters.keys, board: board, leaders: leaders)
    let watch = Task { await leaders?.watch(pool) }
    let begin = Date().timeIntervalSince1970
    let threads = plans.map { plan in
      ThreadHandle {
        state.finish(
          Result { () throws(BenchError) in try Worker(plan, state).work() })
      }
    }
    let results = await wait(for: state)
    for thread in threads { thread.join() }
    watch.cancel()
    await watch.value
    show?.end()
    var measured = Measurements()
    measured.leaderMoves = leaders?.moveCount ?? 0
    for result in results { measured.add(try result.get()) }
    return BenchResult(
      parameters: parameters, targets: targets, descriptions: descriptions, loading: loading,
      measured: measured, startSeconds: begin + parameters.warmupSeconds,
      isInterrupted: Interruption.isRequested)
  }

  private func wait(for state: RunState) async -> [Result<Measurements, BenchError>] {
    var line = RunLine(parameters)
    while true {
      if let results = state.finished() { return results }
      if Interruption.isRequested { state.isStopping.store(true, ordering: .relaxed) }
      let start = state.start.load(ordering: .acquiring)
      if let show, start > 0 {
        let now = Clock.monotonic()
        let text = line.text(
          seconds: now > start ? Double(now - start) / 1e9 : 0,
          answered: state.progress.reduce(0) { $0 + $1.answered.load(ordering: .relaxed) },
          failed: state.progress.reduce(0) { $0 + $1.failed.load(ordering: .relaxed) },
          behindSeconds: Double(
            state.progress.map { $0.behindNanoseconds.load(ordering: .relaxed) }.max() ?? 0) / 1e9)
        show.show(text)
      }
      // Not cancelled by anybody.
      do { try await Task.sleep(for: .milliseconds(Self.pollMilliseconds)) } catch {}
    }
  }
}

import Synchronization
import WAL

/// Keeps background work from taking disk and processors from the log: a limit on bytes a second and on the share of
/// a processor, syncs in small portions, a way to stop it, and how far it is.
package final class Pace: Sendable {
  /// Each sync holds up those of the log: many small ones for their metadata, one of everything for as
  /// long as it takes.
  private static let syncBytes = 16 << 20
  /// Where nobody else waits for the disk.
  private static let hintBytes = 1 << 20
  /// Work is done in pieces of so long, each with a rest behind it that is so many times as long as it was: where
  /// all processors are busy, a commit waits for one behind a piece, and the fewer the fewer of them wait.
  private static let pieceNanoseconds: UInt64 = 250_000
  private static let restFactor: UInt64 = 5
  private static let restNanosecondsMax: UInt64 = 20_000_000

  private struct State {
    /// When what was counted so far may have been done, on the monotonic clock.
    var next: UInt64 = 0
    /// When the last rest was over.
    var workingSince: UInt64 = 0
    var unsyncedBytes = 0
  }

  private let bytesPerSecond: Int?
  private let isAlone: Bool
  private let clock: LogClock
  private let state = Mutex(State())
  private let isCancelled = Atomic(false)
  private let done = Atomic(0)
  private let total = Atomic(0)

  /// - Parameters:
  ///   - bytesPerSecond: read and written together; nil for no limit, nor one of the processor's share.
  ///   - isAlone: true where no log's syncs have to be spared: then what is written goes to the disk at
  ///     once, and is waited for at the end only.
  package init(
    bytesPerSecond: Int? = nil, isAlone: Bool = false, clock: LogClock = .system
  ) {
    self.bytesPerSecond = bytesPerSecond
    self.isAlone = isAlone
    self.clock = clock
  }

  /// Bytes read and written so far.
  package var doneBytes: Int { done.load(ordering: .relaxed) }
  /// An estimate of what there is to do in all.
  package var totalBytes: Int { total.load(ordering: .relaxed) }

  package func expect(_ bytes: Int) { total.store(bytes, ordering: .relaxed) }

  /// Has the work end with `cancelled` at the next step.
  package func cancel() { isCancelled.store(true, ordering: .relaxed) }

  /// Counts bytes, and sleeps as long as they are too many for the time that has passed.
  ///
  /// - Throws: `cancelled`.
  package func spent(_ bytes: Int) throws(WALError) {
    done.add(bytes, ordering: .relaxed)
    guard !isCancelled.load(ordering: .relaxed) else { throw .cancelled }
    guard let bytesPerSecond else { return }
    let now = clock.monotonicNanoseconds()
    let ahead = state.withLock { state -> UInt64 in
      // A pause, of the work or of the machine, is not made up for by going faster.
      let slack: UInt64 = 100_000_000
      if state.next + slack < now { state.next = now }
      state.next += UInt64(Double(bytes) / Double(bytesPerSecond) * 1e9)
      return state.next > now ? state.next - now : 0
    }
    // Never long: somebody may want it to end.
    if ahead > 1_000_000 {
      sleep(milliseconds: min(UInt32(ahead / 1_000_000), 1_000))
      state.withLock { $0.workingSince = clock.monotonicNanoseconds() }
    }
    try rest()
  }

  /// Rests where it has worked for long enough. To be called every few microseconds of work.
  ///
  /// - Throws: `cancelled`.
  package func rest() throws(WALError) {
    guard !isCancelled.load(ordering: .relaxed) else { throw .cancelled }
    guard bytesPerSecond != nil else { return }
    let now = clock.monotonicNanoseconds()
    let due = state.withLock { state -> UInt64 in
      let worked = state.workingSince == 0 ? 0 : now &- state.workingSince
      if state.workingSince == 0 { state.workingSince = now }
      return worked < Self.pieceNanoseconds
        ? 0 : min(worked * Self.restFactor, Self.restNanosecondsMax)
    }
    guard due > 0 else { return }
    sleep(microseconds: UInt32(due / 1_000))
    state.withLock { $0.workingSince = clock.monotonicNanoseconds() }
    guard !isCancelled.load(ordering: .relaxed) else { throw .cancelled }
  }

  /// The same for bytes written to a file, which is synced now and then.
  func wrote(_ bytes: Int, _ file: any File) throws(WALError) {
    let isDue = state.withLock { state -> Bool in
      state.unsyncedBytes += bytes
      guard state.unsyncedBytes >= (isAlone ? Self.hintBytes : Self.syncBytes) else { return false }
      state.unsyncedBytes = 0
      return true
    }
    if isDue, isAlone {
      file.beginSync()
    } else if isDue {
      try file.sync()
    }
    try spent(bytes)
  }
}

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
  private static let pieceNanoseconds: UInt64 = 100_000
  private static let restFactor: UInt64 = 8
  private static let restNanosecondsMax: UInt64 = 20_000_000
  /// Of the rate: work that has come to less, because others have the processors or the disk is slow, does not rest.
  private static let leastShareOfRate = 0.125

  private struct State {
    /// When what was counted so far may have been done, on the monotonic clock.
    var next: UInt64 = 0
    var begun: UInt64 = 0
    /// When there may be something to rest from.
    var nextLook: UInt64 = 0
    /// The thread's processor time when the last rest was over.
    var restedAt: UInt64 = 0
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
    if ahead > 1_000_000 { sleep(milliseconds: min(UInt32(ahead / 1_000_000), 1_000)) }
    try rest()
  }

  /// Rests where its thread has worked for long enough. To be called every few microseconds of work.
  ///
  /// - Throws: `cancelled`.
  package func rest() throws(WALError) {
    guard !isCancelled.load(ordering: .relaxed) else { throw .cancelled }
    guard let bytesPerSecond else { return }
    let now = clock.monotonicNanoseconds()
    let done = doneBytes
    let due = state.withLock { state -> UInt64 in
      if state.begun == 0 { state.begun = now }
      guard now >= state.nextLook else { return 0 }
      let used = threadNanoseconds()
      let worked = used > state.restedAt ? used - state.restedAt : 0
      guard state.nextLook > 0, worked >= Self.pieceNanoseconds else {
        if state.nextLook == 0 { state.restedAt = used }
        state.nextLook = now + Self.pieceNanoseconds
        return 0
      }
      state.restedAt = used
      state.nextLook = now + Self.pieceNanoseconds
      let seconds = Double(now > state.begun ? now - state.begun : 0) / 1e9
      let least = seconds * Double(bytesPerSecond) * Self.leastShareOfRate
      guard seconds < 1 || Double(done) >= least else { return 0 }
      return min(worked, Self.restNanosecondsMax) * Self.restFactor
    }
    guard due > 0 else { return }
    sleep(microseconds: UInt32(min(due, Self.restNanosecondsMax) / 1_000))
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

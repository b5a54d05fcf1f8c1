import Synchronization

/// How far a start has read what is on the disk, and the way to call it off.
///
/// The threads that read tell of it; any thread looks. `begin` is one thread's.
public final class StartProgress: Sendable {
  /// What is being read, in this order.
  public enum Phase: UInt8, Sendable {
    /// Nothing is counted yet.
    case opening
    /// Another node's snapshot is fetched, counted in bytes.
    case copying
    /// Counted in blocks.
    case snapshot
    /// Counted in bytes.
    case log
    /// Everything has been read.
    case finishing
    /// Nothing is read before another node has said what this one is for.
    case waiting
  }

  private let phase = Atomic(Phase.opening.rawValue)
  private let done = Atomic<UInt64>(0)
  private let total = Atomic<UInt64>(0)
  private let cancelled = Atomic(false)

  public init() {}

  /// What is being read, how much of it has been, and how much there is.
  public var now: (phase: Phase, done: UInt64, total: UInt64) {
    while true {
      let phase = self.phase.load(ordering: .acquiring)
      let total = self.total.load(ordering: .acquiring)
      let done = self.done.load(ordering: .acquiring)
      // Numbers of one phase only.
      guard self.phase.load(ordering: .relaxed) == phase else { continue }
      return (Phase(rawValue: phase)!, min(done, total), total)
    }
  }

  /// Has the reading end with the error `cancelled` as soon as may be. What was read by then has
  /// changed nothing that the next start would miss.
  public func cancel() { cancelled.store(true, ordering: .relaxed) }

  package func check() throws(WALError) {
    if cancelled.load(ordering: .relaxed) { throw .cancelled }
  }

  public func begin(_ phase: Phase, total: UInt64 = 0) {
    self.phase.store(Phase.opening.rawValue, ordering: .sequentiallyConsistent)
    done.store(0, ordering: .sequentiallyConsistent)
    self.total.store(total, ordering: .sequentiallyConsistent)
    self.phase.store(phase.rawValue, ordering: .sequentiallyConsistent)
  }

  /// Counts what one of several threads has read.
  public func add(_ count: UInt64) { done.add(count, ordering: .relaxed) }

  /// Sets what the one thread that reads has read.
  func set(_ count: UInt64) { done.store(count, ordering: .relaxed) }
}

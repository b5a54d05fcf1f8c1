import Synchronization
import WAL

/// The keys of an index in order, for those who list them.
///
/// There is none until somebody asks; then a thread builds it beside the readers and the writer, and
/// from then on the writer keeps it up: every key that it creates or removes, first in the index and
/// then here. So a key that is here and not in the index, or the other way round, is being created or
/// removed just now.
///
/// The lock is held for a few dozen keys at most. It may be taken with a stripe's lock held, never
/// the other way round.
public final class KeyDirectory: Sendable {
  /// Keys that are added or removed with the lock held once.
  static let keysPerLock = 32

  private struct Content: ~Copyable {
    var keys = SortedKeys()
    /// Calls that removed keys, whether or not these were here.
    var removals: UInt64 = 0
  }

  private enum Phase {
    case absent
    case building
    case ready
    case stopped
  }

  private struct Construction {
    var phase = Phase.absent
    /// The one that builds, or has built, until it is joined.
    var thread: ThreadHandle?
    /// Whom to tell when the phase is another.
    var listeners: [@Sendable () -> Void] = []
  }

  private let content = Mutex(Content())
  private let construction = Mutex(Construction())
  /// Set before the first stripe is looked at, and never reset.
  private let tracking = Atomic(false)
  private let stopping = Atomic(false)

  init() {}

  // MARK: - Keeping up; the one writer

  /// Whether the writer has to tell.
  ///
  /// To be asked after the stripe's lock was given up, or with it held. Relaxed is enough: when the
  /// stripe was looked at before the change, then its lock has made the flag visible; when after it,
  /// then the change was seen.
  @inline(__always)
  var isTracking: Bool { tracking.load(ordering: .relaxed) }

  /// A key was created.
  func insert(_ key: UnsafeRawBufferPointer) {
    content.withLock { _ = $0.keys.insert(key) }
  }

  /// A key was removed.
  func remove(_ key: UnsafeRawBufferPointer) {
    content.withLock { content in
      content.removals += 1
      content.keys.remove(key)
    }
  }

  /// Keys were removed.
  func remove(_ run: KeyRun) {
    inPortions(of: run) { content, key in
      content.removals += 1
      content.keys.remove(key)
    }
  }

  /// Keys were found.
  func insert(_ run: KeyRun) {
    inPortions(of: run) { content, key in _ = content.keys.insert(key) }
  }

  private func inPortions(
    of run: KeyRun, _ body: (inout Content, UnsafeRawBufferPointer) -> Void
  ) {
    var start = 0
    while start < run.count {
      let end = min(start + Self.keysPerLock, run.count)
      content.withLock { content in
        run.forEach(in: start..<end) { body(&content, $0) }
      }
      start = end
    }
  }

  /// Grows with every removal.
  var removals: UInt64 { content.withLock { $0.removals } }

  // MARK: - Reading

  /// What it takes; 0 as long as nobody has asked for it.
  public var memoryBytes: Int { content.withLock { $0.keys.memoryBytes } }

  /// The number of keys.
  package var count: Int { content.withLock { $0.keys.count } }

  /// As that of the sorted keys.
  package func copy(
    from start: UnsafeRawBufferPointer, isIncluded: Bool, to end: UnsafeRawBufferPointer?,
    into run: inout KeyRun
  ) {
    content.withLock { $0.keys.copy(from: start, isIncluded: isIncluded, to: end, into: &run) }
  }

  // MARK: - Building

  /// Whether keys can be listed.
  public enum Readiness: Sendable {
    case ready
    /// Being built: the listener is called when that has ended.
    case building
    /// The index is no longer written, or the system has no thread for it.
    case unavailable
  }

  /// Sees to it that there is a directory.
  ///
  /// - Parameters:
  ///   - build: builds it, and returns whether it is whole; called on a thread of its own, if that has
  ///     not happened yet.
  ///   - listener: called once, on any thread, when the answer is `building` and it is another.
  func prepare(
    _ build: @escaping @Sendable (KeyDirectory) -> Bool, listener: @escaping @Sendable () -> Void
  ) -> Readiness {
    construction.withLock { construction in
      switch construction.phase {
      case .ready: return .ready
      case .stopped: return .unavailable
      case .building: break
      case .absent:
        tracking.store(true, ordering: .relaxed)
        construction.thread = ThreadHandle.started { self.end(isWhole: build(self)) }
        guard construction.thread != nil else { return .unavailable }
        construction.phase = .building
      }
      construction.listeners.append(listener)
      return .building
    }
  }

  /// What is being built had better be given up.
  var isStopping: Bool { stopping.load(ordering: .relaxed) }

  private func end(isWhole: Bool) {
    let listeners = construction.withLock { construction in
      construction.phase = isWhole ? .ready : .stopped
      defer { construction.listeners = [] }
      return construction.listeners
    }
    for listener in listeners { listener() }
  }

  /// Gives up what is being built, and waits until its thread has ended. What is ready stays so.
  package func stop() {
    stopping.store(true, ordering: .relaxed)
    let thread = construction.withLock { construction in
      if case .absent = construction.phase { construction.phase = .stopped }
      defer { construction.thread = nil }
      return construction.thread
    }
    thread?.join()
  }
}

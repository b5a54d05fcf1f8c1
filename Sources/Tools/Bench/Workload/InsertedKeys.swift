import Synchronization

/// Numbers for keys that are added in a run, and how far they are all there.
package final class InsertedKeys: Sendable {
  /// So many can be added in a run.
  package static let countMax: UInt64 = 1 << 26

  private struct State {
    var next: UInt64
    var end: UInt64
    /// Those that are done behind one that is not.
    var done: Set<UInt64> = []
  }

  private let state: Mutex<State>
  private let keysMax: UInt64
  /// Keys from 0 on that are all there.
  private let contiguous: Atomic<UInt64>

  /// - Parameter keys: how many there are already.
  package init(keys: UInt64, countMax: UInt64 = InsertedKeys.countMax) {
    state = Mutex(State(next: keys, end: keys))
    keysMax = keys + countMax
    contiguous = Atomic(keys)
  }

  package var present: UInt64 { contiguous.load(ordering: .relaxed) }

  /// - Returns: the number of a key that is to be added; nil when there are too many.
  package func take() -> UInt64? {
    state.withLock { state in
      guard state.next < keysMax else { return nil }
      defer { state.next += 1 }
      return state.next
    }
  }

  /// The key has been added, or its request has failed: others do not wait for it.
  package func finish(_ key: UInt64) {
    state.withLock { state in
      state.done.insert(key)
      while state.done.remove(state.end) != nil { state.end += 1 }
      contiguous.store(state.end, ordering: .relaxed)
    }
  }
}

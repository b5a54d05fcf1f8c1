import Synchronization

/// Somebody who waits for a sequence number to be applied.
public protocol AppliedListener: AnyObject, Sendable {
  /// It may be. Called on the committer's thread: hand over, and return.
  func numberApplied()
}

/// Wakes those who wait for a sequence number to be applied; or, for signals of their own, to have come
/// as far in another way. A commit that nobody waits for pays a fence and a relaxed load.
///
/// Whoever waits arms the signal and *then* looks at the applied number; the committer moves that
/// number and *then* looks who waits. With a fence on both sides one of them sees the other.
package final class AppliedSignal: Sendable {
  private struct Entry {
    let listener: any AppliedListener
    let sequence: UInt64
  }

  private let entries = Mutex<[Entry]>([])
  /// The lowest number that somebody waits for; `.max` when nobody does.
  private let lowest = Atomic<UInt64>(.max)

  package init() {}

  /// Has the listener called, once, when that number is applied. It waits for one number at a time:
  /// this takes the place of an earlier one.
  ///
  /// The caller looks at the applied number afterwards: it may have moved before.
  package func arm(_ listener: any AppliedListener, at sequence: UInt64) {
    change { entries in
      entries.removeAll { $0.listener === listener }
      entries.append(Entry(listener: listener, sequence: sequence))
    }
    atomicMemoryFence(ordering: .sequentiallyConsistent)
  }

  /// The listener waits no more. It may be being called.
  package func disarm(_ listener: any AppliedListener) {
    change { entries in entries.removeAll { $0.listener === listener } }
  }

  /// The applied number has become that. On the thread that moved it.
  package func fire(_ sequence: UInt64) {
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    guard lowest.load(ordering: .relaxed) <= sequence else { return }
    var due: [Entry] = []
    change { entries in
      due = entries.filter { $0.sequence <= sequence }
      entries.removeAll { $0.sequence <= sequence }
    }
    for entry in due { entry.listener.numberApplied() }
  }

  private func change(_ body: (inout [Entry]) -> Void) {
    entries.withLock { entries in
      body(&entries)
      lowest.store(entries.map(\.sequence).min() ?? .max, ordering: .relaxed)
    }
  }
}

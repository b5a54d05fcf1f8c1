import Synchronization

/// What an index knows of time: how far its log's is, and when which keys have to go.
///
/// The queues are the writing thread's own; where an index is filled by several threads, each has
/// stripes of its own. `@unchecked Sendable`: that, and the rest is atomic.
final class ExpirySchedule: @unchecked Sendable {
  private let queues: UnsafeMutablePointer<ExpiryQueue>
  private let stripeCount: Int
  /// The highest time of a frame that was applied, milliseconds since 1970.
  let frameTime = Atomic<UInt64>(0)
  /// No key expires before. `KeyState.never` as long as none expires at all.
  private let earliestExpiry = Atomic(KeyState.never)
  /// Keys that have an expiry.
  let expiringCount = Atomic(0)
  let expiredCount = Atomic(0)

  init(stripeCount: Int) {
    self.stripeCount = stripeCount
    queues = .allocate(capacity: stripeCount)
    queues.initialize(repeating: ExpiryQueue(), count: stripeCount)
  }

  deinit {
    queues.deinitialize(count: stripeCount)
    queues.deallocate()
  }

  var earliest: UInt64 { earliestExpiry.load(ordering: .relaxed) }

  subscript(stripe: Int) -> ExpiryQueue {
    _read { yield queues[stripe] }
    _modify { yield &queues[stripe] }
  }

  func push(_ item: ExpiryQueue.Item, stripe: Int) {
    queues[stripe].push(item)
    // Not `Atomic.min`: Swift 6.3.1 takes the numbers for signed ones, and -1 is `never`.
    var known = earliest
    while item.expiry < known {
      let result = earliestExpiry.weakCompareExchange(
        expected: known, desired: item.expiry, ordering: .relaxed)
      if result.exchanged { break }
      known = result.original
    }
  }

  /// Looks for the earliest again, after some were taken.
  func findEarliest() {
    var earliest = KeyState.never
    for stripe in 0..<stripeCount {
      if let first = queues[stripe].first { earliest = min(earliest, first.expiry) }
    }
    earliestExpiry.store(earliest, ordering: .relaxed)
  }
}

import Engine
import NIOCore

/// What an event loop has waiting for sequence numbers to be applied: reads that must not be older,
/// and feeds that are up to date. One wake-up serves all of them.
///
/// `@unchecked Sendable`: everything but `numberApplied` is touched on the event loop only.
final class VersionWaiters: AppliedListener, @unchecked Sendable {
  typealias ID = Int

  private struct Waiter {
    let version: UInt64
    /// Called once: with true when the version is applied.
    let action: (Bool) -> Void
  }

  private let eventLoop: any EventLoop
  private let feed: LogFeed
  private var waiters: [ID: Waiter] = [:]
  private var lastID = 0
  /// The version that the feed is to wake this loop for; nil when it is not.
  private var armed: UInt64?
  private var isLooking = false

  init(eventLoop: any EventLoop, feed: LogFeed) {
    self.eventLoop = eventLoop
    self.feed = feed
  }

  /// Calls `action` with true when that version is applied, in a later turn of the loop; or, when it
  /// is given up by `expire`, with false.
  func add(_ version: UInt64, _ action: @escaping (Bool) -> Void) -> ID {
    lastID += 1
    waiters[lastID] = Waiter(version: version, action: action)
    if !isLooking { arm() }
    return lastID
  }

  /// Forgets a waiter, if it is still there, without a call.
  func remove(_ id: ID) { waiters[id] = nil }

  func expire(_ id: ID) { waiters.removeValue(forKey: id)?.action(false) }

  /// Gives up everything, when the loop ends.
  func stop() {
    waiters = [:]
    feed.disarm(self)
  }

  func numberApplied() {
    eventLoop.execute { self.look() }
  }

  private func look() {
    armed = nil
    isLooking = true
    let applied = feed.appliedSequence
    for id in waiters.filter({ $0.value.version <= applied }).keys.sorted() {
      waiters.removeValue(forKey: id)?.action(true)
    }
    isLooking = false
    arm()
  }

  private func arm() {
    guard let lowest = waiters.values.lazy.map(\.version).min() else { return }
    if let armed, armed <= lowest { return }
    armed = lowest
    feed.arm(self, at: lowest)
    // It may have come to that before.
    if feed.appliedSequence >= lowest { numberApplied() }
  }
}

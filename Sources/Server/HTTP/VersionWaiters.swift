import Engine
import NIOCore

/// What an event loop has waiting for sequence numbers to be applied, or confirmed: reads that must not be
/// older, or must not show too much, and feeds that are up to date. One wake-up serves all of them.
///
/// `@unchecked Sendable`: everything but `numberApplied` is touched on the event loop only.
final class VersionWaiters: AppliedListener, @unchecked Sendable {
  typealias ID = Int

  private struct Waiter {
    let version: UInt64
    /// Called once: with true when the version is reached.
    let action: (Bool) -> Void
  }

  private let eventLoop: any EventLoop
  /// How far it is.
  private let reached: () -> UInt64
  private let signal: AppliedSignal
  private var waiters: [ID: Waiter] = [:]
  private var lastID = 0
  /// The version that the signal is to wake this loop for; nil when it is not.
  private var armed: UInt64?
  private var isLooking = false

  /// - Parameters:
  ///   - signal: fires when a number moves that is waited for.
  ///   - reached: that number.
  init(
    eventLoop: any EventLoop, signal: AppliedSignal, reached: @escaping () -> UInt64
  ) {
    self.eventLoop = eventLoop
    self.signal = signal
    self.reached = reached
  }

  /// Calls `action` with true when that version is reached, in a later turn of the loop; or, when it
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
    signal.disarm(self)
  }

  func numberApplied() {
    eventLoop.execute { self.look() }
  }

  private func look() {
    armed = nil
    isLooking = true
    let reached = reached()
    for id in waiters.filter({ $0.value.version <= reached }).keys.sorted() {
      waiters.removeValue(forKey: id)?.action(true)
    }
    isLooking = false
    arm()
  }

  private func arm() {
    guard let lowest = waiters.values.lazy.map(\.version).min() else { return }
    if let armed, armed <= lowest { return }
    armed = lowest
    signal.arm(self, at: lowest)
    // It may have come to that before.
    if reached() >= lowest { numberApplied() }
  }
}

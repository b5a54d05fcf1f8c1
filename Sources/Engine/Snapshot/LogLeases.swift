import Synchronization
import WAL

/// Who needs a snapshot and the log behind it for a while: a copy that is being made of them.
package final class LogLeases: Sendable {
  private struct Lease {
    /// The log behind here is needed.
    var sequence: UInt64
    var snapshot: String?
    /// On the monotonic clock.
    var endNanoseconds: UInt64
  }

  /// More names than that are not taken.
  static let countMax = 1_024
  private let leases = Mutex<[String: Lease]>([:])
  private let followersNeed = Mutex<@Sendable () -> UInt64?>({ nil })
  private let clock: LogClock

  init(clock: LogClock) { self.clock = clock }

  /// Holds the log behind `sequence`, and a snapshot, for somebody, for so long; in place of what they
  /// held.
  ///
  /// - Returns: false when too many hold something already.
  package func take(
    _ name: String, sequence: UInt64, snapshot: String?, seconds: UInt64
  ) -> Bool {
    let now = clock.monotonicNanoseconds()
    let (duration, isTooLong) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    let (end, isTooLate) = now.addingReportingOverflow(duration)
    return leases.withLock { leases in
      Self.end(&leases, now)
      guard leases[name] != nil || leases.count < Self.countMax else { return false }
      leases[name] = Lease(
        sequence: sequence, snapshot: snapshot, endNanoseconds: isTooLong || isTooLate ? .max : end)
      return true
    }
  }

  package func release(_ name: String) {
    leases.withLock { _ = $0.removeValue(forKey: name) }
  }

  /// - Parameter need: the sequence number behind which those who follow the log need it; nil when
  ///   there are none. Called on any thread, without a lock of the leases.
  package func setFollowers(need: @escaping @Sendable () -> UInt64?) {
    followersNeed.withLock { $0 = need }
  }

  private static func end(_ leases: inout [String: Lease], _ now: UInt64) {
    if leases.contains(where: { $0.value.endNanoseconds <= now }) {
      leases = leases.filter { $0.value.endNanoseconds > now }
    }
  }

  /// The least sequence number behind which a follower needs the log; nil where none does.
  var followed: UInt64? { followersNeed.withLock { $0 }() }

  /// The least sequence number behind which somebody needs the log; nil when nobody does.
  var least: UInt64? {
    let now = clock.monotonicNanoseconds()
    let held = leases.withLock { leases in
      Self.end(&leases, now)
      return leases.values.map(\.sequence).min()
    }
    let need = followersNeed.withLock { $0 }
    guard let followed = need() else { return held }
    return min(held ?? .max, followed)
  }

  /// The path of the snapshot that is held for somebody.
  package func snapshot(heldFor name: String) -> String? {
    let now = clock.monotonicNanoseconds()
    return leases.withLock { leases in
      leases[name].flatMap { $0.endNanoseconds > now ? $0.snapshot : nil }
    }
  }

  func holds(snapshot path: String) -> Bool {
    let now = clock.monotonicNanoseconds()
    return leases.withLock { leases in
      leases.values.contains { $0.snapshot == path && $0.endNanoseconds > now }
    }
  }
}

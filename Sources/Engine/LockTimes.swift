/// For how long locks were held that readers may wait for.
package struct LockTimes: Sendable {
  package private(set) var count = 0
  package private(set) var sum = Duration.zero
  package private(set) var longest = Duration.zero

  package init() {}

  /// - Parameter start: when the lock was taken.
  mutating func add(since start: ContinuousClock.Instant) {
    let held = ContinuousClock.now - start
    count += 1
    sum += held
    longest = max(longest, held)
  }
}

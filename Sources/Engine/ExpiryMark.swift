import WAL

/// When a quiet log gets a mark for what has expired, since only the time of a frame removes it.
///
/// A log that is written to needs none, and one that nothing expires in gets none.
struct ExpiryMark {
  /// No two marks are closer.
  static let intervalNanoseconds: UInt64 = 1_000_000_000
  /// The wall clock is looked at again after that long at most: it can be set.
  static let lookMilliseconds: UInt64 = 60_000

  /// No mark before that, on the monotonic clock.
  private var earliest: UInt64 = 0

  /// Whether a mark is due now. Counts it as written.
  ///
  /// - Parameter merged: the state that the index is of, in a leaderless shard.
  mutating func isDue(_ index: Index, _ clock: LogClock, _ merged: MergedState? = nil) -> Bool {
    guard index.earliestExpiry != KeyState.never || merged?.earliestExpiry != nil else {
      return false
    }
    let now = clock.monotonicNanoseconds()
    let wall = clock.wallMilliseconds()
    guard now >= earliest, merged?.hasExpired(at: wall) ?? index.hasExpired(at: wall) else {
      return false
    }
    earliest = now + Self.intervalNanoseconds
    return true
  }

  /// When to ask again, on the monotonic clock; nil when only a write changes that.
  func time(_ index: Index, _ clock: LogClock, _ merged: MergedState? = nil) -> UInt64? {
    let expiry = min(index.earliestExpiry, merged?.earliestExpiry ?? KeyState.never)
    guard expiry != KeyState.never else { return nil }
    let now = clock.wallMilliseconds()
    let wait = expiry > now ? min(expiry - now, Self.lookMilliseconds) : 0
    return max(earliest, clock.monotonicNanoseconds() + wait * 1_000_000)
  }
}

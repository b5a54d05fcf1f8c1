import WAL

/// Expiry: when keys go.
///
/// Clocks differ, and go back; so no clock ever removes a key. A node's own clock only hides it. What
/// removes it is the time in the frames of the log, T, the highest of those that were applied: behind
/// the records of a frame every key goes whose expiry is not after T. Whoever has applied the same
/// frames, a replay or a replica, has therefore the same keys.
extension Index {
  /// Keys whose removal holds a stripe's lock at a time.
  private static let keysPerLock = 64

  /// T: the highest time of a frame that was applied, milliseconds since 1970.
  public var frameTime: UInt64 { schedule.frameTime.load(ordering: .relaxed) }

  /// Keys that have an expiry, those that are hidden already included.
  public var expiringCount: Int { schedule.expiringCount.load(ordering: .relaxed) }

  /// Keys that have expired and were removed since the start, those of a replay not counted.
  public var expiredCount: Int { schedule.expiredCount.load(ordering: .relaxed) }

  package func countExpired(_ keys: Int) {
    if keys > 0 { schedule.expiredCount.add(keys, ordering: .relaxed) }
  }

  /// No key expires before that; `KeyState.never` when none does. Another value of the key may have
  /// taken its place by now.
  package var earliestExpiry: UInt64 { schedule.earliest }

  /// Bytes of what is queued to expire: a part of `memoryBytes`.
  package var expiryQueueBytes: Int {
    (0..<Self.stripeCount).reduce(0) { $0 + schedule[$1].bytes }
  }

  // MARK: - Writing; one thread

  /// Ends a frame, all of whose records have been applied: removes what has expired at T.
  ///
  /// Also what says where T is when an index was filled from elsewhere, before more is applied.
  ///
  /// - Parameter time: the time in the frame's header. T does not go back when that is earlier.
  /// - Returns: how many keys it removed.
  @inline(__always)
  @discardableResult
  package func endFrame(time: UInt64) -> Int {
    let now = max(time, frameTime)
    schedule.frameTime.store(now, ordering: .relaxed)
    return schedule.earliest <= now ? removeExpired(at: now) : 0
  }

  private func removeExpired(at time: UInt64) -> Int {
    var removed = 0
    for number in 0..<Self.stripeCount {
      while let first = schedule[number].first, first.expiry <= time {
        removed += removeExpired(at: time, stripe: number)
      }
    }
    schedule.findEarliest()
    return removed
  }

  /// Removes some of them.
  private func removeExpired(at time: UInt64, stripe number: Int) -> Int {
    var large: [LargeValue] = []
    var tracked = KeyRun()
    var items = 0
    let removed = change(stripe: number) { stripe in
      let isTracking = directory.isTracking
      var removed = 0
      while items < Self.keysPerLock {
        guard let first = schedule[number].first, first.expiry <= time else { break }
        let item = schedule[number].popFirst()
        // What has expired is gone by the number that gave it its time.
        noteRemoval(item.version, stripe: number)
        items += 1
        var old: LargeValue?
        if stripe.remove(
          version: item.version, slotHash: item.slotHash, hasher: hasher, removed: &old,
          willRemove: { if isTracking { tracked.append($0) } })
        {
          removed += 1
        }
        // Freed when the lock is not held.
        if let old { large.append(old) }
      }
      return removed
    }
    countQueued(-items * ExpiryQueue.itemBytes)
    directory.remove(tracked)
    return removed
  }

  /// Whether a key has an expiry that is not after that time. Drops stale items on the way.
  package func hasExpired(at time: UInt64) -> Bool {
    guard earliestExpiry <= time else { return false }
    defer { schedule.findEarliest() }
    for number in 0..<Self.stripeCount {
      while let first = schedule[number].first, first.expiry <= time {
        if isLive(first, stripe: number) { return true }
        schedule[number].popFirst()
        countQueued(-ExpiryQueue.itemBytes)
      }
    }
    return false
  }

  func queue(_ item: ExpiryQueue.Item, stripe number: Int) {
    schedule.push(item, stripe: number)
    countQueued(ExpiryQueue.itemBytes)
  }

  /// Drops stale items where there are more of them than keys that expire.
  func dropStale(stripe number: Int, live: Int) {
    guard schedule[number].isStale(live: live) else { return }
    let before = schedule[number].bytes
    schedule[number].removeAll { live == 0 || !isLive($0, stripe: number) }
    countQueued(schedule[number].bytes - before)
  }
}

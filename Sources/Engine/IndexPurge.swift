import Sharding
import WAL

/// Purges: what belongs to other shards goes, and whoever reads does not notice.
///
/// A stripe whose keys are all foreign, as their hashes' common bits say, is exchanged for an empty one
/// and freed behind its lock; one whose keys are all to stay is not touched. Where both are in one, the
/// lock is held for a few hundred keys at a time.
extension Index {
  /// Slots of a table that are looked at with the lock held once.
  private static let slotsPerLock = 512
  /// Chunks of memory that are emptied with the lock held once.
  private static let chunksPerLock = 2
  /// Keys that the order of keys is told of at once.
  private static let keysPerRun = 1_024

  // MARK: - Looking; any thread

  /// What there is of each shard, of those that there is anything of. Keys that come and go meanwhile
  /// may be counted or not.
  ///
  /// - Parameter count: the number of shards, by this index's hash.
  public func contents(ofShards count: UInt32) -> [UInt32: ShardContent] {
    var contents: [UInt32: ShardContent] = [:]
    for number in 0..<Self.stripeCount {
      let (whole, shard) = look(stripe: number) { stripe in
        (
          ShardContent(
            keys: stripe.count, digest: stripe.digest, highestVersion: stripe.highestVersion),
          stripe.count > 0 ? stripe.common.shard(of: count) : nil
        )
      }
      guard whole.keys > 0 else { continue }
      if let shard {
        contents[shard, default: ShardContent()].add(whole)
        continue
      }
      forEachVersion(inStripe: number) { hash, version in
        var one = ShardContent(keys: 1, digest: Digest(), highestVersion: version)
        one.digest.add(KeyHash(shard: hash, slot: 0), version: version)
        contents[UInt32(hash % UInt64(count)), default: ShardContent()].add(one)
      }
    }
    return contents
  }

  /// Whether a key of another shard has been written behind that number.
  func hasForeign(to range: ShardRange, above sequence: UInt64) -> Bool {
    for number in 0..<Self.stripeCount {
      let isToBeSearched = look(stripe: number) { stripe in
        stripe.count > 0 && stripe.highestVersion > sequence
          && stripe.common.shard(of: range.count) != range.index
      }
      guard isToBeSearched else { continue }
      var isFound = false
      forEachVersion(inStripe: number) { hash, version in
        if version > sequence, !range.contains(hash) { isFound = true }
      }
      if isFound { return true }
    }
    return false
  }

  /// Calls `body` with the shard hash and version of each key of a stripe, a few with the lock held.
  private func forEachVersion(
    inStripe number: Int, _ body: (_ hash: UInt64, _ version: UInt64) -> Void
  ) {
    var next: UInt64? = 0
    while let start = next {
      next = look(stripe: number) { stripe in
        stripe.forEachEntry(from: start, slots: Self.slotsPerLock) {
          body(hasher.kind($0.key), $0.version)
        }
      }
    }
  }

  // MARK: - Writing; one thread

  /// Removes the keys that do not belong to that shard by that hash, which need not be this index's:
  /// what a purge in the log does must not depend on how the log is read.
  ///
  /// - Returns: how many.
  package func purge(keeping range: ShardRange, by hash: ShardHash) -> Int {
    var locks = LockTimes()
    return purge(keeping: range, by: hash, locks: &locks)
  }

  /// The same, and says for how long it has kept readers out.
  package func purge(
    keeping range: ShardRange, by hash: ShardHash, locks: inout LockTimes
  ) -> Int {
    guard range.count > 1 else { return 0 }
    let isOwn = hash == hasher.kind
    var removed = 0
    for number in 0..<Self.stripeCount {
      let (count, common) = look(stripe: number) { ($0.count, $0.common) }
      if count == 0 || isOwn && common.shard(of: range.count) == range.index { continue }
      if isOwn, common.excludes(range) {
        removed += drop(stripe: number, &locks)
      } else {
        removed += purge(stripe: number, keeping: range, by: isOwn ? nil : hash, &locks)
      }
    }
    return removed
  }

  /// Removes all keys of a stripe.
  private func drop(stripe number: Int, _ locks: inout LockTimes) -> Int {
    var dropped = Stripe(bytesMax: stripeBytesMax)
    change(stripe: number) { stripe in
      let start = ContinuousClock.now
      swap(&stripe, &dropped)
      locks.add(since: start)
    }
    if directory.isTracking {
      var run = KeyRun()
      dropped.forEach { entry in
        run.append(entry.key)
        guard run.count == Self.keysPerRun else { return }
        directory.remove(run)
        run.removeAll()
      }
      directory.remove(run)
    }
    // Freed at the end, with no lock held.
    return dropped.count
  }

  /// - Parameter hash: nil for the index's own.
  private func purge(
    stripe number: Int, keeping range: ShardRange, by hash: ShardHash?, _ locks: inout LockTimes
  ) -> Int {
    var removed = 0
    var tracked = KeyRun()
    var next: UInt64? = 0
    while let start = next {
      // Freed when the lock is not held.
      var large: [LargeValue] = []
      next = change(stripe: number) { stripe in
        let time = ContinuousClock.now
        defer { locks.add(since: time) }
        let before = stripe.count
        defer { removed += before - stripe.count }
        let isTracking = directory.isTracking
        let next = stripe.remove(
          from: start, slots: Self.slotsPerLock, hasher: hasher, removed: &large
        ) { key, shard in
          let isForeign = !range.contains(hash?(key) ?? shard)
          if isForeign, isTracking { tracked.append(key) }
          return isForeign
        }
        stripe.cleanSome(hasher, chunks: Self.chunksPerLock)
        return next
      }
      directory.remove(tracked)
      tracked.removeAll()
    }
    clean(stripe: number, &locks)
    change(stripe: number) { stripe in
      let time = ContinuousClock.now
      stripe.endRemoval(keeping: hash == nil ? range : nil)
      locks.add(since: time)
    }
    return removed
  }

  /// Gives the memory of a stripe back that is mostly dead.
  private func clean(stripe number: Int, _ locks: inout LockTimes) {
    while look(stripe: number, { $0.needsCleaning }) {
      change(stripe: number) { stripe in
        let time = ContinuousClock.now
        stripe.cleanSome(hasher, chunks: Self.chunksPerLock)
        locks.add(since: time)
      }
    }
  }
}

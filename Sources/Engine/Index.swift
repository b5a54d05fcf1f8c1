import Sharding
import Synchronization
import WAL

/// The keys of one shard, their values and versions, in memory.
///
/// Keys are ordered by the bit-reversed low bits of their shard hash, and the bits above the shard's
/// own say which of 256 stripes a key is in: shard i of 2^k is a contiguous range of the order, and
/// when the shards are doubled each half has whole stripes. So an index whose keys are to be purged is
/// made for the number of shards that they are still of.
///
/// Readers on any thread take a stripe's lock for as long as they copy. One thread writes.
/// `@unchecked Sendable`: the stripes are made in `init` and freed in `deinit`, and what is in them
/// is behind their locks.
public final class Index: @unchecked Sendable {
  public static let stripeCount = 256

  private struct LockedStripe: ~Copyable {
    let lock = Mutex(())
    /// Changed by one thread, with the lock held. That one may look at it without.
    var stripe: Stripe
    /// The highest number by which a key of it went.
    let removal = Atomic<UInt64>(0)

    init(bytesMax: Int) { stripe = Stripe(bytesMax: bytesMax) }
  }

  private let stripes: UnsafeMutablePointer<LockedStripe>
  /// Where a stripe counts as full.
  let stripeBytesMax: Int
  public let hasher: KeyHasher
  /// The bits of the shard hash that are the same in all keys of this shard.
  private let shardBits: UInt64
  private let keyCount = Atomic(0)
  private let memory: Atomic<Int>
  private let fullStripes = Atomic(0)
  private let applied = Atomic<UInt64>(0)
  /// Whether something has been changed since a number was applied: the state is between two.
  private let isBetween = Atomic(false)
  let schedule = ExpirySchedule(stripeCount: stripeCount)
  /// So many the tables were made for, when somebody said how many there would be. The writer's.
  private var reservedKeys = 0
  /// The keys in order; empty until somebody lists them.
  public let directory = KeyDirectory()

  /// - Parameter shardCount: the number of shards. Unless it is a power of two the order is that of
  ///   its largest power of two that divides it.
  public convenience init(hash: ShardHash = .fnv1, shardCount: UInt32 = 1) {
    self.init(hasher: KeyHasher(hash), shardCount: shardCount)
  }

  /// - Parameter stripeBytesMax: where a stripe counts as full.
  package init(hasher: KeyHasher, shardCount: UInt32, stripeBytesMax: Int = 28 << 30) {
    self.hasher = hasher
    self.stripeBytesMax = stripeBytesMax
    shardBits = UInt64(shardCount.trailingZeroBitCount)
    stripes = .allocate(capacity: Self.stripeCount)
    for index in 0..<Self.stripeCount {
      (stripes + index).initialize(to: LockedStripe(bytesMax: stripeBytesMax))
    }
    memory = Atomic(Self.stripeCount * Stripe(bytesMax: stripeBytesMax).memoryBytes)
  }

  deinit {
    stripes.deinitialize(count: Self.stripeCount)
    stripes.deallocate()
  }

  @inline(__always)
  private func withStripe<R>(_ number: Int, _ body: (borrowing Stripe) -> R) -> R {
    let place = stripes + number
    return place.pointee.lock.withLock { _ in body(place.pointee.stripe) }
  }

  /// The same for the thread that writes.
  @inline(__always)
  private func withChangingStripe<R>(_ number: Int, _ body: (inout Stripe) -> R) -> R {
    let place = stripes + number
    return place.pointee.lock.withLock { _ in body(&place.pointee.stripe) }
  }

  /// The stripe of a key: the eight bits above the shard's, reversed.
  @inline(__always)
  package func stripeNumber(_ hash: KeyHash) -> Int {
    Int(UInt8(truncatingIfNeeded: hash.shard >> shardBits).bitReversed)
  }

  /// The number of keys.
  public var count: Int { keyCount.load(ordering: .relaxed) }
  /// Bytes that keys and values take, and what it takes to find them; not what cleaning has yet to
  /// give back.
  public var memoryBytes: Int { memory.load(ordering: .relaxed) }

  /// The memory that the stripes hold, that of large values not counted; more than `memoryBytes`
  /// says of it by what cleaning has yet to give back.
  package var heldBytes: Int {
    (0..<Self.stripeCount).reduce(0) { sum, index in
      sum + withStripe(index) { $0.heldBytes } + schedule[index].heldBytes
    }
  }

  /// The last sequence number whose record has been applied.
  public var appliedSequence: UInt64 { applied.load(ordering: .acquiring) }

  package func setApplied(_ sequence: UInt64) {
    applied.store(sequence, ordering: .releasing)
    isBetween.store(false, ordering: .releasing)
  }

  /// True when a stripe holds so much (28 GiB) that nothing more should be added.
  public var hasFullStripe: Bool { fullStripes.load(ordering: .relaxed) > 0 }

  // MARK: - Reading

  /// A key's value, valid as long as `body` runs.
  public struct View {
    public let version: UInt64
    public let expiryMilliseconds: UInt64?
    public let value: UnsafeRawBufferPointer
    /// The same value where it can be kept: for those that are too large to copy here.
    public let large: LargeValue?
  }

  /// Calls `body` with what the key has, under the stripe's lock: copy, and leave.
  ///
  /// - Returns: false when there is no such key.
  public func read(
    _ key: UnsafeRawBufferPointer, _ hash: KeyHash, _ body: (View) -> Void
  ) -> Bool {
    withStripe(stripeNumber(hash)) { stripe in
      guard let entry = stripe.entry(key, hash) else { return false }
      let large = entry.large
      body(
        View(
          version: entry.version, expiryMilliseconds: entry.expiryMilliseconds,
          value: large?.bytes ?? entry.value, large: large))
      return true
    }
  }

  /// What the absence of a key may rest on: the number of the last change that took a key from its stripe.
  /// To be asked behind the look at the key.
  public func lastRemoval(_ hash: KeyHash) -> UInt64 {
    stripes[stripeNumber(hash)].removal.load(ordering: .relaxed)
  }

  /// The same for any key.
  public var lastRemoval: UInt64 {
    (0..<Self.stripeCount).reduce(0) { max($0, stripes[$1].removal.load(ordering: .relaxed)) }
  }

  /// A key goes, by that number. Before it does: who sees that it is gone has taken the stripe's lock
  /// behind that.
  func noteRemoval(_ version: UInt64, stripe number: Int) {
    guard version > stripes[number].removal.load(ordering: .relaxed) else { return }
    stripes[number].removal.store(version, ordering: .relaxed)
  }

  /// The key's version; nil when there is no such key.
  public func version(_ key: UnsafeRawBufferPointer, _ hash: KeyHash) -> UInt64? {
    state(key, hash)?.version
  }

  /// What the key has, hidden or not; nil when there is no such key.
  package func state(_ key: UnsafeRawBufferPointer, _ hash: KeyHash) -> KeyState? {
    withStripe(stripeNumber(hash)) { stripe in
      stripe.entry(key, hash).map {
        KeyState(version: $0.version, expiry: $0.expiryMilliseconds)
      }
    }
  }

  /// Whether the key that the item names has still that version.
  func isLive(_ item: ExpiryQueue.Item, stripe number: Int) -> Bool {
    withStripe(number) { $0.has(version: item.version, slotHash: item.slotHash) }
  }

  /// The digest of each stripe.
  public func digests() -> [Digest] {
    (0..<Self.stripeCount).map { index in withStripe(index) { $0.digest } }
  }

  /// The sum of the digests. At rest, or from the thread that writes, that of one state.
  public func digest() -> Digest {
    var sum = Digest()
    for index in 0..<Self.stripeCount { sum.add(withStripe(index) { $0.digest }) }
    return sum
  }

  /// The sum of the digests, and the sequence number that it is of, from any thread; nil where the
  /// writer was always at work.
  ///
  /// Whoever sees a stripe that was changed behind a number sees, after that, either the mark that was
  /// set before the change or the next number that was set behind it.
  package func appliedDigest() -> (digest: Digest, sequence: UInt64)? {
    for _ in 0..<4 {
      let sequence = appliedSequence
      let sum = digest()
      if !isBetween.load(ordering: .acquiring), appliedSequence == sequence {
        return (sum, sequence)
      }
    }
    return nil
  }

  /// Calls `body` with every key and what it has, a stripe at a time under its lock.
  package func forEach(_ body: (UnsafeRawBufferPointer, View) -> Void) {
    for number in 0..<Self.stripeCount { forEach(inStripe: number, body) }
  }

  /// The same for one stripe.
  package func forEach(inStripe number: Int, _ body: (UnsafeRawBufferPointer, View) -> Void) {
    withStripe(number) { stripe in
      stripe.forEach { entry in
        body(
          entry.key,
          View(
            version: entry.version, expiryMilliseconds: entry.expiryMilliseconds,
            value: entry.value, large: entry.large))
      }
    }
  }

  /// Copies keys of one stripe, under its lock: those whose slot hashes are next, of about that many
  /// slots of its table. Each key is met once from 0 to the end, whatever happens to others between
  /// the calls.
  ///
  /// - Parameter start: a slot hash.
  /// - Returns: where the next call begins; nil behind the last.
  package func copyKeys(
    ofStripe number: Int, from start: UInt64, slots: Int, into run: inout KeyRun
  ) -> UInt64? {
    withStripe(number) { stripe in
      stripe.forEachEntry(from: start, slots: slots) { run.append($0.key) }
    }
  }

  /// Calls `body` with a stripe, under its lock, to look at it.
  func look<R>(stripe number: Int, _ body: (borrowing Stripe) -> R) -> R {
    withStripe(number) { body($0) }
  }

  /// Calls `body` while the writer can neither create nor remove the key.
  ///
  /// - Parameter body: told whether the index has the key.
  func whileUnchanged(_ key: UnsafeRawBufferPointer, _ body: (_ isPresent: Bool) -> Void) {
    let hash = hasher(key)
    withStripe(stripeNumber(hash)) { body($0.entry(key, hash) != nil) }
  }

  /// How many keys do not belong to that shard.
  ///
  /// - Precondition: the range is by a hash that there is.
  public func countForeign(to range: ShardRange) -> Int {
    guard range.count > 1 else { return 0 }
    let hash = ShardHash(rawValue: range.hash)!
    var foreign = 0
    forEach { key, _ in
      if !range.contains(hash(key)) { foreign += 1 }
    }
    return foreign
  }

  // MARK: - Writing; one thread

  /// How many changes in a row are prepared for at a time: as many misses as a processor has under way at once.
  static let preparedChangesMax = 16

  /// Has the processor fetch what changes of those keys touch. Where a table is larger than the caches, each
  /// change would wait for that, one behind the other.
  @inline(__always)
  func prepareChanges(_ count: Int, _ hash: (Int) -> KeyHash) {
    guard count > 1 else { return }
    for number in 0..<count {
      let hash = hash(number)
      stripes[stripeNumber(hash)].stripe.prefetchSlot(hash.slot)
    }
    for number in 0..<count {
      let hash = hash(number)
      stripes[stripeNumber(hash)].stripe.prefetchEntry(hash.slot)
    }
  }

  // A large value is copied before the stripe's lock is taken, and the one that it replaces is freed
  // behind it: either takes milliseconds, and readers of other keys need not wait for that.

  /// Gives the key a value.
  ///
  /// - Parameter now: when it is judged what was there before, milliseconds since 1970.
  /// - Returns: whether it had one before that was not hidden.
  package func put(
    _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, _ hash: KeyHash,
    version: UInt64, expiry: UInt64?, now: UInt64 = 0
  ) -> Bool {
    if let expiry {
      queue(
        ExpiryQueue.Item(expiry: expiry, version: version, slotHash: hash.slot),
        stripe: stripeNumber(hash))
    }
    let large = value.count > Entry.inlineValueBytesMax ? LargeValue(copying: value) : nil
    var old: LargeValue?
    var isNew = false
    let isReplaced = change(stripe: stripeNumber(hash)) { stripe in
      let before = stripe.count
      defer { isNew = stripe.count != before }
      return stripe.put(
        key, value, large, hash, version: version, expiry: expiry, now: now, hasher: hasher,
        replaced: &old)
    }
    if isNew, directory.isTracking { directory.insert(key) }
    return isReplaced
  }

  /// Makes room for that many keys in all, if there are fewer: between two commits. Somebody else says so, who may be
  /// wrong; so it is at most four times what there is already.
  package func reserve(total keys: Int) {
    guard keys > reservedKeys, 4 * count > 3 * reservedKeys else { return }
    reservedKeys = min(keys, 4 * count)
    reserve([Int](repeating: reservedKeys / Self.stripeCount, count: Self.stripeCount))
    // Nothing has changed that anybody sees.
    setApplied(appliedSequence)
  }

  /// Makes room for keys that come, so that tables do not grow again and again on the way.
  ///
  /// - Parameter keys: how many, of each stripe.
  func reserve(_ keys: [Int]) {
    for number in 0..<Self.stripeCount { change(stripe: number) { $0.reserve(keys[number]) } }
  }

  /// An entry that an index is filled with.
  struct Filling {
    var key: UnsafeRawBufferPointer
    var value: UnsafeRawBufferPointer
    var hash: KeyHash
    var version: UInt64
    var expiry: UInt64?
  }

  /// Puts entries of one stripe, under one lock, before anybody uses the index. Several threads may
  /// fill an index; one of them queues what has an expiry then.
  func fill(stripe number: Int, _ entries: some Sequence<Filling>) {
    change(stripe: number) { stripe in
      for entry in entries {
        let value = entry.value
        let large = value.count > Entry.inlineValueBytesMax ? LargeValue(copying: value) : nil
        var old: LargeValue?
        _ = stripe.put(
          entry.key, value, large, entry.hash, version: entry.version, expiry: entry.expiry,
          now: 0, hasher: hasher, replaced: &old)
      }
    }
  }

  /// - Parameter now: as in `put`.
  /// - Returns: whether there was such a key that was not hidden.
  package func remove(
    _ key: UnsafeRawBufferPointer, _ hash: KeyHash, now: UInt64 = 0
  ) -> Bool {
    var old: LargeValue?
    var isGone = false
    let isRemoved = change(stripe: stripeNumber(hash)) { stripe in
      let before = stripe.count
      defer { isGone = stripe.count != before }
      return stripe.remove(key, hash, now: now, hasher: hasher, removed: &old)
    }
    if isGone, directory.isTracking { directory.remove(key) }
    return isRemoved
  }

  @inline(__always)
  func change<R>(stripe number: Int, _ body: (inout Stripe) -> R) -> R {
    var countChange = 0
    var expiringBefore = 0
    var expiringAfter = 0
    var memoryChange = 0
    var fullChange = 0
    isBetween.store(true, ordering: .relaxed)
    let result = withChangingStripe(number) { stripe in
      countChange = -stripe.count
      expiringBefore = stripe.expiringCount
      memoryChange = -stripe.memoryBytes
      fullChange = stripe.isNearlyFull ? -1 : 0
      defer {
        countChange += stripe.count
        expiringAfter = stripe.expiringCount
        memoryChange += stripe.memoryBytes
        if stripe.isNearlyFull { fullChange += 1 }
      }
      return body(&stripe)
    }
    if countChange != 0 { keyCount.add(countChange, ordering: .relaxed) }
    if memoryChange != 0 { memory.add(memoryChange, ordering: .relaxed) }
    if fullChange != 0 { fullStripes.add(fullChange, ordering: .relaxed) }
    if expiringBefore | expiringAfter != 0 {
      if expiringBefore != expiringAfter {
        schedule.expiringCount.add(expiringAfter - expiringBefore, ordering: .relaxed)
      }
      dropStale(stripe: number, live: expiringAfter)
    }
    return result
  }

  /// Counts the bytes of what waits to expire.
  func countQueued(_ bytes: Int) {
    if bytes != 0 { memory.add(bytes, ordering: .relaxed) }
  }
}

extension UInt8 {
  var bitReversed: UInt8 {
    var x = self
    x = (x & 0xf0) >> 4 | (x & 0x0f) << 4
    x = (x & 0xcc) >> 2 | (x & 0x33) << 2
    return (x & 0xaa) >> 1 | (x & 0x55) << 1
  }
}

extension ShardRange {
  func contains(_ hash: UInt64) -> Bool { hash % UInt64(count) == UInt64(index) }
}

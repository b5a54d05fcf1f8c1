import CMemory
import WAL

/// A 256th of the keys: an open-addressing table of references into an arena.
///
/// Linear probing, at most four fifths full, deletion by shifting back (Knuth, The Art of Computer
/// Programming 3, 6.4, algorithm R). A slot is 8 bytes: the upper half the key's slot hash, whose top
/// bits are its home, the lower half a reference; 0 is empty. So neither probing past other keys nor
/// growing touches an entry. A table has four sizes between two powers of two, so that it is never less
/// than 64 % full when it has grown; homes are in the order of the hashes.
///
/// `@unchecked Sendable`: it owns its memory. In the index one thread changes it, under its lock, and others look at
/// it under that.
struct Stripe: ~Copyable, @unchecked Sendable {
  private var slots: UnsafeMutablePointer<UInt64>
  /// How many slots there are, as a step of their growth.
  private var step = 0
  private var capacity: Int
  private var arena: Arena
  private(set) var count = 0
  /// Keys that have an expiry.
  private(set) var expiringCount = 0
  private(set) var digest = Digest()
  /// Of the keys' shard hashes.
  private(set) var common = CommonBits()
  /// No key has a higher version.
  private(set) var highestVersion: UInt64 = 0
  /// Bytes of the values that are kept outside the arena.
  private var outsideBytes = 0

  init(bytesMax: Int) {
    arena = Arena(bytesMax: bytesMax)
    capacity = Self.capacity(step: 0)
    slots = SlotMemory.allocate(capacity)
  }

  deinit {
    SlotMemory.deallocate(slots, capacity)
  }

  /// 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, …
  private static func capacity(step: Int) -> Int { (4 + step % 4) << (step / 4 + 1) }

  /// True when nothing more should be added.
  var isNearlyFull: Bool { arena.isNearlyFull }
  /// What keys and values take, and what it takes to find them.
  var memoryBytes: Int { arena.liveBytes + outsideBytes + 8 * capacity }

  /// What all that takes in fact, the values that are kept outside not counted.
  var heldBytes: Int { arena.heldBytes + 8 * capacity }

  @inline(__always)
  private func home(_ slotHash: UInt32) -> Int { Self.home(slotHash, in: capacity) }

  @inline(__always)
  private static func home(_ slotHash: UInt32, in capacity: Int) -> Int {
    Int(truncatingIfNeeded: (UInt64(slotHash) &* UInt64(truncatingIfNeeded: capacity)) &>> 32)
  }

  @inline(__always)
  private func next(_ slot: Int) -> Int { slot &+ 1 == capacity ? 0 : slot &+ 1 }

  /// How many slots forward one is from another.
  @inline(__always)
  private func distance(from start: Int, to end: Int) -> Int {
    end >= start ? end - start : end - start + capacity
  }

  /// The slot that has the key, or the empty one where the search for it ends.
  @inline(__always)
  private func find(_ key: UnsafeRawBufferPointer, _ slotHash: UInt32) -> Int {
    var slot = home(slotHash)
    while true {
      let content = slots[slot]
      if content == 0 { return slot }
      if UInt32(content >> 32) == slotHash,
        isEqual(arena.entry(UInt32(truncatingIfNeeded: content)).key, key)
      {
        return slot
      }
      slot = next(slot)
    }
  }

  /// The slot that has that reference.
  private func find(_ reference: UInt32, _ slotHash: UInt32) -> Int {
    let wanted = UInt64(slotHash) << 32 | UInt64(reference)
    var slot = home(slotHash)
    while slots[slot] != wanted { slot = next(slot) }
    return slot
  }

  @inline(__always)
  func entry(_ key: UnsafeRawBufferPointer, _ hash: KeyHash) -> Entry? {
    let content = slots[find(key, hash.slot)]
    return content == 0 ? nil : arena.entry(UInt32(truncatingIfNeeded: content))
  }

  /// Has the processor fetch the slot where the search for a key begins.
  @inline(__always)
  func prefetchSlot(_ slotHash: UInt32) { shiplog_memory_prefetch(slots + home(slotHash)) }

  /// Has it fetch the entry that a change of the key finds, or makes: behind `prefetchSlot`.
  @inline(__always)
  func prefetchEntry(_ slotHash: UInt32) {
    var slot = home(slotHash)
    while true {
      let content = slots[slot]
      if content == 0 { return arena.prefetchEnd() }
      if UInt32(content >> 32) == slotHash {
        return arena.prefetch(UInt32(truncatingIfNeeded: content))
      }
      slot = next(slot)
    }
  }

  /// Gives the key a value.
  ///
  /// - Parameters:
  ///   - large: the same value, if it is large.
  ///   - now: milliseconds since 1970; what the key had is hidden from its expiry on.
  ///   - replaced: the large value that the key had, to be freed when the lock is not held.
  /// - Returns: whether the key had one before that was not hidden.
  mutating func put(
    _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, _ large: LargeValue?,
    _ hash: KeyHash, version: UInt64, expiry: UInt64?, now: UInt64, hasher: KeyHasher,
    replaced: inout LargeValue?
  ) -> Bool {
    var isReplaced = false
    var slot = find(key, hash.slot)
    let bytes = Entry.bytes(key: key.count, value: value.count, hasExpiry: expiry != nil)
    let content = slots[slot]
    let target: Entry
    if content == 0 {
      if (count + 1) * 5 > 4 * capacity {
        resize(to: step + 1)
        slot = find(key, hash.slot)
      }
      target = allocate(bytes, slot, hash)
      count += 1
      common.add(hash.shard)
    } else {
      let old = UInt32(truncatingIfNeeded: content)
      let entry = arena.entry(old)
      digest.remove(hash, version: entry.version)
      outsideBytes -= Entry.outsideBytes(value: entry.valueCount)
      isReplaced = true
      if let old = entry.expiryMilliseconds {
        isReplaced = old > now
        expiringCount -= 1
      }
      if entry.bytes == bytes {
        replaced = entry.takeLarge()
        target = entry
      } else {
        replaced = arena.free(old)
        target = allocate(bytes, slot, hash)
      }
    }
    target.write(key: key, value: value, large: large, version: version, expiry: expiry)
    outsideBytes += Entry.outsideBytes(value: value.count)
    digest.add(hash, version: version)
    if version > highestVersion { highestVersion = version }
    if expiry != nil { expiringCount += 1 }
    clean(hasher)
    return isReplaced
  }

  /// Room for an entry, which that slot refers to from then on.
  @inline(__always)
  private mutating func allocate(_ bytes: Int, _ slot: Int, _ hash: KeyHash) -> Entry {
    let reference = arena.allocate(bytes)
    slots[slot] = UInt64(hash.slot) << 32 | UInt64(reference)
    return arena.entry(reference)
  }

  /// - Parameters:
  ///   - now: as in `put`.
  ///   - removed: the large value that the key had, to be freed when the lock is not held.
  /// - Returns: whether there was such a key that was not hidden.
  mutating func remove(
    _ key: UnsafeRawBufferPointer, _ hash: KeyHash, now: UInt64, hasher: KeyHasher,
    removed: inout LargeValue?
  ) -> Bool {
    let slot = find(key, hash.slot)
    guard slots[slot] != 0 else { return false }
    let entry = arena.entry(UInt32(truncatingIfNeeded: slots[slot]))
    let wasVisible = entry.expiryMilliseconds.map { $0 > now } ?? true
    removed = remove(at: slot, hash)
    shrink()
    clean(hasher)
    return wasVisible
  }

  /// The slot of the key that has that version, which no other key has.
  private func find(version: UInt64, _ slotHash: UInt32) -> Int? {
    var slot = home(slotHash)
    while true {
      let content = slots[slot]
      if content == 0 { return nil }
      if UInt32(content >> 32) == slotHash,
        arena.entry(UInt32(truncatingIfNeeded: content)).version == version
      {
        return slot
      }
      slot = next(slot)
    }
  }

  func has(version: UInt64, slotHash: UInt32) -> Bool { find(version: version, slotHash) != nil }

  /// Removes the key that has that version.
  ///
  /// - Parameter removed: as above.
  /// - Returns: false when there is none.
  mutating func remove(
    version: UInt64, slotHash: UInt32, hasher: KeyHasher, removed: inout LargeValue?,
    willRemove: (UnsafeRawBufferPointer) -> Void
  ) -> Bool {
    guard let slot = find(version: version, slotHash) else { return false }
    let key = arena.entry(UInt32(truncatingIfNeeded: slots[slot])).key
    willRemove(key)
    removed = remove(at: slot, KeyHash(shard: hasher.kind(key), slot: slotHash))
    shrink()
    clean(hasher)
    return true
  }

  private mutating func remove(at slot: Int, _ hash: KeyHash) -> LargeValue? {
    let reference = UInt32(truncatingIfNeeded: slots[slot])
    let entry = arena.entry(reference)
    digest.remove(hash, version: entry.version)
    outsideBytes -= Entry.outsideBytes(value: entry.valueCount)
    if entry.flags.contains(.expiry) { expiringCount -= 1 }
    let large = arena.free(reference)
    count -= 1
    if count == 0 {
      common = CommonBits()
      highestVersion = 0
    }
    // What follows the gap and was pushed past it moves into it.
    var gap = slot
    var later = slot
    while true {
      later = next(later)
      let content = slots[later]
      if content == 0 { break }
      if distance(from: home(UInt32(content >> 32)), to: later) >= distance(from: gap, to: later) {
        slots[gap] = content
        gap = later
      }
    }
    slots[gap] = 0
    return large
  }

  /// Calls `body` with every entry, in no order.
  func forEach(_ body: (Entry) -> Void) {
    for slot in 0..<capacity where slots[slot] != 0 {
      body(arena.entry(UInt32(truncatingIfNeeded: slots[slot])))
    }
  }

  /// Calls `body` with the entries whose slot hashes are at least `start`, for about that many slots. What
  /// the table does between two calls does not matter: a key's slot hash never changes, and the key
  /// is between its home and the next empty slot.
  ///
  /// - Returns: the slot hash from which on there are more slots; nil when there are none.
  func forEachEntry(
    from start: UInt64, slots slotCount: Int, _ body: (Entry) -> Void
  ) -> UInt64? {
    forEachSlot(from: start, slots: slotCount) {
      body(arena.entry(UInt32(truncatingIfNeeded: $0)))
    }
  }

  private func forEachSlot(
    from start: UInt64, slots slotCount: Int, _ body: (UInt64) -> Void
  ) -> UInt64? {
    let first = home(UInt32(start))
    let last = first + slotCount
    let isLast = last >= capacity
    // The least hash whose home is not before `last`.
    let end = isLast ? 1 << 32 : ((UInt64(last) << 32) + UInt64(capacity) - 1) / UInt64(capacity)
    var distance = 0
    while distance < capacity {
      let slot = first + distance
      let content = slots[slot < capacity ? slot : slot - capacity]
      if content == 0, distance >= slotCount || slot >= capacity { break }
      if content != 0, (start..<end).contains(content >> 32) { body(content) }
      distance += 1
    }
    return isLast ? nil : end
  }

  /// Removes those of the entries that `forEachEntry` calls its body with that meet a condition. The
  /// table stays as large as it is, and `cleanSome` may have work to do.
  ///
  /// - Parameters:
  ///   - condition: gets a key and its shard hash.
  ///   - removed: the keys' large values, to be freed when the lock is not held.
  /// - Returns: as `forEachEntry`.
  mutating func remove(
    from start: UInt64, slots slotCount: Int, hasher: KeyHasher, removed: inout [LargeValue],
    where condition: (UnsafeRawBufferPointer, _ shard: UInt64) -> Bool
  ) -> UInt64? {
    var looked: [UInt64] = []
    looked.reserveCapacity(slotCount)
    // All of them are somewhere else in memory.
    let next = forEachSlot(from: start, slots: slotCount) { content in
      arena.prefetch(UInt32(truncatingIfNeeded: content))
      looked.append(content)
    }
    var found: [(content: UInt64, shard: UInt64)] = []
    found.reserveCapacity(looked.count)
    for content in looked {
      let key = arena.entry(UInt32(truncatingIfNeeded: content)).key
      let shard = hasher.kind(key)
      if condition(key, shard) { found.append((content, shard)) }
    }
    for (content, shard) in found {
      let hash = KeyHash(shard: shard, slot: UInt32(content >> 32))
      let slot = find(UInt32(truncatingIfNeeded: content), hash.slot)
      if let large = remove(at: slot, hash) { removed.append(large) }
    }
    return next
  }

  /// Ends the removal of many keys.
  ///
  /// - Parameter range: all keys that are left are of it by this stripe's own hash; nil where that is
  ///   not known.
  mutating func endRemoval(keeping range: ShardRange?) {
    shrink()
    if let range, count > 0 { common.narrow(to: range) }
  }

  /// Gives memory back when less than an eighth of the table is used.
  private mutating func shrink() {
    guard step > 0, count * 8 < capacity else { return }
    var fitting = step
    while fitting > 0, count * 4 < Self.capacity(step: fitting) { fitting -= 1 }
    resize(to: fitting)
  }

  /// Makes the table as large as it would grow for that many keys.
  mutating func reserve(_ keys: Int) {
    var fitting = step
    while keys * 5 > 4 * Self.capacity(step: fitting) { fitting += 1 }
    if fitting > step { resize(to: fitting) }
  }

  private mutating func resize(to newStep: Int) {
    let old = slots
    let oldCount = capacity
    step = newStep
    capacity = Self.capacity(step: newStep)
    slots = SlotMemory.allocate(capacity)
    for index in 0..<oldCount where old[index] != 0 {
      var slot = home(UInt32(old[index] >> 32))
      while slots[slot] != 0 { slot = next(slot) }
      slots[slot] = old[index]
    }
    SlotMemory.deallocate(old, oldCount)
  }

  @inline(__always)
  private mutating func clean(_ hasher: KeyHasher) {
    guard arena.needsCleaning else { return }
    cleanSome(hasher, chunks: .max)
  }

  /// Whether `cleanSome` has work to do.
  var needsCleaning: Bool { arena.needsCleaning }

  /// Empties chunks of memory that are mostly dead, so many at most.
  mutating func cleanSome(_ hasher: KeyHasher, chunks: Int) {
    var moves: [(slotHash: UInt32, old: UInt32, new: UInt32)] = []
    let (slots, capacity) = (slots, capacity)
    arena.clean(chunks: chunks) { entry, old, new in
      let slotHash = hasher(entry.key).slot
      shiplog_memory_prefetch(slots + Self.home(slotHash, in: capacity))
      moves.append((slotHash, old, new))
    }
    for move in moves {
      slots[find(move.old, move.slotHash)] = UInt64(move.slotHash) << 32 | UInt64(move.new)
    }
  }
}

@inline(__always)
func isEqual(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
  guard a.count == b.count else { return false }
  var offset = 0
  while offset + 8 <= a.count {
    let x = a.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
    guard x == b.loadUnaligned(fromByteOffset: offset, as: UInt64.self) else { return false }
    offset += 8
  }
  while offset < a.count {
    guard a[offset] == b[offset] else { return false }
    offset += 1
  }
  return true
}

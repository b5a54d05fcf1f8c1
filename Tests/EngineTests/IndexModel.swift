import Engine
import Sharding
import WAL

/// What an index should hold, kept in the plainest way, and an index beside it.
struct IndexModel {
  struct Difference: Error, CustomStringConvertible {
    var description: String
  }

  let index: Index
  private let hash: ShardHash
  private let shardBits: Int
  private let emptyBytes: Int
  private(set) var entries: [[UInt8]: Found] = [:]
  private var version: UInt64 = 0
  private(set) var frameTime: UInt64 = 0

  init(_ hash: ShardHash = .fnv1, shardCount: UInt32 = 1, seed: UInt64 = 1) {
    index = Index(hasher: KeyHasher(hash, seed: seed), shardCount: shardCount)
    self.hash = hash
    shardBits = shardCount.trailingZeroBitCount
    emptyBytes = index.memoryBytes
  }

  mutating func put(_ key: [UInt8], _ value: [UInt8], expiry: UInt64? = nil) throws(Difference) {
    version += 1
    let found = Found(version: version, value: value, expiry: expiry)
    let isReplaced = entries.updateValue(found, forKey: key) != nil
    guard index.put(key, value, version: version, expiry: expiry) == isReplaced else {
      throw Difference(description: "put \(version): not \(isReplaced ? "replaced" : "created")")
    }
  }

  mutating func remove(_ key: [UInt8]) throws(Difference) {
    version += 1
    let wasThere = entries.removeValue(forKey: key) != nil
    guard index.remove(key) == wasThere else {
      throw Difference(description: "remove \(version): not \(wasThere)")
    }
  }

  /// - Returns: how many were removed.
  mutating func purge(keeping range: ShardRange) throws(Difference) -> Int {
    version += 1
    let before = entries.count
    let hash = ShardHash(rawValue: range.hash)!
    entries = entries.filter {
      $0.key.withUnsafeBytes { hash($0) } % UInt64(range.count) == UInt64(range.index)
    }
    let removed = index.purge(keeping: range, by: hash)
    guard removed == before - entries.count else {
      throw Difference(description: "purge: \(removed) removed, not \(before - entries.count)")
    }
    return removed
  }

  /// Lets a frame of that time end.
  mutating func endFrame(time: UInt64) throws(Difference) {
    frameTime = max(frameTime, time)
    let before = entries.count
    entries = entries.filter { $0.value.expiry.map { $0 > frameTime } ?? true }
    let removed = index.endFrame(time: time)
    guard removed == before - entries.count, index.frameTime == frameTime else {
      throw Difference(description: "at \(time): \(removed), not \(before - entries.count)")
    }
  }

  func check(_ key: [UInt8]) throws(Difference) {
    guard index.get(key) == entries[key], index.version(key) == entries[key]?.version else {
      throw Difference(
        description: "after \(version): \(String(describing: index.get(key)).prefix(80)), not "
          + "\(String(describing: entries[key]).prefix(80))")
    }
  }

  /// Everything: content, count, digests, memory.
  func check() throws(Difference) {
    for key in entries.keys { try check(key) }
    guard index.contents() == entries else { throw Difference(description: "other contents") }
    guard index.count == entries.count else {
      throw Difference(description: "count \(index.count), not \(entries.count)")
    }
    let expiring = entries.count { $0.value.expiry != nil }
    guard index.expiringCount == expiring else {
      throw Difference(description: "\(index.expiringCount) expire, not \(expiring)")
    }
    guard
      index.expiryQueueBytes <= (2 * expiring + 8 * Index.stripeCount) * ExpiryQueue.itemBytes
    else { throw Difference(description: "\(index.expiryQueueBytes) bytes for \(expiring)") }
    guard index.digests().map(\.sum) == digests() else {
      throw Difference(description: "other digests")
    }
    guard index.digest().sum == digests().reduce(0, &+) else {
      throw Difference(description: "the digest is not the sum of the stripes'")
    }
    try checkMemory()
  }

  private func checkMemory() throws(Difference) {
    let needed = entries.reduce(0) { sum, entry in
      let size = (key: entry.key.count, value: entry.value.value.count)
      return sum + Entry.outsideBytes(value: size.value)
        + Entry.bytes(key: size.key, value: size.value, hasExpiry: entry.value.expiry != nil)
    }
    let tables = index.memoryBytes - emptyBytes - needed - index.expiryQueueBytes
    guard (0...64 * entries.count).contains(tables) else {
      throw Difference(description: "\(tables) bytes of tables for \(entries.count) keys")
    }
    // Twice what lives, a chunk that is being filled in each stripe, and the ends of the others.
    let bound = 2 * index.memoryBytes * 10 / 9 + Index.stripeCount * 2 * (64 << 10)
    guard index.heldBytes <= bound else {
      throw Difference(description: "\(index.heldBytes) bytes held for \(index.memoryBytes)")
    }
  }

  /// As the documentation defines them, key by key.
  private func digests() -> [UInt64] {
    var sums = [UInt64](repeating: 0, count: Index.stripeCount)
    for (key, found) in entries {
      let hash = key.withUnsafeBytes { self.hash($0) }
      var stripe = 0
      for bit in 0..<8 where hash >> UInt64(shardBits + bit) & 1 == 1 { stripe |= 128 >> bit }
      sums[stripe] &+= avalanche(hash &+ avalanche(found.version ^ 0x9e37_79b9_7f4a_7c15))
    }
    return sums
  }
}

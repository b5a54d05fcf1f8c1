import Engine
import Sharding
import SimulatedDisk
import Testing
import WAL

@Suite("A purge of an index")
struct IndexPurgeTests {
  private struct Case {
    var hash: ShardHash
    /// The index is made for so many shards.
    var made: UInt32
    /// The keys are of one shard of so many.
    var held: UInt32
    var wanted: UInt32
  }

  /// Doubling, tripling and more, of indexes that are made for it and of others.
  private static let cases: [Case] = ShardHash.allCases.flatMap { hash in
    [
      (1, 1, 2), (2, 1, 2), (1, 1, 3), (2, 2, 4), (4, 2, 4), (1, 2, 4), (2, 2, 8), (3, 3, 6),
      (2, 2, 6),
    ]
    .map { Case(hash: hash, made: $0.0, held: $0.1, wanted: $0.2) }
  }

  private static func shard(_ key: [UInt8], _ hash: ShardHash, _ count: UInt32) -> UInt32 {
    UInt32(key.withUnsafeBytes { hash($0) } % UInt64(count))
  }

  /// Keys of shard 1 of as many as are held.
  private static func keys(_ one: Case) -> [[UInt8]] {
    (0..<6_000).map { utf8("key-\($0)") }.filter { shard($0, one.hash, one.held) == one.held - 1 }
  }

  private static func contents(_ model: IndexModel, _ one: Case) -> [UInt32: ShardContent] {
    var contents: [UInt32: ShardContent] = [:]
    for (key, found) in model.entries {
      var content = contents[shard(key, one.hash, one.wanted)] ?? ShardContent()
      content.keys += 1
      let hash = key.withUnsafeBytes { one.hash($0) }
      content.digest = Digest(
        sum: content.digest.sum
          &+ avalanche(hash &+ avalanche(found.version ^ 0x9e37_79b9_7f4a_7c15)))
      contents[shard(key, one.hash, one.wanted)] = content
    }
    return contents
  }

  private func check(_ model: IndexModel, _ one: Case) throws {
    try model.check()
    let expected = Self.contents(model, one)
    let found = model.index.contents(ofShards: one.wanted)
    #expect(found.mapValues(\.keys) == expected.mapValues(\.keys))
    #expect(found.mapValues(\.digest) == expected.mapValues(\.digest))
    for (shard, content) in found {
      let highest = model.entries.filter { Self.shard($0.key, one.hash, one.wanted) == shard }
        .values.map(\.version).max()
      #expect(content.highestVersion >= highest!)
    }
  }

  @Test(
    "leaves what a filter leaves, in every count there is, and again after more writes",
    arguments: cases.indices)
  func filter(number: Int) async throws {
    let one = Self.cases[number]
    var random = SeededRandom(seed: UInt64(number))
    var model = IndexModel(one.hash, shardCount: one.made)
    let keys = Self.keys(one)
    let lists = random.once(in: 2)
    func write(_ count: Int) throws {
      for _ in 0..<count {
        let key = keys[random.below(keys.count)]
        switch random.below(8) {
        case 0: try model.remove(key)
        case 1: try model.put(key, random.bytes(60), expiry: 1_000 + UInt64(random.below(9_000)))
        case 2: try model.put(key, random.bytes(2_000 + random.below(3_000)))
        default: try model.put(key, random.bytes(random.below(200)))
        }
      }
    }
    try write(2 * keys.count)
    if lists { await model.index.waitUntilListed() }
    for round in 0..<3 {
      let kept = one.held - 1 + one.held * UInt32(random.below(Int(one.wanted / one.held)))
      let range = ShardRange(hash: one.hash.rawValue, index: kept, count: one.wanted)
      try check(model, one)
      let before = model.entries.count
      let removed = try model.purge(keeping: range)
      #expect(removed > 0 && removed < before, "round \(round)")
      try check(model, one)
      #expect(try model.purge(keeping: range) == 0)
      if lists {
        let listed = model.index.listed(limit: 100_000)
        #expect(Set(listed) == Set(model.entries.keys) && listed.count == model.entries.count)
      }
      try model.endFrame(time: 2_000 * UInt64(round))
      try write(keys.count)
    }
    for key in keys { try model.remove(key) }
    try check(model, one)
    #expect(model.index.memoryBytes == Index(shardCount: one.made).memoryBytes)
    model.index.directory.stop()
  }

  @Test(
    "takes one lock a stripe that goes, and none of those that stay, where the shards are doubled")
  func wholeStripes() throws {
    for hash in ShardHash.allCases {
      var model = IndexModel(hash)
      for number in 0..<20_000 { try model.put(utf8("key-\(number)"), []) }
      let used = model.index.digests().count { $0 != Digest() }
      var locks = LockTimes()
      let range = ShardRange(hash: hash.rawValue, index: 0, count: 2)
      let removed = model.index.purge(keeping: range, by: hash, locks: &locks)
      #expect(removed > 5_000 && locks.count <= 128 && locks.count >= used / 2 - 128)
      #expect(model.index.digests()[128...].allSatisfy { $0 == Digest() })
      #expect(locks.longest <= locks.sum)
      // By another hash they are mixed, and so they are by a number that is no power of two.
      var mixed = LockTimes()
      let third = ShardRange(hash: hash.rawValue, index: 0, count: 3)
      _ = model.index.purge(keeping: third, by: hash, locks: &mixed)
      #expect(mixed.count >= 2 * 128)
    }
  }

  @Test("gives back what it removes, large values included")
  func memory() throws {
    var model = IndexModel()
    for number in 0..<300 {
      try model.put(utf8("key-\(number)"), [UInt8](repeating: 1, count: 100_000))
    }
    let before = model.index.memoryBytes
    let removed = try model.purge(keeping: ShardRange(hash: 1, index: 0, count: 2))
    #expect(before - model.index.memoryBytes > removed * 99_000)
    try model.check()
  }

  private final class Tally: Sendable {
    private let done = Monitor(false)
    func end() { done.withLock { $0 = true } }
    var isDone: Bool { done.withLock { $0 } }
  }

  @Test(
    "is beside readers who find every key that stays, all the time", arguments: [1, 2] as [UInt32])
  func readers(made: UInt32) throws {
    let index = Index(shardCount: made)
    let keys = (0..<20_000).map { utf8("key-\($0)") }
    for (number, key) in keys.enumerated() { index.put(key, key, version: UInt64(number + 1)) }
    let kept = keys.filter { Self.shard($0, .fnv1, 2) == 1 }
    let tally = Tally()
    let missing = Monitor(0)
    let reader = ThreadHandle {
      var random = SeededRandom(seed: 1)
      while !tally.isDone {
        let key = kept[random.below(kept.count)]
        if index.get(key)?.value != key { missing.withLock { $0 += 1 } }
      }
    }
    let removed = index.purge(keeping: ShardRange(hash: 1, index: 1, count: 2), by: .fnv1)
    tally.end()
    reader.join()
    #expect(missing.withLock { $0 } == 0 && removed == keys.count - kept.count)
  }
}

import Engine
import Sharding
import SimulatedDisk
import Testing
import WAL

@Suite("The index")
struct IndexTests {
  private static func value(_ random: inout SeededRandom) -> [UInt8] {
    let count =
      switch random.below(10) {
      case 0: 0
      case 1, 2: Entry.inlineValueBytesMax - 8 + random.below(17)
      case 3: random.below(6_001)
      case 4: [2_047, 2_048, 2_049][random.below(3)]
      default: random.below(200)
      }
    // Its own bytes say which value it is; the rest need not be random.
    return Array((random.bytes(min(count, 16)) + [UInt8](repeating: 7, count: count)).prefix(count))
  }

  private static func keys(_ random: inout SeededRandom) -> [[UInt8]] {
    let lengths = [1, 1, 7, 8, 9, 15, 16, 17, 100, 255, 256, 1_000, 4_095, 4_096]
    return Array(
      Set((0..<600).map { _ in random.bytes(lengths[random.below(lengths.count)]) })
    ).sorted { $0.lexicographicallyPrecedes($1) }
  }

  /// Random operations on these keys, each checked, and everything now and then.
  private func exercise(
    _ model: inout IndexModel, _ keys: [[UInt8]], steps: Int, _ random: inout SeededRandom
  ) throws {
    var removeChance = 3
    for step in 1...steps {
      let key = keys[random.below(keys.count)]
      // Phases of growth and of decline.
      if step % 1_000 == 0 { removeChance = 1 + random.below(8) }
      if random.below(10) < removeChance {
        try model.remove(key)
      } else if random.once(in: 4), let old = model.entries[key] {
        // The same size: overwritten in place.
        let first: [UInt8] = old.value.isEmpty ? [] : [UInt8(truncatingIfNeeded: step)]
        try model.put(key, first + old.value.dropFirst(), expiry: old.expiry)
      } else {
        let expiry = random.once(in: 5) ? model.frameTime + UInt64(random.below(2_000)) : nil
        try model.put(key, Self.value(&random), expiry: expiry)
      }
      // Time goes on, in leaps and sometimes back.
      if random.once(in: 40) {
        try model.endFrame(time: model.frameTime + 50 - min(50, UInt64(random.below(70))))
      }
      try model.check(key)
      try model.check(keys[random.below(keys.count)])
      if step % 2_500 == 0 { try model.check() }
    }
    try model.check()
  }

  @Test("makes room for the keys that somebody expects, but no more than four times what it has")
  func expectedKeys() throws {
    let (expecting, plain) = (Index(), Index())
    var largest = 0
    for number in 0..<50_000 {
      for index in [expecting, plain] {
        index.put(utf8("key-\(number)"), [1], version: UInt64(number + 1))
        index.setApplied(UInt64(number + 1))
      }
      if number % 1_000 == 0 {
        let before = expecting.memoryBytes
        expecting.reserve(total: number < 10_000 ? 50_000 : .max)
        #expect(expecting.appliedDigest()?.sequence == UInt64(number + 1), "nothing is under way")
        largest = max(largest, (expecting.memoryBytes - before) / (number + 1))
        expecting.reserve(total: 0)
      }
    }
    // A slot takes eight bytes, and a table is less than 1.6 times as large as it has to be.
    #expect(largest < 4 * 8 * 2 && expecting.memoryBytes < plain.memoryBytes + 4 * 50_000 * 13)
    #expect(expecting.digest() == plain.digest() && expecting.contents() == plain.contents())
    let empty = Index()
    empty.reserve(total: .max)
    #expect(empty.memoryBytes == Index().memoryBytes)
  }

  @Test(
    "holds what a dictionary would, with its digests and its memory, whatever is put and removed",
    arguments: [(.fnv1, 1), (.fnv1Mixed, 1), (.fnv1, 2), (.fnv1Mixed, 3), (.fnv1, 64)]
      as [(ShardHash, UInt32)])
  func model(hash: ShardHash, shardCount: UInt32) throws {
    var random = SeededRandom(
      seed: UInt64(shardCount) + hash.name.utf8.reduce(0) { $0 + UInt64($1) })
    var model = IndexModel(hash, shardCount: shardCount)
    let keys = Self.keys(&random)
    try exercise(&model, keys, steps: 10_000, &random)
    for key in keys { try model.remove(key) }
    try model.check()
    #expect(model.index.count == 0 && model.index.digest() == Digest())
    #expect(model.index.memoryBytes == Index(shardCount: shardCount).memoryBytes)
  }

  @Test("keeps apart keys that have the same slot hash, and runs that wrap around a table's end")
  func collisions() throws {
    let model = IndexModel(seed: 42)
    let all = KeyChoice.ofOneStripe(1 << 20, seed: 5)
    let pairs = KeyChoice.colliding(all, model.index.hasher)
    #expect(pairs.count > 50)
    let last = KeyChoice.ofLastSlots(all, model.index.hasher)
    #expect(last.count > 500)
    #expect(Set(all.prefix(1_000).map { model.index.stripeNumber(model.index.hash($0)) }) == [0])
    var keys: [[UInt8]] = []
    for pair in pairs { keys += [pair.0, pair.1] }
    for seed in 0..<3 as Range<UInt64> {
      var random = SeededRandom(seed: seed)
      var colliding = IndexModel(seed: 42)
      try exercise(&colliding, keys, steps: 3_000, &random)
      var clustered = IndexModel(seed: 42)
      try exercise(&clustered, Array(last.prefix(60 << seed)), steps: 3_000, &random)
      // Every second key of runs that wrap around, all at once.
      let range = ShardRange(hash: 2, index: 1, count: 2)
      _ = try clustered.purge(keeping: range)
      try clustered.check()
    }
  }

  @Test("gives the memory of what is removed back, and holds little more than what lives")
  func memory() throws {
    var random = SeededRandom(seed: 9)
    var model = IndexModel()
    let keys = (0..<20_000).map { utf8("key-\($0)") }
    // Values that grow: no hole that is left fits the next one.
    for round in 1...5 {
      for key in keys {
        try model.put(key, [UInt8](repeating: 1, count: round * 50 + random.below(50)))
      }
      try model.check()
    }
    // One in ten is left: what lives is spread over every chunk there was.
    for (number, key) in keys.enumerated() where number % 10 != 0 { try model.remove(key) }
    try model.check()
    for key in keys { try model.remove(key) }
    try model.check()
    #expect(model.index.memoryBytes == Index().memoryBytes)
    // At most the one chunk in each stripe that is being filled.
    #expect(model.index.heldBytes <= Index().memoryBytes + Index.stripeCount << 16)
  }

  @Test("says that a stripe is full, and that it no longer is")
  func fullStripe() {
    let index = Index(hasher: KeyHasher(.fnv1), shardCount: 1, stripeBytesMax: 1 << 20)
    let keys = KeyChoice.ofOneStripe(2_000, seed: 1)
    let value = [UInt8](repeating: 1, count: 1_000)
    for (number, key) in keys.enumerated() { index.put(key, value, version: UInt64(number + 1)) }
    #expect(index.hasFullStripe)
    for key in keys { index.remove(key) }
    #expect(!index.hasFullStripe)
  }

  @Test(
    "keeps exactly the keys of a shard when it is purged, by whichever hash the purge is",
    arguments: [(.fnv1, .fnv1), (.fnv1Mixed, .fnv1Mixed), (.fnv1, .fnv1Mixed), (.fnv1Mixed, .fnv1)]
      as [(ShardHash, ShardHash)])
  func purge(hash: ShardHash, purgeHash: ShardHash) throws {
    var random = SeededRandom(seed: 3)
    for count in [2, 3, 8] as [UInt32] {
      var model = IndexModel(hash)
      for number in 0..<5_000 {
        try model.put(utf8("key-\(number)"), random.bytes(random.below(300)))
      }
      let range = ShardRange(hash: purgeHash.rawValue, index: count - 1, count: count)
      #expect(
        model.index.countForeign(to: range) == 5_000
          - model.entries.keys.count { key in
            key.withUnsafeBytes { purgeHash($0) } % UInt64(count) == UInt64(count - 1)
          })
      #expect(try model.purge(keeping: range) > 2_000)
      try model.check()
      #expect(model.index.countForeign(to: range) == 0)
      #expect(try model.purge(keeping: range) == 0)
      let everything = ShardRange(hash: purgeHash.rawValue, index: 0, count: 1)
      #expect(try model.purge(keeping: everything) == 0)
      try model.check()
    }
  }

  @Test("is halved stripe by stripe when the shards are doubled: children's digests add up")
  func doubling() {
    let parent = Index(shardCount: 1)
    let children = [Index(shardCount: 2), Index(shardCount: 2)]
    for number in 1...20_000 as ClosedRange<UInt64> {
      let key = utf8("user:\(number)")
      parent.put(key, [], version: number)
      children[Int(parent.hash(key).shard % 2)].put(key, [], version: number)
    }
    let digests = parent.digests()
    for (half, child) in children.enumerated() {
      let own = child.digests()
      for stripe in 0..<128 {
        var sum = own[2 * stripe]
        sum.add(own[2 * stripe + 1])
        #expect(sum == digests[half * 128 + stripe])
      }
    }
    var sum = children[0].digest()
    sum.add(children[1].digest())
    #expect(sum == parent.digest())
    // And a parent that is purged is the child.
    _ = parent.purge(keeping: ShardRange(hash: 1, index: 1, count: 2), by: .fnv1)
    #expect(parent.digest() == children[1].digest())
    #expect(parent.digests()[..<128].allSatisfy { $0 == Digest() })
  }
}

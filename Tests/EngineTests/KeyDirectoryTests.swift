import Engine
import Sharding
import SimulatedDisk
import Synchronization
import TemporaryFiles
import Testing
import WAL

@Suite("The key directory")
struct KeyDirectoryTests {
  private static func sortedKeys(_ index: Index) -> [[UInt8]] {
    index.contents().keys.sorted { $0.lexicographicallyPrecedes($1) }
  }

  @Test("takes nothing as long as nobody asks")
  func nothingUnasked() async {
    let index = Index()
    for number in 0..<1_000 { index.put(utf8("\(number)"), [], version: 1) }
    #expect(index.directory.memoryBytes == 0 && index.directory.count == 0)
    await index.waitUntilListed()
    #expect(index.directory.memoryBytes > 0 && index.directory.count == 1_000)
  }

  @Test("has every key, however full and however small the tables are", arguments: [1, 7, 5_000])
  func whole(count: Int) async {
    var random = SeededRandom(seed: 6)
    let index = Index()
    for key in KeyChoice.ofOneStripe(count, seed: 4) { index.put(key, [], version: 1) }
    for _ in 0..<count { index.put(random.bytes(1 + random.below(40)), [], version: 1) }
    await index.waitUntilListed()
    #expect(index.listed() == Self.sortedKeys(index))
    #expect(index.directory.count == index.count)
  }

  @Test("meets each key of a stripe once, though its table grows and shrinks between two slices")
  func slices() {
    var random = SeededRandom(seed: 12)
    for round in 0..<60 {
      let index = Index(hasher: KeyHasher(.fnv1, seed: UInt64(round)), shardCount: 1)
      // The wrapped ones are among them: tables of 8 slots and more, four fifths full.
      let stable = KeyChoice.ofOneStripe(1 + random.below(400), seed: UInt64(round))
      let others = KeyChoice.ofOneStripe(2_000, seed: 1 << 40 + UInt64(round))
      for key in stable { index.put(key, [], version: 1) }
      let stripe = index.stripeNumber(index.hash(stable[0]))
      var met = KeyRun()
      var next: UInt64? = 0
      var slices = 0
      while let start = next {
        next = index.copyKeys(
          ofStripe: stripe, from: start, slots: 1 + random.below(40), into: &met)
        slices += 1
        if random.once(in: 3) {
          for key in others[..<random.below(others.count)] { index.put(key, [], version: 2) }
        } else if random.once(in: 2) {
          for key in others { index.remove(key) }
        }
      }
      var times: [[UInt8]: Int] = [:]
      met.forEach(in: 0..<met.count) { times[Array($0), default: 0] += 1 }
      #expect(stable.allSatisfy { times[$0] == 1 })
      #expect(slices > 0)
    }
  }

  private final class Flags: Sendable {
    let isDone = Atomic(false)
    let steps = Atomic(0)
  }

  /// Removes each of these keys once, and creates each of those: what came out wrong stays wrong.
  private static func write(
    _ index: Index, removing old: [[UInt8]], creating new: [[UInt8]], purgesAt purge: Int?,
    _ flags: Flags
  ) {
    for step in old.indices {
      index.remove(old[step])
      index.put(new[step], [1], version: UInt64(step))
      if step == purge {
        _ = index.purge(
          keeping: ShardRange(hash: ShardHash.fnv1.rawValue, index: 1, count: 2), by: .fnv1)
      }
      flags.steps.add(1, ordering: .releasing)
    }
  }

  @Test("is the index's keys though it was built under writes", arguments: [nil, nil, 20_000])
  func builtUnderWrites(purge: Int?) async throws {
    var random = SeededRandom(seed: 1 << 50)
    let index = Index()
    let stable = (0..<30_000).map { utf8("stable/\($0)") }
    let old = (0..<120_000).map { _ in random.bytes(12) }
    let new = (0..<120_000).map { _ in random.bytes(13) }
    for key in stable + old { index.put(key, [], version: 1) }
    let flags = Flags()
    let writer = ThreadHandle {
      Self.write(index, removing: old, creating: new, purgesAt: purge, flags)
    }
    while flags.steps.load(ordering: .acquiring) < 2_000 { await Task.yield() }
    await index.waitUntilListed()
    writer.join()
    #expect(index.listed() == Self.sortedKeys(index))
    #expect(index.directory.count == index.count)
  }

  @Test("lists each key once that is there all the time, while others come and go")
  func listedUnderWrites() async {
    let index = Index()
    let stable = (0..<30_000).map { utf8("key/\($0 * 7)") }
    let changing = (0..<30_000).map { utf8("key/\($0 * 7 + 3)") }
    for key in stable { index.put(key, [], version: 1) }
    let flags = Flags()
    let writer = ThreadHandle { Self.churn(index, changing, flags) }
    await index.waitUntilListed()
    let expected = stable.sorted { $0.lexicographicallyPrecedes($1) }
    let isStable = Set(stable)
    for limit in [100, 1_000, 9_999] {
      let listed = index.listed(limit: limit)
      #expect(listed.filter { isStable.contains($0) } == expected)
      #expect(zip(listed, listed.dropFirst()).allSatisfy { $0.lexicographicallyPrecedes($1) })
    }
    flags.isDone.store(true, ordering: .releasing)
    writer.join()
    #expect(index.listed() == Self.sortedKeys(index))
  }

  private static func churn(_ index: Index, _ keys: [[UInt8]], _ flags: Flags) {
    var random = SeededRandom(seed: 9)
    while !flags.isDone.load(ordering: .acquiring) {
      let key = keys[random.below(keys.count)]
      if random.once(in: 2) { index.remove(key) } else { index.put(key, [], version: 2) }
    }
  }

  @Test("loses what a purge removes")
  func purged() async {
    let index = Index()
    for number in 0..<20_000 { index.put(utf8("key-\(number)"), [], version: 1) }
    await index.waitUntilListed()
    let removed = index.purge(
      keeping: ShardRange(hash: ShardHash.fnv1.rawValue, index: 2, count: 4), by: .fnv1)
    #expect(removed > 14_000 && index.directory.count == 20_000 - removed)
    #expect(index.listed() == Self.sortedKeys(index))
  }

  @Test("follows what a store commits, and is still read when that is closed")
  func ofAStore() async throws {
    let directory = TemporaryDirectory()
    var options = StoreOptions(dataDirectory: directory.path + "/data", node: 7)
    options.segmentBytes = 1 << 20
    let client = StoreClient()
    let store = try Store.open(options)
    client.put("b", "", in: store)
    await store.index.waitUntilListed()
    client.put("a", "", in: store)
    client.put("c", "", in: store)
    client.delete("b", in: store)
    #expect(store.index.listed() == [utf8("a"), utf8("c")])
    try store.close()
    #expect(store.index.listed() == [utf8("a"), utf8("c")])
    #expect(store.index.prepareListing {} == .ready)
    let again = try Store.open(options)
    #expect(again.index.directory.memoryBytes == 0)
    try again.close()
    // Nobody had asked before it was closed.
    #expect(again.index.prepareListing {} == .unavailable)
  }

  @Test("that is being built when the store is closed is given up, and those who wait are told")
  func givenUp() async throws {
    let index = Index()
    for number in 0..<300_000 { index.put(utf8("key-\(number)"), [], version: 1) }
    let told = Monitor(0)
    #expect(index.prepareListing { told.signal { $0 += 1 } } == .building)
    #expect(index.prepareListing { told.signal { $0 += 1 } } != .unavailable)
    index.directory.stop()
    // Whether it was whole by then is a matter of luck; that its thread is gone is not.
    #expect(told.withLock { $0 } >= 1)
    let readiness = index.prepareListing {}
    #expect(readiness == (index.directory.count == index.count ? .ready : .unavailable))
  }
}

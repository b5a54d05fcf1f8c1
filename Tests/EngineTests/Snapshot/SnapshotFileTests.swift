import Engine
import Sharding
import SimulatedDisk
import Testing
import WAL

@Suite("A snapshot's file")
struct SnapshotFileTests {
  @Test("of no key at all can be read")
  func empty() throws {
    let fixture = SnapshotFixture()
    let footer = try fixture.write([:])
    let file = try fixture.open()
    #expect(file.footer == footer && file.header == fixture.header())
    #expect(footer.blocks.isEmpty && footer.entries == 0 && footer.digest == Digest())
    #expect(try fixture.entries(file).isEmpty)
    #expect(try fixture.load(file, threads: 4).count == 0)
  }

  @Test(
    "gives back what was written, in its order, with the index's own digests",
    arguments: [(.fnv1, 1), (.fnv1, 2), (.fnv1, 3), (.fnv1, 4), (.fnv1Mixed, 1), (.fnv1Mixed, 4)]
      as [(ShardHash, UInt32)])
  func roundTrip(hash: ShardHash, shardCount: UInt32) throws {
    var random = SeededRandom(seed: UInt64(shardCount))
    var fixture = SnapshotFixture()
    fixture.hash = hash
    fixture.shardCount = shardCount
    // Of all shards: a node has the keys of others until they are purged.
    let entries = SnapshotFixture.someEntries(3_000, &random)
    let footer = try fixture.write(entries)
    let file = try fixture.open()
    #expect(file.footer == footer && footer.blocks.count > 2)
    #expect(footer.entries == UInt64(entries.count))
    #expect(
      footer.dataBytes
        == entries.reduce(0) { $0 + UInt64($1.key.count + $1.value.value.count) })
    let read = try fixture.entries(file)
    #expect(read.map(\.key) == fixture.sorted(entries).map(\.key))
    #expect(read.allSatisfy { entries[$0.key] == $0.found })
    for threads in 1...4 {
      let index = try fixture.load(file, threads: threads)
      #expect(index.contents() == entries)
      #expect(index.digests() == footer.digests && index.digest() == footer.digest)
    }
  }

  @Test("keeps each shard of a power of two in one stretch, and that one's halves, too")
  func stretches() throws {
    var random = SeededRandom(seed: 3)
    let fixture = SnapshotFixture()
    try fixture.write(SnapshotFixture.someEntries(500, &random))
    let hashes = try fixture.entries(try fixture.open()).map { entry in
      entry.key.withUnsafeBytes { ShardHash.fnv1($0) }
    }
    for count: UInt64 in [2, 4, 8] {
      var shards: [UInt64] = []
      for hash in hashes where shards.last != hash % count { shards.append(hash % count) }
      #expect(shards.count == Set(shards).count && shards.count == Int(count))
    }
  }

  @Test("has a block of its own for a value of the largest size")
  func largest() throws {
    var fixture = SnapshotFixture()
    fixture.hash = .fnv1Mixed
    var random = SeededRandom(seed: 4)
    var entries = SnapshotFixture.someEntries(20, &random)
    let noise = random.bytes(1 << 16)
    let large = (0..<Format.valueBytesMax / noise.count).flatMap { _ in noise }
    #expect(large.count == Format.valueBytesMax)
    let key = [UInt8](repeating: 7, count: Format.keyBytesMax)
    entries[key] = Found(version: 77, value: large, expiry: 1_800_000_000_000)
    let footer = try fixture.write(entries)
    #expect(footer.blocks.contains { $0.entries == 1 && $0.rawBytes > Format.valueBytesMax })
    let index = try fixture.load(try fixture.open(), threads: 2)
    #expect(index.contents() == entries)
  }

  @Test("in which a key is twice, or entries are out of order, is refused by who reads it")
  func order() throws {
    let fixture = SnapshotFixture()
    let one = Found(version: 1, value: [1], expiry: nil)
    let entries = fixture.sorted(
      Dictionary(uniqueKeysWithValues: SnapshotFixture.colliding(3).map { ($0, one) })
        .merging([[1]: one, [2]: one]) { $1 })
    for number in entries.indices.dropFirst() {
      for isTwice in [false, true] {
        var wrong = entries
        if isTwice { wrong[number] = wrong[number - 1] } else { wrong.swapAt(number, number - 1) }
        let writer = try SnapshotWriter(
          fixture.header(), path: "/data/snapshots/b.snap", fileSystem: fixture.disk, pace: Pace())
        for entry in wrong { try fixture.append(entry, to: writer) }
        _ = try writer.finish()
        let file = try fixture.open("/data/snapshots/b.snap")
        #expect(throws: WALError.self) { try fixture.entries(file) }
        #expect(throws: WALError.self) { try fixture.load(file) }
      }
    }
  }

  @Test("whose digest is not that of its entries is refused when it is loaded")
  func digest() throws {
    let fixture = SnapshotFixture()
    // It says another hash than the key has: what a bug would write.
    let writer = try SnapshotWriter(
      fixture.header(), path: "/data/snapshots/a.snap", fileSystem: fixture.disk, pace: Pace())
    let one = Found(version: 1, value: [1], expiry: nil)
    var entries = fixture.sorted([[1]: one, [2]: one])
    entries[1].order = KeyOrder(entries[1].order.number ^ 1)
    for entry in entries { try fixture.append(entry, to: writer) }
    _ = try writer.finish()
    let file = try fixture.open()
    let error = #expect(throws: WALError.self) { try fixture.load(file) }
    #expect("\(error!)".contains("digest"))
  }

  @Test("is not there until it is finished, and leaves nothing when it is given up")
  func unfinished() throws {
    let fixture = SnapshotFixture()
    let path = "/data/snapshots/a.snap"
    // Left behind by a crash.
    fixture.disk.put(path + ".tmp", [1, 2, 3])
    let writer = try SnapshotWriter(
      fixture.header(), path: path, fileSystem: fixture.disk, pace: Pace())
    for entry in fixture.sorted([[1]: Found(version: 1, value: [1], expiry: nil)]) {
      try fixture.append(entry, to: writer)
    }
    #expect(fixture.disk.paths == [path + ".tmp"])
    writer.discard()
    #expect(fixture.disk.paths == [])
    try fixture.write([:])
    writer.discard()
    #expect(fixture.disk.paths == [path])
    fixture.disk.losePower()
    #expect(try fixture.open().footer.entries == 0)
  }

  @Test("is written at the rate that was asked for however much it is, and can be given up")
  func pace() throws {
    // Far more than fits into 64 bits once it is counted in nanoseconds.
    let pace = Pace(bytesPerSecond: 1 << 50)
    for _ in 0..<100 { try pace.spent(1 << 40) }
    #expect(pace.doneBytes == 100 << 40)
    pace.cancel()
    #expect(throws: WALError.cancelled) { try pace.spent(1) }
    #expect(throws: WALError.cancelled) { try Pace.cancelled().spent(1) }
  }
}

extension Pace {
  fileprivate static func cancelled() -> Pace {
    let pace = Pace()
    pace.cancel()
    return pace
  }
}

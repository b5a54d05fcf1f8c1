import Engine
import Sharding
import SimulatedDisk
import TemporaryFiles
import Testing
import WAL

@Suite("A split")
struct SplitterTests {
  /// A data directory that has a snapshot of some blocks, and no log behind it.
  private struct Source {
    var fixture = SnapshotFixture()
    let clock = SimulatedClock()
    var entries: [[UInt8]: Found] = [:]
    let path = SnapshotDirectory("/data").path(of: 1 << 40)
    var disk: SimulatedDisk { fixture.disk }

    init(_ hash: ShardHash = .fnv1, shardCount: UInt32 = 1, keys: Int = 1_500) throws {
      fixture.hash = hash
      fixture.shardCount = shardCount
      var random = SeededRandom(seed: UInt64(shardCount))
      entries = SplitFixture.entries(
        SnapshotFixture.someEntries(keys, &random),
        of: ShardNote(index: 0, count: shardCount, hash: hash))
      try fixture.write(entries, to: path)
    }

    func split(
      into count: UInt32, out: String = "/out", verifies: Bool = false
    ) throws(WALError) -> SplitReport {
      var options = SplitFixture.options(disk, clock)
      options.verifies = verifies
      return try Splitter.run("/data", into: count, out: out, options: options)
    }

    var blocks: [SnapshotFooter.Block] {
      get throws { try fixture.open(path).footer.blocks }
    }

    /// Files that have a child's own name.
    var named: [String] { disk.paths.filter { $0.hasPrefix("/out/") && !$0.contains(".partial/") } }
    /// What takes room.
    var data: [String] {
      disk.paths.filter { $0.hasPrefix("/out/") && !$0.hasSuffix("/LOCK") }
    }
  }

  private static let shapes: [(parent: UInt32, count: UInt32)] = [
    (1, 1), (1, 2), (1, 4), (1, 64), (2, 4), (4, 16), (3, 6), (3, 12), (1, 3), (1, 7), (3, 9),
    (2, 6),
  ]

  @Test(
    "has every key once, with its version and expiry, in the child that its hash says",
    arguments: ShardHash.allCases, shapes)
  func keys(hash: ShardHash, shape: (parent: UInt32, count: UInt32)) throws {
    let source = try Source(hash, shardCount: shape.parent)
    let before = SplitFixture.files(source.disk, below: "/data")
    let report = try source.split(into: shape.count, verifies: true)
    #expect(report.parent == ShardNote(index: 0, count: shape.parent, hash: hash))
    #expect(report.isVerified && !report.hasFolded && report.foreignKeys == 0)
    #expect(report.children.allSatisfy { $0.epoch.number == 3 })
    try SplitFixture.expectChildren(report, of: source.entries, source.disk, source.clock)
    #expect(SplitFixture.files(source.disk, below: "/data") == before)
    #expect(!source.disk.paths.contains { $0.contains(".partial/") })
  }

  @Test("copies the blocks of a doubling as they are, all but the one on the border")
  func copies() throws {
    let source = try Source(keys: 3_000)
    let blocks = try source.blocks
    try #require(blocks.count >= 5)
    let report = try source.split(into: 2)
    #expect(report.copiedBlocks >= blocks.count - 1 && report.writtenBlocks <= 2)
    let bytes = try #require(source.disk.contents(source.path))
    for (child, block) in [(0, blocks[0]), (1, blocks[blocks.count - 1])] {
      let file = try SnapshotFile(report.children[child].snapshot.path, fileSystem: source.disk)
      let copy = try #require(child == 0 ? file.footer.blocks.first : file.footer.blocks.last)
      let made = try #require(source.disk.contents(file.path))
      let length = 16 + Int(block.compressedBytes)
      #expect(
        made[Int(copy.offset)..<Int(copy.offset) + length]
          == bytes[Int(block.offset)..<Int(block.offset) + length])
    }
    #expect(try source.split(into: 3, out: "/out3").copiedBlocks == 0)
  }

  @Test("with several threads comes to the same as with one")
  func threads() throws {
    let source = try Source()
    let directory = TemporaryDirectory()
    let fileSystem = SystemFileSystem()
    let data = directory.path + "/data"
    for path in [data, data + "/snapshots"] { try fileSystem.makeDirectory(path) }
    let bytes = try #require(source.disk.contents(source.path))
    try fileSystem.open(SnapshotDirectory(data).path(of: 1 << 40), .create).writeAll(bytes, at: 0)
    for count: UInt32 in [2, 8] {
      var options = Splitter.Options(node: 9)
      options.threads = 4
      options.verifies = true
      let report = try Splitter.run(
        data, into: count, out: directory.path + "/out-\(count)", options: options)
      let alone = try source.split(into: count, out: "/out-\(count)")
      #expect(
        report.children.map(\.snapshot.digest) == alone.children.map(\.snapshot.digest))
      #expect(report.copiedBlocks == alone.copiedBlocks)
      #expect(report.children.map(\.snapshot.keys) == alone.children.map(\.snapshot.keys))
    }
  }

  // MARK: - Damage

  @Test(
    "names the damaged block, makes nothing, and leaves no data", arguments: [2, 3] as [UInt32])
  func damagedBlock(count: UInt32) throws {
    let source = try Source()
    for block in try source.blocks {
      let whole = try #require(source.disk.contents(source.path))
      var bytes = whole
      bytes[Int(block.offset) + 16 + Int(block.compressedBytes) / 2] ^= 1
      source.disk.put(source.path, bytes)
      #expect {
        try source.split(into: count)
      } throws: { error in
        guard case .invalidFile(let path, let offset, let reason) = error as? WALError else {
          return false
        }
        return path == source.path && offset == block.offset && reason.contains("checksum")
          && reason.contains("wal-compact")
      }
      #expect(source.named == [] && source.data == [])
      source.disk.put(source.path, whole)
    }
  }

  @Test("refuses a snapshot whose header or footer is damaged, and one cut short")
  func damagedEnds() throws {
    let source = try Source(keys: 100)
    let whole = try #require(source.disk.contents(source.path))
    for place in [0, 20, 60, whole.count - 1, whole.count - 20, whole.count - 500] {
      var bytes = whole
      bytes[place] ^= 4
      source.disk.put(source.path, bytes)
      #expect { try source.split(into: 2) } throws: { "\($0)".contains(source.path) }
    }
    source.disk.put(source.path, Array(whole.dropLast(7)))
    #expect { try source.split(into: 2) } throws: { "\($0)".contains("cut short") }
    #expect(source.named == [] && source.data == [])
  }

  @Test("does not take a footer's word for its digests", arguments: [2, 3] as [UInt32])
  func wrongDigest(count: UInt32) throws {
    let source = try Source(keys: 100)
    var bytes = try #require(source.disk.contents(source.path))
    let trailer = bytes.count - 32
    let footer = Int(bytes.span.bytes.number(at: trailer, as: UInt64.self))
    bytes[trailer - 5] ^= 1
    let origin = try source.fixture.open(source.path).header.base.origin
    let crc = Checksum(origin: origin)(bytes.span.bytes.extracting(footer..<trailer + 20))
    bytes.withUnsafeMutableBytes { $0.store(crc, at: trailer + 20) }
    source.disk.put(source.path, bytes)
    #expect { try source.split(into: count) } throws: { "\($0)".contains("digest differ") }
    #expect(source.named == [] && source.data == [])
  }

  // MARK: - Refusals

  @Test("refuses what is no multiple, naming both, and more children than it makes at once")
  func counts() throws {
    let source = try Source(shardCount: 3, keys: 10)
    #expect {
      try source.split(into: 8)
    } throws: {
      "\($0)".contains("shard 0 of 3") && "\($0)".contains("8 shards cannot be made")
    }
    #expect { try source.split(into: 0) } throws: { "\($0)".contains("multiple of 3") }
    #expect { try source.split(into: 771) } throws: { "\($0)".contains("257 directories") }
    #expect(source.disk.paths.allSatisfy { $0.hasPrefix("/data/") })
    #expect(try source.split(into: 768).children.count == 256)
  }

  @Test("refuses a place that is taken, before it makes anything; an empty directory will do")
  func taken() throws {
    let source = try Source(keys: 50)
    try source.disk.makeDirectory("/out")
    try source.disk.makeDirectory("/out/shard-0-of-2")
    try source.disk.makeDirectory("/out/shard-1-of-2")
    source.disk.put("/out/shard-1-of-2/mine", [1])
    #expect {
      try source.split(into: 2)
    } throws: { "\($0)".contains("/out/shard-1-of-2: there is something already") }
    #expect(source.disk.paths.filter { $0.hasPrefix("/out/") } == ["/out/shard-1-of-2/mine"])
    source.disk.delete("/out/shard-1-of-2/mine")
    let report = try source.split(into: 2)
    try SplitFixture.expectChildren(report, of: source.entries, source.disk, source.clock)
    #expect { try source.split(into: 2) } throws: { "\($0)".contains("something already") }
  }

  @Test("refuses a directory that a node has, and one without data")
  func notThere() throws {
    let source = try Source(keys: 10)
    let lock = try DirectoryLock("/data", fileSystem: source.disk)
    #expect {
      try source.split(into: 2)
    } throws: { error in
      if case .locked = error as? WALError { true } else { false }
    }
    withExtendedLifetime(lock) {}
    try source.disk.makeDirectory("/empty")
    #expect {
      try Splitter.run(
        "/empty", into: 2, out: "/out", options: SplitFixture.options(source.disk, source.clock))
    } throws: { "\($0)".contains("no data here") }
    #expect(source.named == [] && source.data == [])
  }

  @Test("refuses a directory in the middle of a rewind, and one whose note is of another one")
  func contradictions() throws {
    let source = try Source(shardCount: 2, keys: 10)
    try source.disk.makeDirectory("/data/wal")
    source.disk.put("/data/wal/rewind", utf8("something\n"))
    #expect { try source.split(into: 2) } throws: { "\($0)".contains("rewind") }
    source.disk.delete("/data/wal/rewind")
    try ShardNote(index: 1, count: 2, hash: .fnv1).write(in: "/data", fileSystem: source.disk)
    #expect {
      try source.split(into: 4)
    } throws: { "\($0)".contains("shard 0 of 2") && "\($0)".contains("shard 1 of 2") }
    try ShardNote(index: 0, count: 2, hash: .fnv1).write(in: "/data", fileSystem: source.disk)
    #expect(try source.split(into: 4).children.map(\.shard.index) == [0, 2])
  }

  @Test(
    "of a directory that was doubled and not purged leaves the others' keys out, and counts them")
  func notPurged() throws {
    let source = try Source()
    for note in [
      ShardNote(index: 1, count: 2, hash: .fnv1), .init(index: 2, count: 3, hash: .fnv1),
    ] {
      try note.write(in: "/data", fileSystem: source.disk)
      for multiple: UInt32 in [2, 3] {
        let out = "/out-\(note.count)-\(multiple)"
        let report = try source.split(into: note.count * multiple, out: out, verifies: true)
        #expect(report.parent == note && report.foreignKeys > 0)
        try SplitFixture.expectChildren(report, of: source.entries, source.disk, source.clock)
      }
    }
  }

  @Test("begins an epoch above one that the source has promised")
  func promised() throws {
    let source = try Source(keys: 10)
    try PromiseNote("/data", fileSystem: source.disk).write(Epoch(number: 7, node: 3))
    let report = try source.split(into: 2)
    #expect(
      report.children.map(\.epoch) == [
        Epoch(number: 8, node: 1_000), Epoch(number: 8, node: 1_001),
      ])
  }
}

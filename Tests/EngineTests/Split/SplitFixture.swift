import Engine
import Sharding
import SimulatedDisk
import Testing
import WAL

/// What tests of splits share.
enum SplitFixture {
  static func options(_ disk: SimulatedDisk, _ clock: SimulatedClock) -> Splitter.Options {
    var options = Splitter.Options(node: 1_000)
    options.fileSystem = disk
    options.clock = clock.clock
    options.threads = 1
    return options
  }

  static func store(
    _ shard: ShardNote, in directory: String, _ disk: SimulatedDisk, _ clock: SimulatedClock
  ) throws(WALError) -> Store {
    var options = StoreOptions(dataDirectory: directory, node: 7)
    options.fileSystem = disk
    options.clock = clock.clock
    options.segmentBytes = 16_384
    options.usesThreads = false
    options.shardIndex = shard.index
    options.shardCount = shard.count
    options.hash = shard.hash
    return try Store.open(options)
  }

  static func holds(_ shard: ShardNote, _ key: [UInt8]) -> Bool {
    key.withUnsafeBytes { shard.hash($0) } % UInt64(shard.count) == UInt64(shard.index)
  }

  static func entries(_ all: [[UInt8]: Found], of shard: ShardNote) -> [[UInt8]: Found] {
    all.filter { holds(shard, $0.key) }
  }

  /// The bytes of every file below a directory.
  static func files(_ disk: SimulatedDisk, below directory: String) -> [String: [UInt8]] {
    var files: [String: [UInt8]] = [:]
    for path in disk.paths where path.hasPrefix(directory + "/") {
      files[path] = disk.contents(path)
    }
    return files
  }

  /// Expects every child of the parent, each with its keys, and that a node starts from it as that shard.
  ///
  /// - Parameter all: what the parent holds, keys of other shards included.
  static func expectChildren(
    _ report: SplitReport, of all: [[UInt8]: Found], _ disk: SimulatedDisk,
    _ clock: SimulatedClock, _ comment: Comment = ""
  ) throws {
    let count = try #require(report.children.first).shard.count
    #expect(
      report.children.map(\.shard.index)
        == Array(stride(from: report.parent.index, to: count, by: Int(report.parent.count))),
      comment)
    var keys = 0
    for child in report.children {
      #expect(child.shard.count == count && child.shard.hash == report.parent.hash, comment)
      let expected = entries(all, of: child.shard)
      keys += expected.count
      // Every digest of a stripe, by the child's own number of shards.
      let file = try SnapshotFile(child.snapshot.path, fileSystem: disk)
      try SnapshotCheck.run(file, pace: Pace())
      #expect(child.snapshot.keys == UInt64(expected.count), comment)
      let store = try store(child.shard, in: child.directory, disk, clock)
      #expect(store.index.contents() == expected, comment)
      #expect(store.index.digest() == child.snapshot.digest, comment)
      #expect(store.index.digests() == file.footer.digests, comment)
      #expect(store.report.log.wasClean && !store.owesEpoch, comment)
      #expect(store.report.digestMismatches == [] && store.report.badSnapshots.isEmpty, comment)
      #expect(store.index.appliedSequence == report.position.sequence + 2, comment)
      #expect(
        store.epochs.last == EpochHistory.Start(child.epoch, at: report.position.sequence + 1),
        comment)
      try store.close()
    }
    #expect(Set(report.children.map(\.epoch)).count == report.children.count, comment)
    let parent = entries(all, of: report.parent)
    #expect(keys == parent.count && report.keys == UInt64(keys), comment)
    #expect(report.foreignKeys == UInt64(all.count - parent.count), comment)
  }
}

import Engine
import SimulatedDisk
import Testing
import WAL

@Suite("A compaction in place")
struct CompactionTests {
  /// A log of several segments, closed in order, with deleted keys, a batch and keys that expire.
  private struct Story {
    let disk: SimulatedDisk
    let clock = SimulatedClock()
    var contents: [[UInt8]: Found] = [:]
    var digest = Digest()
    /// The only one.
    var epoch = LogPosition.start.epoch
    var position = LogPosition.start

    init(seed: UInt64, closes: Bool = true) throws {
      disk = SimulatedDisk(seed: seed)
      let fixture = try CommitterFixture(disk, segmentBytes: 16_384)
      for number in 0..<40 {
        let value = String(repeating: "\(number)", count: 900)
        fixture.commit {
          $0.put("key-\(number % 15)", value, fixture.index)
          $0.put("late-\(number)", "x", fixture.index, expiry: 1_700_000_000_000 + 3_600_000)
        }
      }
      fixture.commit { $0.delete("key-3", fixture.index) }
      fixture.commit { $0.batch([("a", "1"), ("b", "2"), ("key-4", nil)]) }
      contents = fixture.index.contents()
      digest = fixture.index.digest()
      epoch = fixture.log.epoch
      if closes { try fixture.log.close(markContent: digest.encoded) }
      position = fixture.log.position
      disk.restartProcess()
    }

    func compact() throws(WALError) -> OfflineReport {
      try Compaction.run(
        "/data", node: 9, pace: Pace(), fileSystem: disk, clock: clock.clock)
    }

    func opened() throws -> Store {
      var options = StoreOptions(dataDirectory: "/data", node: 7)
      options.fileSystem = disk
      options.clock = clock.clock
      options.segmentBytes = 16_384
      options.usesThreads = false
      return try Store.open(options)
    }
  }

  @Test("leaves one snapshot, and the same keys, versions, epochs and digest")
  func same() throws {
    let story = try Story(seed: 1)
    let report = try story.compact()
    #expect(
      report.position == story.position && report.snapshot.keys == UInt64(story.contents.count))
    #expect(report.bytesAfter < report.bytesBefore && report.bytesAfter > 0)
    #expect(try SegmentFile.list("/data/wal", in: story.disk).isEmpty)
    #expect(try story.disk.list("/data/snapshots").count == 1)
    // Again, and there is nothing to do.
    let calls = try story.disk.list("/data/wal")
    #expect(try story.compact().position == story.position)
    #expect(try story.disk.list("/data/wal") == calls)
    let store = try story.opened()
    #expect(store.report.log.wasClean && !store.report.log.needsNewEpoch)
    #expect(store.index.contents() == story.contents && store.index.digest() == story.digest)
    #expect(
      store.epochs.all.map(\.epoch) == [story.epoch]
        && store.index.appliedSequence == story.position.sequence)
    try store.close()
  }

  @Test(
    "that is interrupted at any call leaves the old state or the new one", arguments: [true, false])
  func interrupted(losesPower: Bool) throws {
    var call = 1
    var kills = 0
    var isDone = false
    while !isDone {
      let story = try Story(seed: UInt64(call))
      let start = story.disk.calls
      story.disk.fault = { _, _ in story.disk.calls >= start + call ? .die : nil }
      do {
        _ = try story.compact()
        isDone = true
      } catch {
        guard story.disk.isDead else { throw error }
        kills += 1
      }
      story.disk.fault = { _, _ in nil }
      if losesPower { story.disk.losePower() } else { story.disk.restartProcess() }
      if call % 2 == 0 { _ = try story.compact() }
      let store = try story.opened()
      #expect(store.index.contents() == story.contents, "call \(call)")
      #expect(store.index.digest() == story.digest && store.report.digestMismatches == [])
      #expect(store.epochs.all.map(\.epoch) == [story.epoch], "call \(call)")
      try store.close()
      call += 1
    }
    #expect(kills > 40)
  }

  @Test("saves a torn write aside and cuts it off, and the start behind it begins an epoch")
  func torn() throws {
    let story = try Story(seed: 3, closes: false)
    let segment = try #require(try SegmentFile.list("/data/wal", in: story.disk).last)
    var bytes = try #require(story.disk.contents(segment.path))
    let end = try #require(bytes.lastIndex { $0 != 0 })
    for at in end - 44...end { bytes[at] = 0 }
    story.disk.overwrite(segment.path, bytes)
    let report = try story.compact()
    #expect(report.cut?.saved.count == 1 && report.position.sequence < story.position.sequence)
    let store = try story.opened()
    #expect(store.epochs.all.count == 2 && store.value("a") == nil && store.value("key-4") != nil)
    try store.close()
  }

  @Test("refuses damage to what was acknowledged, and changes nothing")
  func damaged() throws {
    let story = try Story(seed: 4)
    let segments = try SegmentFile.list("/data/wal", in: story.disk)
    var bytes = try #require(story.disk.contents(segments[1].path))
    bytes[2_000] ^= 1
    story.disk.overwrite(segments[1].path, bytes)
    let before = try story.disk.list("/data/wal").sorted()
    #expect {
      try story.compact()
    } throws: { error in
      if case .damaged(let damage) = error as? WALError {
        damage.path == segments[1].path
      } else {
        false
      }
    }
    #expect(try story.disk.list("/data/wal").sorted() == before)
    #expect(try SnapshotDirectory("/data", fileSystem: story.disk).list().isEmpty)
  }

  @Test("puts a damaged snapshot away where an older one and the log behind it serve")
  func damagedSnapshot() throws {
    let story = try Story(seed: 5)
    // Before the log is folded a newer snapshot comes to be, and is damaged.
    let path = SnapshotDirectory("/data").path(of: 20)
    story.disk.put(path, Array("SHIPSNAP and then nothing of the kind".utf8))
    let report = try story.compact()
    #expect(report.quarantined == ["/data/quarantine/00000000000000000020.snap"])
    let store = try story.opened()
    #expect(store.index.contents() == story.contents)
    try store.close()
  }

  @Test("of nothing is refused, and makes nothing")
  func nothing() throws {
    let disk = SimulatedDisk(seed: 1)
    #expect(throws: WALError.self) {
      try Compaction.run("/data", node: 1, pace: Pace(), fileSystem: disk)
    }
    #expect(try disk.list("/data").isEmpty)
  }
}

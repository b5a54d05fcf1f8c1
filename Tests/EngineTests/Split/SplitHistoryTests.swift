import Engine
import Sharding
import SimulatedDisk
import Testing
import WAL

@Suite("A split of any history")
struct SplitHistoryTests {
  /// How a history ends.
  private enum Ending: Int, CaseIterable {
    case log, snapshot, snapshotAndLog, snapshotAndQuiet
  }

  private struct Case {
    let history: SnapshotHistory
    let parent: ShardNote
    let count: UInt32
    let ending: Ending
    let plain: PlainLog
    var disk: SimulatedDisk { history.disk }
  }

  /// A directory that a node has left, and what is in it, found out record by record.
  private func history(seed: UInt64) throws -> Case {
    let history = try SnapshotHistory(seed: seed)
    var random = SeededRandom(seed: seed + 1_000)
    let hash = ShardHash.allCases[random.below(2)]
    let shards = UInt32([1, 1, 2, 3][random.below(4)])
    let parent = ShardNote(index: UInt32(random.below(Int(shards))), count: shards, hash: hash)
    let count = shards * UInt32([1, 2, 2, 3, 4, 6, 8][random.below(7)])
    let ending = Ending.allCases[random.below(4)]
    for _ in 0..<5 + random.below(60) { try history.step() }
    if ending != .log {
      var place = history.place(shardCount: shards)
      place.hash = hash
      place.shardIndex = parent.index
      _ = try SnapshotMerge.run(try history.input(), place, pace: Pace())
    }
    switch ending {
    case .log, .snapshot: break
    case .snapshotAndLog: for _ in 0..<1 + random.below(20) { try history.step() }
    case .snapshotAndQuiet:
      // Keys expire by the time of what says nothing of them.
      history.fixture.clock.advance(milliseconds: UInt64(random.below(4_000)))
      try history.log.startEpoch(
        Epoch(number: history.log.epoch.number + 1, node: 5), reason: .promoted)
    }
    if random.once(in: 2) {
      try history.log.close(markContent: history.fixture.index.digest().encoded)
    }
    history.disk.restartProcess()
    if parent != ShardNote(index: 0, count: 1, hash: .fnv1) || random.once(in: 2) {
      try parent.write(in: "/data", fileSystem: history.disk)
    }
    let plain = try PlainLog(
      try SegmentFile.list("/data/wal", in: history.disk), fileSystem: history.disk)
    return Case(history: history, parent: parent, count: count, ending: ending, plain: plain)
  }

  @Test(
    "has the parent's keys, each once, as a record by record replay leaves them",
    arguments: 0..<60 as Range<UInt64>)
  func children(seed: UInt64) throws {
    let story = try history(seed: seed)
    let before = SplitFixture.files(story.disk, below: "/data")
    var options = SplitFixture.options(story.disk, story.history.fixture.clock)
    options.verifies = true
    let report = try Splitter.run("/data", into: story.count, out: "/out", options: options)
    #expect(SplitFixture.files(story.disk, below: "/data") == before)
    #expect(report.parent == story.parent && report.position.sequence == story.plain.sequence)
    switch story.ending {
    case .log, .snapshotAndLog: break
    case .snapshot, .snapshotAndQuiet: #expect(!report.hasFolded)
    }
    for child in report.children {
      let header = try SnapshotFile(child.snapshot.path, fileSystem: story.disk).header
      let start = EpochHistory.Start(child.epoch, at: story.plain.sequence + 1)
      #expect(header.epochs == story.plain.epochs + [start])
      #expect(header.frameTimeMilliseconds == story.plain.frameTime)
      try expectFollowable(child, report, story)
    }
    try SplitFixture.expectChildren(
      report, of: story.plain.entries, story.disk, story.history.fixture.clock)
    #expect(!story.disk.paths.contains { $0.contains(".partial/") })
  }

  /// Who has all of the parent's log, and takes the child's behind it, has what the child has.
  private func expectFollowable(
    _ child: SplitReport.Child, _ report: SplitReport, _ story: Case
  ) throws {
    let index = Index(hash: child.shard.hash, shardCount: child.shard.count)
    var replay = Replay(index: index, epochs: EpochHistory())
    var end = LogPosition.start
    for log in ["/data/wal", child.directory + "/wal"] {
      var reader = try LogReader(directory: log, fileSystem: story.disk)
      while case .frame(let header) = try reader.next() {
        #expect(header.previousCRC == end.crc && header.firstSequence == end.sequence + 1)
        try reader.withRecords { (records) throws(WALError) in try replay.apply(header, records) }
        end = header.position
      }
    }
    #expect(end.sequence == report.position.sequence + 2 && end.epoch == child.epoch)
    #expect(index.digest() == child.snapshot.digest)
    #expect(index.contents() == SplitFixture.entries(story.plain.entries, of: child.shard))
  }

  @Test("where no key is left makes children that have none")
  func empty() throws {
    for deletes in [false, true] {
      let fixture = try CommitterFixture(segmentBytes: 4_096)
      if deletes {
        fixture.commit { $0.put("a", "1", fixture.index) }
        fixture.commit { $0.delete("a", fixture.index) }
      }
      try fixture.log.close(markContent: nil)
      fixture.disk.restartProcess()
      for count: UInt32 in [2, 3] {
        var options = SplitFixture.options(fixture.disk, fixture.clock)
        options.verifies = true
        let report = try Splitter.run("/data", into: count, out: "/out-\(count)", options: options)
        #expect(report.hasFolded == deletes && report.keys == 0)
        try SplitFixture.expectChildren(report, of: [:], fixture.disk, fixture.clock)
      }
    }
  }

  @Test("leaves a torn write at the end out, says so, and refuses damage in front of it")
  func torn() throws {
    let fixture = try CommitterFixture(segmentBytes: 16_384)
    for number in 0..<12 {
      fixture.commit { $0.put("key-\(number)", String(repeating: "v", count: 500), fixture.index) }
    }
    fixture.disk.restartProcess()
    let segment = try #require(try SegmentFile.list("/data/wal", in: fixture.disk).last)
    let whole = try #require(fixture.disk.contents(segment.path))
    let end = try #require(whole.lastIndex { $0 != 0 })
    var bytes = whole
    for at in end - 44...end { bytes[at] = 0 }
    fixture.disk.put(segment.path, bytes)
    let options = SplitFixture.options(fixture.disk, fixture.clock)
    let report = try Splitter.run("/data", into: 2, out: "/out", options: options)
    #expect(report.cut?.kind == .torn && report.keys == 11 && report.hasFolded)
    var left = fixture.index.contents()
    left[utf8("key-11")] = nil
    try SplitFixture.expectChildren(report, of: left, fixture.disk, fixture.clock)
    #expect(fixture.disk.contents(segment.path) == bytes)
    bytes = whole
    bytes[3_000] ^= 1
    fixture.disk.put(segment.path, bytes)
    #expect {
      try Splitter.run("/data", into: 2, out: "/again", options: options)
    } throws: { error in
      if case .damaged(let damage) = error as? WALError {
        damage.path == segment.path && damage.kind == .corrupt
      } else {
        false
      }
    }
    #expect(!fixture.disk.paths.contains { $0.hasPrefix("/again/") })
  }
}

import Engine
import Sharding
import SimulatedDisk
import Testing
import WAL

@Suite("A directory that becomes one shard of more")
struct DoublingTests {
  private struct Story {
    var random: SeededRandom
    var parent: DoublingNode
    var children: [DoublingNode]
    /// The parent's end.
    var end: LogPosition
  }

  /// A parent that was written to, and a copy of its directory for each child; none runs.
  private static func story(
    seed: UInt64, hash: ShardHash? = nil, shards: (parent: UInt32, factor: UInt32)? = nil,
    writes: Int? = nil
  ) throws -> Story {
    var random = SeededRandom(seed: seed)
    let hash = hash ?? ShardHash.allCases[random.below(2)]
    let count = shards?.parent ?? UInt32([1, 2, 3][random.below(3)])
    let factor = shards?.factor ?? UInt32([2, 2, 3, 4][random.below(4)])
    let shard = ShardNote(index: UInt32(random.below(Int(count))), count: count, hash: hash)
    let parent = DoublingNode(shard, node: 1)
    try parent.start()
    for _ in 0..<(writes ?? 40 + random.below(120)) { write(parent, &random) }
    let isClean = random.once(in: 2)
    if isClean { try parent.stop() } else { parent.kill() }
    parent.disk.losePower()
    let children = (0..<factor).map { number in
      parent.copied(
        as: ShardNote(index: shard.index + number * count, count: count * factor, hash: hash),
        node: 10 + UInt64(number), seed: seed)
    }
    let reader = parent.copied(as: shard, node: 1)
    try reader.start()
    // A torn write was cut, and an epoch begun for that, behind the end.
    let last = try #require(reader.store.epochs.last).firstSequence
    var end: LogPosition? = reader.store.feed.end
    if last > 1 { end = try reader.store.point(behind: last - 1)?.position }
    try reader.stop()
    return Story(random: random, parent: parent, children: children, end: try #require(end))
  }

  /// A write to a key of its shard.
  private static func write(_ node: DoublingNode, _ random: inout SeededRandom) {
    var key = "key-\(random.below(60))"
    while !SplitFixture.holds(node.shard, utf8(key)) { key = "key-\(random.below(1_000))" }
    switch random.below(10) {
    case 0, 1: node.delete(key)
    case 2:
      node.put(key, "short", expiry: node.clock.wallMilliseconds + UInt64(random.below(100_000)))
    default: node.put(key, String(repeating: "v", count: random.below(400)))
    }
    if random.once(in: 40) { node.store.snapshots.request { _ in } }
    if random.once(in: 10) { node.store.step() }
    node.clock.advance(milliseconds: UInt64(random.below(20)))
  }

  @Test(
    "is with its copies what it was, each with its keys, in epochs of their own",
    arguments: 0..<40 as Range<UInt64>)
  func children(seed: UInt64) throws {
    var story = try Self.story(seed: seed)
    for child in story.children { try child.start() }
    let before = story.children[0].contents
    for child in story.children {
      #expect(child.contents == before)
      let last = try #require(child.store.epochs.last)
      #expect(last.epoch.node == child.options.node && last.firstSequence == story.end.sequence + 1)
      #expect(child.store.shardStartPoint?.position == story.end)
      #expect(child.note?.start?.point == child.store.shardStartPoint)
    }
    var digest = Digest()
    for child in story.children {
      // Some have begun to lead their shard meanwhile.
      for other in story.children where story.random.once(in: 3) {
        for _ in 0..<5 { Self.write(other, &story.random) }
      }
      let contents = child.store.index.contents(ofShards: child.shard.count)
      for (shard, content) in contents where shard != child.shard.index && content.keys > 0 {
        let owner = try #require(story.children.first { $0.shard.index == shard })
        #expect(try child.judge(shard, by: owner) == .holds)
      }
      let kept = SplitFixture.entries(child.contents, of: child.shard)
      let gone = child.contents.count - kept.count
      #expect(child.purge(checkedThrough: child.store.index.appliedSequence).removed == gone)
      #expect(child.contents == kept)
      digest.add(child.store.index.digest())
      try expectFollowed(child)
    }
    for child in story.children {
      let state = child.contents
      let end = child.store.feed.end.sequence
      if story.random.once(in: 2) { try child.snapshot() }
      if story.random.once(in: 2) { try child.stop() } else { child.kill() }
      try child.start()
      #expect(child.contents == state && child.store.report.digestMismatches == [])
      // Another one only where a torn write was cut.
      let begun = child.store.epochs.all.filter { $0.firstSequence > story.end.sequence }
      #expect(begun[0].firstSequence == story.end.sequence + 1)
      let wasCut = child.store.report.log.cut != nil
      #expect(begun.count == (wasCut ? 2 : 1))
      #expect(child.store.feed.end.sequence <= end + 2)
      // Nothing of the others is left: its own place in the order is all that it needs.
      #expect(child.note?.start?.heldCount == child.shard.count)
      #expect(child.store.shardStartPoint?.position == story.end)
      try child.stop()
    }
  }

  /// Whoever replays its log has what it has, however its index is made.
  private func expectFollowed(_ child: DoublingNode) throws {
    guard try child.store.oldestSequence() == 1 else { return }
    for made in [1, 2, 3, 4, child.shard.count] as [UInt32] {
      let index = Index(hash: child.shard.hash, shardCount: made)
      var replay = Replay(index: index, epochs: EpochHistory())
      var reader = try LogReader(directory: "/data/wal", fileSystem: child.disk)
      while case .frame(let header) = try reader.next() {
        try reader.withRecords { (records) throws(WALError) in try replay.apply(header, records) }
      }
      #expect(index.contents() == child.contents && index.digest() == child.store.index.digest())
    }
  }

  @Test(
    "that is killed at any call of its first start and of its purge is what it was, or purged",
    arguments: [true, false], [(1, 2), (2, 3)] as [(UInt32, UInt32)])
  func killed(losesPower: Bool, shards: (UInt32, UInt32)) throws {
    let story = try Self.story(seed: 4, shards: shards, writes: 40)
    var call = 1
    var states: Set<Int> = []
    var isDone = false
    while !isDone {
      let child = story.children[1].copied(
        as: story.children[1].shard, node: 11, seed: UInt64(call))
      let start = child.disk.calls
      child.disk.fault = { _, _ in child.disk.calls >= start + call ? .die : nil }
      var isPurged = false
      do throws(WALError) {
        try child.start()
        isPurged = child.purge().isWritten
        try child.stop()
        isDone = true
      } catch {
        #expect(child.disk.isDead, "\(error)")
      }
      child.kill()
      if losesPower { child.disk.losePower() } else { child.disk.restartProcess() }
      try child.start()
      let comment = Comment("call \(call)")
      let kept = SplitFixture.entries(child.contents, of: child.shard)
      let foreign = child.contents.count - kept.count
      #expect(!isPurged || foreign == 0, comment)
      #expect(
        !child.store.owesShardEpoch && child.store.shardStartPoint?.position == story.end, comment)
      #expect(child.store.epoch.node == 11 && child.note?.isShard(child.shard) == true, comment)
      #expect(child.store.report.digestMismatches == [], comment)
      states.insert(foreign)
      #expect(child.purge().removed == foreign && child.contents == kept, comment)
      try child.stop()
      call += 1
    }
    // All or nothing, and both.
    #expect(states.count == 2 && states.contains(0) && call > 30)
  }

  @Test(
    "is refused where the owner was copied before the last writes, or from elsewhere, or lost some")
  func refused() throws {
    let shard = ShardNote(index: 0, count: 1, hash: .fnv1)
    let parts = (0..<2).map { ShardNote(index: $0, count: 2, hash: .fnv1) } as [ShardNote]
    let parent = DoublingNode(shard, node: 1)
    try parent.start()
    for number in 0..<20 { parent.put("key-\(number)", "a") }
    try parent.stop()
    let early = parent.copied(as: parts[1], node: 11)
    // The same writes, in another log.
    let stranger = DoublingNode(shard, node: 1)
    try stranger.start()
    for number in 0..<20 { stranger.put("key-\(number)", "b") }
    try stranger.stop()
    stranger.be(parts[1])
    try parent.start()
    for number in 15..<25 { parent.put("key-\(number)", "c") }
    try parent.stop()
    let whole = parent.copied(as: parts[1], node: 12)
    parent.be(parts[0])
    for node in [parent, early, stranger, whole] { try node.start() }
    #expect(try parent.judge(1, by: whole) == .holds)
    for (owner, words) in [(early, "does not contain"), (stranger, "is another one")] {
      guard case .refused(let reason) = try parent.judge(1, by: owner) else {
        Issue.record("it holds")
        continue
      }
      #expect(reason.contains(words), "\(reason)")
    }
    // And the other way round the earlier one has nothing that the parent has not.
    #expect(try early.judge(0, by: parent) == .holds)
    // A write of the parent's, to what is not its own any more, is nowhere else.
    let key = (0..<25).map { "key-\($0)" }.first { SplitFixture.holds(parts[1], utf8($0)) }!
    parent.put(key, "late")
    guard case .refused = try parent.judge(1, by: whole) else {
      Issue.record("the late write is lost")
      return
    }
    for node in [parent, early, stranger, whole] { try node.stop() }
  }

  @Test("is known by the points at which directories became shards, once the log from then is gone")
  func compacted() throws {
    let story = try Self.story(seed: 9, hash: .fnv1, shards: (1, 2), writes: 60)
    let (a, b) = (story.children[0], story.children[1])
    try a.start()
    try b.start()
    // Only the owner's log is gone; then only this node's; then both.
    for node in [b, a] {
      for round in 0..<60 {
        let key = (0..<100).map { "new-\($0)" }.filter { SplitFixture.holds(node.shard, utf8($0)) }
        node.put(key[round % key.count], String(repeating: "x", count: 2_000))
        if round % 20 == 19 {
          try node.snapshot()
          try node.snapshot()
        }
      }
      #expect(try node.store.oldestSequence() > story.end.sequence + 1)
      #expect(try a.judge(1, by: b) == .holds)
      #expect(try b.judge(0, by: a) == .holds)
    }
    let start = try #require(a.store.shardStartPoint)
    #expect(try b.store.evidence(of: start) == .note)
    var other = start
    other.position.crc ^= 1
    #expect(try b.store.evidence(of: other) == .epochs)
    other.position.epoch.node ^= 1
    #expect(try b.store.evidence(of: other) == .absent)
    other = start
    other.origin ^= 1
    #expect(try b.store.evidence(of: other) == .absent)
    other = start
    other.position.sequence = b.store.feed.end.sequence + 1
    #expect(try b.store.evidence(of: other) == .absent)
    try a.stop()
    try b.stop()
  }

  @Test("holds what a split's children hold, and they what it holds")
  func split() throws {
    let story = try Self.story(seed: 12, hash: .fnv1Mixed, shards: (1, 2), writes: 80)
    let disk = SimulatedDisk(
      seed: 1, directories: ["/data", "/data/wal", "/data/snapshots"])
    for path in story.parent.disk.paths where !path.hasSuffix("LOCK") {
      disk.put(path, story.parent.disk.contents(path)!)
    }
    let report = try Splitter.run(
      "/data", into: 2, out: "/out", options: SplitFixture.options(disk, story.parent.clock))
    let child = DoublingNode(
      story.children[1].shard, node: 1_001, disk: disk, clock: story.parent.clock)
    child.options.dataDirectory = report.children[1].directory
    let parent = story.children[0]
    try parent.start()
    try child.start()
    // It has an epoch of its own already.
    #expect(child.store.epochs.last?.epoch == report.children[1].epoch)
    #expect(child.store.shardStartPoint?.position == story.end)
    #expect(child.store.index.contents(ofShards: 2).keys.sorted() == [1])
    #expect(try parent.judge(1, by: child) == .holds)
    try parent.stop()
    try child.stop()
  }
}

import Engine
import Glibc
import Sharding
import SimulatedDisk
import Testing
import WAL

@Suite("A split that is interrupted")
struct SplitCrashTests {
  /// A directory that a node has left: with log to fold, or with nothing behind its snapshot.
  private struct Story {
    let disk: SimulatedDisk
    let clock = SimulatedClock()
    let contents: [[UInt8]: Found]
    let before: [String: [UInt8]]
    let count: UInt32

    init(seed: UInt64, folds: Bool, count: UInt32) throws {
      self.count = count
      disk = SimulatedDisk(seed: seed)
      let fixture = try CommitterFixture(disk, segmentBytes: 4_096)
      for number in 0..<12 {
        fixture.commit {
          $0.put("key-\(number)", String(repeating: "v", count: 600), fixture.index)
        }
      }
      contents = fixture.index.contents()
      try fixture.log.close(markContent: fixture.index.digest().encoded)
      disk.restartProcess()
      if !folds { _ = try Compaction.run("/data", node: 9, pace: Pace(), fileSystem: disk) }
      // From here on everything is on the disk.
      disk.losePower()
      before = SplitFixture.files(disk, below: "/data")
    }

    func split() throws(WALError) -> SplitReport {
      var options = SplitFixture.options(disk, clock)
      options.verifies = true
      return try Splitter.run("/data", into: count, out: "/out", options: options)
    }

    func notes() -> [ShardNote] {
      (0..<count).map { ShardNote(index: $0, count: count, hash: .fnv1) }
    }

    func directory(_ shard: ShardNote) -> String { "/out/shard-\(shard.index)-of-\(count)" }

    /// Those that have their names.
    var named: [ShardNote] {
      notes().filter { note in disk.paths.contains { $0.hasPrefix(directory(note) + "/") } }
    }

    /// Expects of each child that has its name that it is whole.
    func expectWhole(_ comment: Comment) throws {
      for note in named {
        let store = try SplitFixture.store(note, in: directory(note), disk, clock)
        #expect(store.index.contents() == SplitFixture.entries(contents, of: note), comment)
        #expect(store.report.log.wasClean && store.report.digestMismatches == [], comment)
        try store.close()
      }
    }
  }

  @Test(
    "at any call leaves the source as it was, and children that are whole or have no name",
    arguments: [true, false], [true, false])
  func death(losesPower: Bool, folds: Bool) throws {
    var call = 1
    var kills = 0
    var partly = 0
    var isDone = false
    while !isDone {
      let story = try Story(seed: UInt64(call), folds: folds, count: call % 2 == 0 ? 3 : 2)
      let start = story.disk.calls
      story.disk.fault = { _, _ in story.disk.calls >= start + call ? .die : nil }
      do {
        _ = try story.split()
        isDone = true
      } catch {
        guard story.disk.isDead else { throw error }
        kills += 1
      }
      if losesPower { story.disk.losePower() } else { story.disk.restartProcess() }
      let comment = Comment("call \(call)")
      #expect(SplitFixture.files(story.disk, below: "/data") == story.before, comment)
      if isDone { #expect(story.named == story.notes(), comment) }
      switch story.named.count {
      case 0:
        // It goes on from what is there.
        #expect(try story.split().keys == UInt64(story.contents.count), comment)
        #expect(story.named == story.notes(), comment)
      default:
        if story.named != story.notes() { partly += 1 }
        #expect(throws: WALError.self, comment) { try story.split() }
      }
      try story.expectWhole(comment)
      #expect(SplitFixture.files(story.disk, below: "/data") == story.before, comment)
      call += 1
    }
    #expect(kills > 100 && partly > 0)
  }

  @Test("leaves nothing that a node would begin an empty shard in")
  func unfinished() throws {
    let story = try Story(seed: 1, folds: false, count: 2)
    var renames = 0
    story.disk.fault = { call, path in
      guard call == .rename, path.hasSuffix(DirectoryDraft.suffix) else { return nil }
      renames += 1
      return renames == 2 ? .die : nil
    }
    #expect(throws: WALError.self) { try story.split() }
    story.disk.restartProcess()
    for note in story.notes() where !story.named.contains(note) {
      let directory = story.directory(note)
      #expect {
        try SplitFixture.store(note, in: directory, story.disk, story.clock)
      } throws: { "\($0)".contains("\(directory).partial is there") }
      #expect(!story.disk.paths.contains { $0.hasPrefix(directory + "/") })
    }
    #expect(story.named.contains(story.notes()[0]))
    try story.expectWhole("between the names")
  }

  @Test(
    "by a call that fails makes no child, and leaves no data that fills the disk",
    arguments: [EIO, ENOSPC], [true, false])
  func failure(code: Int32, folds: Bool) throws {
    var call = 1
    var failures = 0
    var isDone = false
    while !isDone {
      let story = try Story(seed: UInt64(call), folds: folds, count: call % 2 == 0 ? 3 : 2)
      let start = story.disk.calls
      story.disk.fault = { _, _ in story.disk.calls == start + call ? .fail(code) : nil }
      let comment = Comment("call \(call)")
      do {
        _ = try story.split()
        isDone = story.disk.calls < start + call
        #expect(story.named == story.notes(), comment)
      } catch {
        failures += 1
        #expect(story.named == [], comment)
        let left = story.disk.paths.filter { $0.hasPrefix("/out/") && !$0.hasSuffix("/LOCK") }
        #expect(left == [], comment)
      }
      story.disk.restartProcess()
      #expect(SplitFixture.files(story.disk, below: "/data") == story.before, comment)
      if story.named.isEmpty {
        #expect(try story.split().keys == UInt64(story.contents.count), comment)
      }
      try story.expectWhole(comment)
      call += 1
    }
    #expect(failures > 100)
  }

  @Test("by a full disk says so, and the disk has its room again")
  func fullDisk() throws {
    for room in stride(from: 0, through: 24_000, by: 1_000) {
      let story = try Story(seed: 1, folds: true, count: 2)
      let used = story.disk.usedBytes
      story.disk.capacityBytes = used + room
      do throws(WALError) {
        _ = try story.split()
        #expect(room > 8_000)
      } catch {
        #expect(error.isFullDisk, "\(error)")
        #expect(story.named == [] && story.disk.usedBytes <= used + 64)
      }
      story.disk.capacityBytes = nil
      if story.named.isEmpty { _ = try story.split() }
      try story.expectWhole("\(room) bytes of room")
    }
  }
}

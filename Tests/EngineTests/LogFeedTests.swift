import Engine
import Glibc
import SimulatedDisk
import Synchronization
import TemporaryFiles
import Testing
import WAL

@Suite("A feed of the log") struct LogFeedTests {
  /// A frame as a follower has taken it.
  private struct Taken: Hashable {
    var first: UInt64
    var last: UInt64
    var bytes: [UInt8]
  }

  private static func taken(_ header: FrameHeader, _ frame: UnsafeRawBufferPointer) -> Taken {
    Taken(first: header.firstSequence, last: header.lastSequence, bytes: Array(frame))
  }

  private static func log(_ directory: String, _ disk: any FileSystem) throws -> [Taken] {
    var reader = try LogReader(directory: directory, fileSystem: disk)
    var frames: [Taken] = []
    while case .frame(let header) = try reader.next() {
      frames.append(
        reader.withFrame { frame in frame.withUnsafeBytes { taken(header, $0) } })
    }
    return frames
  }

  private struct Follower {
    var cursor: LogCursor
    var taken: [Taken] = []
    var fromMemory = 0
    var fromFiles = 0

    /// One frame, from wherever it is; or none.
    mutating func step(_ feed: LogFeed, bytesMax: Int = 1) throws(WALError) {
      if let frame = feed.recentFrame(at: cursor) {
        taken.append(LogFeedTests.taken(frame.header, frame.bytes))
        cursor.pass(frame)
        fromMemory += 1
      } else {
        try feed.read(&cursor, bytesMax: bytesMax) { header, frame in
          taken.append(LogFeedTests.taken(header, frame))
          fromFiles += 1
          return true
        }
      }
    }
  }

  @Test(
    "gives each follower every frame once, whichever way it goes",
    arguments: 0..<20 as Range<UInt64>)
  func everyFrameOnce(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    let fixture = try CommitterFixture(
      segmentBytes: [4_096, 16_384][Int(seed % 2)],
      recentBytesMax: [600, 2_500, 9_000][Int(seed % 3)])
    let feed = fixture.feed
    feed.subscribe()
    var followers: [(Follower, UInt64)] = []
    for round in 0..<400 {
      if round % 40 == 0 {
        let from = 1 + UInt64(random.below(Int(fixture.log.position.sequence) + 1))
        followers.append((Follower(cursor: LogCursor(next: from)), from))
      }
      if random.once(in: 2) {
        fixture.commit { submission in
          for _ in 0...random.below(3) {
            submission.put(random.bytes(4), random.bytes(random.below(500)), fixture.index)
          }
        }
      }
      // The ring is given up and begins again.
      if random.once(in: 50) {
        feed.unsubscribe()
        if random.once(in: 2) { fixture.commit { $0.put("gap", "", fixture.index) } }
        feed.subscribe()
      }
      if random.once(in: 20) {
        fixture.clock.advance(milliseconds: 200)
        _ = fixture.work.tick()
      }
      _ = fixture.log.backgroundStep()
      for index in followers.indices where random.once(in: 2) {
        try followers[index].0.step(feed, bytesMax: random.once(in: 4) ? 2_000 : 1)
      }
    }
    let log = try Self.log("/data/wal", fixture.disk)
    for index in followers.indices {
      while followers[index].0.cursor.next <= feed.appliedSequence {
        try followers[index].0.step(feed)
      }
      let (follower, from) = followers[index]
      #expect(follower.taken == log.filter { $0.last >= from })
    }
    #expect(followers.contains { $0.0.fromMemory > 0 } && followers.contains { $0.0.fromFiles > 0 })
    feed.unsubscribe()
  }

  @Test("goes from files to memory and back at every frame")
  func everyBoundary() throws {
    let fixture = try CommitterFixture(segmentBytes: 4_096)
    let feed = fixture.feed
    var random = SeededRandom(seed: 9)
    func commit(_ count: Int) {
      for _ in 0..<count {
        fixture.commit { $0.put(random.bytes(4), random.bytes(random.below(900)), fixture.index) }
      }
    }
    for boundary in 0..<12 {
      let from = fixture.log.position.sequence + 1
      commit(boundary)
      feed.subscribe()
      commit(12 - boundary)
      var follower = Follower(cursor: LogCursor(next: from))
      for _ in 0..<12 { try follower.step(feed) }
      #expect(follower.fromFiles == boundary && follower.fromMemory == 12 - boundary)
      // And back, behind what was in memory.
      feed.unsubscribe()
      commit(3)
      for _ in 0..<3 { try follower.step(feed) }
      #expect(follower.fromFiles == boundary + 3)
      let log = try Self.log("/data/wal", fixture.disk)
      #expect(follower.taken == log.filter { $0.last >= from })
      // Nothing more: another step takes nothing.
      try follower.step(feed)
      #expect(follower.taken.count == 15)
    }
  }

  @Test("gives a frame again that was not taken as a whole")
  func notTaken() throws {
    let fixture = try CommitterFixture()
    for number in 0..<5 { fixture.commit { $0.put("\(number)", "value", fixture.index) } }
    var cursor = LogCursor(next: 2)
    var seen: [UInt64] = []
    try fixture.feed.read(&cursor, bytesMax: 1 << 20) { header, _ in
      seen.append(header.firstSequence)
      return header.firstSequence < 4
    }
    #expect(seen == [2, 3, 4] && cursor.next == 4)
    try fixture.feed.read(&cursor, bytesMax: 1 << 20) { header, _ in
      seen.append(header.firstSequence)
      return true
    }
    #expect(seen == [2, 3, 4, 4, 5, 6] && cursor.next == 7)
  }

  @Test("says that the log begins behind a follower, at its start and later")
  func retired() throws {
    let fixture = try CommitterFixture(segmentBytes: 4_096)
    for number in 0..<60 {
      fixture.commit { $0.put("\(number)", String(repeating: "v", count: 400), fixture.index) }
      _ = fixture.log.backgroundStep()
    }
    var follower = Follower(cursor: LogCursor(next: 1))
    for _ in 0..<3 { try follower.step(fixture.feed) }
    fixture.log.retire(through: 40)
    while fixture.log.backgroundStep() {}
    let oldest = fixture.log.oldestSequence
    #expect(oldest > 4)
    #expect(throws: WALError.notRetained(sequence: 4, oldest: oldest)) {
      try follower.step(fixture.feed)
    }
    var late = Follower(cursor: LogCursor(next: oldest - 1))
    #expect(throws: WALError.notRetained(sequence: oldest - 1, oldest: oldest)) {
      try late.step(fixture.feed)
    }
    var good = Follower(cursor: LogCursor(next: oldest))
    for _ in 0..<5 { try good.step(fixture.feed) }
    #expect(good.taken.first?.first == oldest)
  }

  @Test("says that the log is damaged, behind the last frame that is not")
  func damaged() throws {
    let fixture = try CommitterFixture()
    for number in 0..<10 { fixture.commit { $0.put("\(number)", "value", fixture.index) } }
    let path = SegmentName.of(1)
    let file = try fixture.disk.open("/data/wal/" + path, .readWrite)
    var reader = try LogReader(directory: "/data/wal", from: 6, fileSystem: fixture.disk)
    guard case .frame = try reader.next() else {
      Issue.record("no frame")
      return
    }
    try file.writeAll([0xFF], at: reader.frameOffset + 80)
    var cursor = LogCursor(next: 1)
    var last: UInt64 = 0
    #expect(throws: WALError.self) {
      try fixture.feed.read(&cursor, bytesMax: 1 << 20) { header, _ in
        last = header.lastSequence
        return true
      }
    }
    #expect(last == 5 && cursor.next == 6)
  }

  // MARK: - Beside a writer

  /// Sleeps until a number is applied.
  private final class Sleeper: AppliedListener {
    private let isAwake = Monitor(false)
    func numberApplied() { isAwake.signal { $0 = true } }

    /// - Returns: false when nobody has woken it for 20 s.
    func wait(_ feed: LogFeed, for sequence: UInt64) -> Bool {
      isAwake.withLock { $0 = false }
      feed.arm(self, at: sequence)
      if feed.appliedSequence >= sequence {
        feed.disarm(self)
        return true
      }
      let deadline = LogClock.system.monotonicNanoseconds() + 20_000_000_000
      return isAwake.wait(untilNanoseconds: deadline) { $0 ? true : nil } ?? false
    }
  }

  @Test(
    "leaves nothing out and gives nothing twice, beside writers that begin small segments",
    arguments: [SyncPolicy.always, .none])
  func besideWriters(policy: SyncPolicy) throws {
    let directory = TemporaryDirectory()
    var options = StoreOptions(dataDirectory: directory.path, node: 7)
    options.segmentBytes = 4_096
    options.syncPolicy = policy
    options.recentBytesMax = 4_000
    let store = try Store.open(options)
    let feed = store.feed
    let end = Atomic<UInt64>(.max)
    let results = Mutex<[(from: UInt64, taken: [Taken])]>([])
    let faults = Mutex<[String]>([])
    var threads: [ThreadHandle] = []
    func follow(_ seed: UInt64) {
      threads.append(
        ThreadHandle {
          var random = SeededRandom(seed: seed)
          let from = 1 + UInt64(random.below(Int(feed.appliedSequence) + 1))
          feed.subscribe()
          var follower = Follower(cursor: LogCursor(next: from))
          let sleeper = Sleeper()
          do {
            while follower.cursor.next <= end.load(ordering: .acquiring) {
              try follower.step(feed, bytesMax: 1 + random.below(5_000))
              if random.once(in: 10) { usleep(UInt32(1_000 * random.below(3))) }
              if follower.cursor.next > feed.appliedSequence,
                follower.cursor.next <= end.load(ordering: .acquiring)
              {
                guard sleeper.wait(feed, for: follower.cursor.next) else { break }
              }
            }
          } catch {
            faults.withLock { $0.append("\(error)") }
          }
          feed.unsubscribe()
          results.withLock { $0.append((from, follower.taken)) }
        })
    }
    let client = StoreClient()
    for round in 0..<300 {
      if round % 60 == 0 { follow(UInt64(round)) }
      client.submit(to: store) { submission in
        for number in 0...round % 4 {
          let value = String(repeating: "v", count: (round * 37 + number) % 700)
          submission.put("\(round)-\(number)", value, store.index)
        }
      }
    }
    // The followers may sleep; one write more wakes them to see that it is over.
    end.store(feed.appliedSequence, ordering: .releasing)
    client.put("last", "", in: store)
    for thread in threads { thread.join() }
    let log = try Self.log(directory.path + "/wal", SystemFileSystem())
    let last = end.load(ordering: .acquiring)
    #expect(faults.withLock { $0 } == [])
    let found = results.withLock { $0 }
    #expect(found.count == 5)
    for (from, taken) in found {
      let expected = log.filter { $0.last >= from && $0.first <= last }
      #expect(Array(taken.prefix(expected.count)) == expected)
      #expect(taken.count <= log.filter { $0.last >= from }.count)
    }
    try store.close()
  }

  @Test("wakes whoever waits, however closely the wait and the commit come together")
  func wakeUps() async throws {
    let fixture = try CommitterFixture()
    let feed = fixture.feed
    let index = fixture.index
    let rounds: UInt64 = 2_000
    let seen = Atomic<UInt64>(0)
    let ended = Atomic(0)
    let waiter = ThreadHandle {
      let sleeper = Sleeper()
      for round in 1...rounds {
        guard sleeper.wait(feed, for: round) else { break }
        seen.store(round, ordering: .releasing)
      }
      ended.add(1, ordering: .releasing)
    }
    let committer = ThreadHandle {
      for round in 1...rounds {
        index.setApplied(round)
        feed.applied(at(round), bytes: 0, timeMilliseconds: 0)
        // In step: each round is a race of its own.
        while seen.load(ordering: .acquiring) < round, ended.load(ordering: .acquiring) == 0 {
          sched_yield()
        }
      }
      ended.add(1, ordering: .releasing)
    }
    // The other tests need this thread: there are few.
    while ended.load(ordering: .acquiring) < 2 { try await Task.sleep(for: .milliseconds(5)) }
    waiter.join()
    committer.join()
    #expect(seen.load(ordering: .acquiring) == rounds)
  }

  /// A frame that ends there.
  private func at(_ sequence: UInt64) -> LogPosition {
    LogPosition(epoch: Epoch(number: 1, node: 7), sequence: sequence, crc: 0)
  }

  @Test("wakes nobody early, nobody who gave up, and each once")
  func whoIsWoken() throws {
    final class Counter: AppliedListener {
      let count = Atomic(0)
      func numberApplied() { count.add(1, ordering: .relaxed) }
      var calls: Int { count.load(ordering: .relaxed) }
    }
    let fixture = try CommitterFixture()
    let (early, late, gone) = (Counter(), Counter(), Counter())
    fixture.feed.arm(early, at: 5)
    fixture.feed.arm(late, at: 9)
    fixture.feed.arm(late, at: 8)
    fixture.feed.arm(gone, at: 3)
    fixture.feed.disarm(gone)
    func apply(_ number: UInt64) {
      fixture.feed.applied(at(number), bytes: 0, timeMilliseconds: 0)
    }
    apply(4)
    #expect([early.calls, late.calls, gone.calls] == [0, 0, 0])
    apply(7)
    #expect([early.calls, late.calls, gone.calls] == [1, 0, 0])
    apply(20)
    apply(21)
    #expect([early.calls, late.calls, gone.calls] == [1, 1, 0])
  }

  // MARK: - Epochs

  @Test("knows who has followed its history, and who another one")
  func epochs() throws {
    let disk = SimulatedDisk(seed: 1)
    var options = StoreOptions(dataDirectory: "/data", node: 7)
    options.fileSystem = disk
    options.usesThreads = false
    options.segmentBytes = 4_096
    options.clock = SimulatedClock().clock
    options.syncPolicy = .none
    let client = StoreClient()
    for life in 1...3 {
      let store = try Store.open(options)
      client.put("key", "\(life)", in: store)
      client.submit(to: store)
      disk.fault = { _, _ in .die }
      client.put("key", "lost", in: store)
      #expect(throws: WALError.self) { try store.close() }
      disk.restartProcess()
    }
    let store = try Store.open(options)
    let starts = store.epochs.all
    #expect(starts.map(\.epoch.number) == [1, 2, 3, 4])
    for (number, start) in starts.enumerated() {
      let next = number + 1 < starts.count ? starts[number + 1].firstSequence : nil
      #expect(store.epochs.agrees(with: start.epoch, through: 0))
      #expect(store.epochs.agrees(with: start.epoch, through: (next ?? 1_000) - 1))
      if let next { #expect(!store.epochs.agrees(with: start.epoch, through: next)) }
    }
    #expect(!store.epochs.agrees(with: Epoch(number: 1, node: 8), through: 0))
    #expect(!store.epochs.agrees(with: Epoch(number: 5, node: 7), through: 0))
    try store.close()
  }
}

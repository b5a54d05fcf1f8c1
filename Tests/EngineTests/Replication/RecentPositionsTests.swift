import Engine
import Synchronization
import Testing
import WAL

@Suite("The positions behind the last frames") struct RecentPositionsTests {
  private static let epoch = Epoch(number: 1, node: 7)

  private static func position(_ sequence: UInt64) -> LogPosition {
    LogPosition(epoch: epoch, sequence: sequence, crc: UInt32(sequence) &* 7)
  }

  /// Frames of three records, of 100 bytes, a second apart.
  private static func filled(_ frames: UInt64, countMax: Int) -> RecentPositions {
    let positions = RecentPositions(end: position(10), countMax: countMax)
    for number in 1...frames {
      positions.append(
        position(10 + 3 * number), bytes: 100 * number, timeMilliseconds: 1_000 * number)
    }
    return positions
  }

  @Test("are found by their number, as far back as the ring goes", arguments: [3, 4, 7, 100])
  func found(countMax: Int) {
    for frames in 1...20 as ClosedRange<UInt64> {
      let positions = Self.filled(frames, countMax: countMax)
      #expect(positions.end == Self.position(10 + 3 * frames))
      #expect(positions.bytes == 100 * frames)
      let oldest = max(0, Int(frames) + 1 - countMax)
      for number in 0...Int(frames) {
        let entry = positions.entry(at: UInt64(10 + 3 * number))
        #expect((entry != nil) == (number >= oldest))
        #expect(entry.map { $0.crc == Self.position($0.sequence).crc } ?? true)
        #expect(positions.entry(at: UInt64(11 + 3 * number)) == nil)
      }
      #expect(positions.entry(at: 9) == nil)
    }
  }

  @Test("say how far behind somebody is, and nothing of what they do not know")
  func lag() {
    let positions = Self.filled(8, countMax: 5)
    // The ring has the last five: those that end at 22, 25, 28, 31, 34.
    let now: UInt64 = 10_500
    #expect(positions.lag(behind: 34, now: now) == .none)
    #expect(positions.lag(behind: 99, now: now) == .none)
    #expect(
      positions.lag(behind: 31, now: now) == ReplicaLag(records: 3, bytes: 100, seconds: 2.5))
    #expect(
      positions.lag(behind: 22, now: now) == ReplicaLag(records: 12, bytes: 400, seconds: 5.5))
    #expect(positions.lag(behind: 23, now: now) == ReplicaLag(records: 11))
    #expect(positions.lag(behind: 19, now: now) == ReplicaLag(records: 15))
    // A clock that was set back.
    #expect(positions.lag(behind: 31, now: 5_000).seconds == 0)
  }

  @Test("of a feed tell a history from another one, in memory and in the files")
  func histories() throws {
    let fixture = try CommitterFixture(segmentBytes: 4_096)
    var ends = [LogPosition.start, fixture.log.position]
    for number in 0..<30 {
      fixture.commit { submission in
        for part in 0...number % 3 {
          submission.put("\(number)-\(part)", String(repeating: "v", count: 90), fixture.index)
        }
      }
      _ = fixture.log.backgroundStep()
      ends.append(fixture.log.position)
    }
    // Memory begins with this process.
    let restarted = try fixture.restarted()
    for feed in [fixture.feed, restarted.feed] {
      let isFresh = feed === restarted.feed
      for (number, end) in ends.enumerated() {
        let isLast = number == ends.count - 1
        #expect(feed.recentlyHolds(end) == (isFresh && !isLast ? nil : number == 0 ? nil : true))
        try #expect(feed.holds(end), "\(number)")
        var other = end
        other.crc ^= 1
        try #expect(!feed.holds(other))
        other = end
        other.epoch.node ^= 1
        try #expect(!feed.holds(other))
        guard number > 0 else { continue }
        // Within a frame nothing ends.
        for sequence in ends[number - 1].sequence + 1..<end.sequence {
          try #expect(
            !feed.holds(LogPosition(epoch: end.epoch, sequence: sequence, crc: end.crc)))
        }
        for sequence in ends[number - 1].sequence + 1...end.sequence {
          let found = try feed.find(sequence)
          #expect(found.header.position == end)
          #expect(feed.position(before: found.header) == ends[number - 1])
          var cursor = found.cursor
          var first: FrameHeader?
          try feed.read(&cursor, bytesMax: 1) { header, _ in
            first = first ?? header
            return true
          }
          #expect(first == found.header)
        }
      }
      try #expect(
        !feed.holds(
          LogPosition(epoch: ends.last!.epoch, sequence: ends.last!.sequence + 1, crc: 0)))
    }
  }

  @Test("are added to without an allocation that grows: the ring keeps its size")
  func size() {
    let positions = RecentPositions(end: Self.position(0), countMax: 8)
    for number in 1...1_000 as ClosedRange<UInt64> {
      positions.append(Self.position(number), bytes: number, timeMilliseconds: number)
    }
    #expect((993...1_000).allSatisfy { positions.entry(at: $0) != nil })
    #expect(positions.entry(at: 992) == nil)
  }
}

@Suite("The digest of what was applied") struct AppliedDigestTests {
  @Test("and its number are of one moment, beside a writer")
  func besideWriter() throws {
    let fixture = try CommitterFixture(policy: .none)
    let index = fixture.index
    // What the digest is at each number; set by the writer before the number is.
    let right = Mutex<[UInt64: UInt64]>([index.appliedSequence: index.digest().sum])
    let isDone = Atomic(false)
    let wrong = Atomic(0)
    let seen = Atomic(0)
    let readers = (0..<2).map { _ in
      ThreadHandle {
        while !isDone.load(ordering: .acquiring) {
          guard let pair = index.appliedDigest() else { continue }
          seen.add(1, ordering: .relaxed)
          // The writer notes it once its commit has returned.
          while !isDone.load(ordering: .acquiring), right.withLock({ $0[pair.sequence] }) == nil {}
          if let sum = right.withLock({ $0[pair.sequence] }), sum != pair.digest.sum {
            wrong.add(1, ordering: .relaxed)
          }
        }
      }
    }
    for round in 0..<1_000 {
      fixture.commit { submission in
        for number in 0..<20 {
          submission.put("\((round * 7 + number) % 500)", "value", index)
        }
      }
      right.withLock { $0[index.appliedSequence] = index.digest().sum }
    }
    isDone.store(true, ordering: .releasing)
    for reader in readers { reader.join() }
    #expect(wrong.load(ordering: .relaxed) == 0 && seen.load(ordering: .relaxed) > 0)
    let last = try #require(index.appliedDigest())
    #expect(last.sequence == index.appliedSequence && last.digest == index.digest())
  }
}

import Engine
import Glibc
import SimulatedDisk
import Testing
import WAL

@Suite("The recent frames") struct RecentFramesTests {
  /// Frames of one to four records of random sizes, and the numbers that each has.
  private static func commit(
    _ frames: Int, _ fixture: CommitterFixture, _ random: inout SeededRandom
  ) -> [ClosedRange<UInt64>] {
    (0..<frames).map { _ in
      let before = fixture.log.position.sequence
      fixture.commit { submission in
        for _ in 0...random.below(4) {
          submission.put(random.bytes(8), random.bytes(random.below(300)), fixture.index)
        }
      }
      return before + 1...fixture.log.position.sequence
    }
  }

  @Test("are kept only while somebody is subscribed")
  func subscribed() throws {
    let fixture = try CommitterFixture()
    let recent = fixture.feed.recent
    var random = SeededRandom(seed: 1)
    _ = Self.commit(3, fixture, &random)
    #expect(recent.bytes == 0)
    recent.subscribe()
    recent.subscribe()
    let kept = Self.commit(3, fixture, &random)
    recent.unsubscribe()
    #expect(kept.allSatisfy { recent.frame(holding: $0.lowerBound) != nil })
    #expect(recent.frame(holding: kept[0].lowerBound - 1) == nil)
    recent.unsubscribe()
    #expect(recent.bytes == 0 && recent.frame(holding: kept[2].lowerBound) == nil)
    _ = Self.commit(1, fixture, &random)
    #expect(recent.bytes == 0)
    recent.subscribe()
    // With a gap before it.
    let last = Self.commit(1, fixture, &random)[0]
    #expect(recent.frame(holding: last.lowerBound - 1) == nil)
    #expect(recent.frame(holding: last.lowerBound)?.header.firstSequence == last.lowerBound)
    recent.unsubscribe()
  }

  @Test("are the newest that the bound has room for, and each number finds its own")
  func bounded() throws {
    var random = SeededRandom(seed: 2)
    for bytesMax in [700, 3_000, 20_000] {
      let fixture = try CommitterFixture(recentBytesMax: bytesMax)
      let recent = fixture.feed.recent
      recent.subscribe()
      var frames: [ClosedRange<UInt64>] = []
      for _ in 0..<200 {
        frames += Self.commit(1, fixture, &random)
        #expect(recent.bytes <= bytesMax)
        let found = frames.map { recent.frame(holding: $0.lowerBound) != nil }
        // Those that are here come behind those that are not, but for one that is too large.
        let kept = zip(frames, found).filter(\.1).map(\.0)
        for range in kept {
          for sequence in range {
            let frame = recent.frame(holding: sequence)
            #expect(frame?.header.firstSequence == range.lowerBound)
            #expect(frame?.header.lastSequence == range.upperBound)
          }
        }
        #expect(recent.frame(holding: fixture.log.position.sequence + 1) == nil)
        #expect(recent.frame(holding: 0) == nil)
      }
      if bytesMax == 20_000 {
        let kept = frames.reversed().prefix { recent.frame(holding: $0.lowerBound) != nil }
        #expect(kept.count > 10 && kept.count < 100)
        let others = frames.dropLast(kept.count)
        #expect(others.allSatisfy { recent.frame(holding: $0.lowerBound) == nil })
      }
      recent.unsubscribe()
    }
  }

  @Test("are as they are on the disk, marks too")
  func bytes() throws {
    let fixture = try CommitterFixture()
    let recent = fixture.feed.recent
    recent.subscribe()
    var random = SeededRandom(seed: 3)
    let frames = Self.commit(40, fixture, &random)
    fixture.clock.advance(milliseconds: 200)
    _ = fixture.work.tick()
    #expect(fixture.log.position.sequence == frames.last!.upperBound + 1)
    var reader = try LogReader(
      directory: "/data/wal", from: frames[0].lowerBound, fileSystem: fixture.disk)
    for _ in 0...40 {
      guard case .frame(let header) = try reader.next() else {
        Issue.record("the log ends")
        return
      }
      let frame = try #require(recent.frame(holding: header.firstSequence))
      let bytes = Array(frame.bytes)
      #expect(frame.header == header)
      #expect(reader.withFrame { onDisk in onDisk.withUnsafeBytes { Array($0) == bytes } })
    }
    recent.unsubscribe()
  }

  @Test("are not shown when their sync has failed")
  func notDurable() throws {
    let fixture = try CommitterFixture()
    fixture.feed.subscribe()
    var random = SeededRandom(seed: 4)
    let first = Self.commit(1, fixture, &random)[0]
    fixture.fail(.sync, EIO)
    fixture.commit { $0.put("key", "value", fixture.index) }
    #expect(fixture.recorder.failureCount == 1)
    #expect(fixture.feed.appliedSequence == first.upperBound)
    #expect(fixture.feed.recent.frame(holding: first.upperBound) != nil)
    #expect(fixture.feed.recent.frame(holding: first.upperBound + 1) == nil)
    fixture.feed.unsubscribe()
  }
}

import Engine
import SimulatedDisk
import Testing
import WAL

@Suite("The committer and keys that expire")
struct ExpiryCommitTests {
  /// Says how far the log of a fixture is, and how its clock stands.
  private func end(_ fixture: CommitterFixture) -> UInt64 { fixture.log.position.sequence }

  @Test("takes what its clock hides for absent, in the index and in the frame that it gathers")
  func hidden() throws {
    let fixture = try CommitterFixture()
    let now = fixture.clock.wallMilliseconds
    fixture.commit {
      for key in ["put", "new", "match", "version", "delete", "deleteNew"] {
        $0.put(key, "old", fixture.index, expiry: now + 1_000)
      }
    }
    fixture.clock.advance(milliseconds: 999)
    #expect(
      fixture.commit { $0.put("put", "again", fixture.index, .exists, expiry: now + 1_000) }
        == [.replaced])
    fixture.clock.advance(milliseconds: 1)
    #expect(fixture.index.count == 6)
    let old = fixture.version("version")!
    let outcomes = fixture.commit {
      $0.put("put", "1", fixture.index)
      $0.put("new", "2", fixture.index, .isNew)
      $0.put("match", "3", fixture.index, .exists)
      $0.put("version", "4", fixture.index, $0.ifMatch(old))
      $0.delete("delete", fixture.index)
      $0.delete("delete", fixture.index)
      $0.delete("deleteNew", fixture.index, .exists)
      // Over before it was written.
      $0.put("short", "5", fixture.index, expiry: now + 1_000)
      $0.put("short", "6", fixture.index, .exists)
      $0.delete("short", fixture.index)
      $0.put("short", "7", fixture.index, .isNew, expiry: now + 500)
      $0.put("short", "8", fixture.index)
    }
    #expect(
      outcomes == [
        .created, .created, .conditionFailed, .conditionFailed, .absent, .absent,
        .conditionFailed, .created, .conditionFailed, .absent, .created, .created,
      ])
    #expect(
      Set(fixture.index.contents().keys) == Set(["put", "new", "short"].map { utf8($0) }))
    #expect(fixture.value("short") == "8")
    #expect(try fixture.restarted().index.contents() == fixture.index.contents())
  }

  @Test("writes the delete of a key that only the clock hides: it stays away if that is set back")
  func hiddenDelete() throws {
    let fixture = try CommitterFixture()
    let now = fixture.clock.wallMilliseconds
    fixture.commit { $0.put("k", "v", fixture.index, expiry: now + 1_000) }
    fixture.clock.advance(milliseconds: 1_000)
    let before = end(fixture)
    let submission = fixture.submission()
    submission.delete("k", fixture.index)
    fixture.commit([submission])
    #expect(submission.requests[0].outcome == .absent && end(fixture) == before + 1)
    #expect(fixture.commit { $0.delete("k", fixture.index) } == [.absent])
    #expect(end(fixture) == before + 1)
    fixture.clock.wallMilliseconds = now
    #expect(fixture.value("k") == nil)
    #expect(try fixture.restarted().value("k") == nil)
  }

  @Test("lets a clock that was set back expire nothing that is new")
  func clockSetBack() throws {
    let fixture = try CommitterFixture()
    fixture.commit { $0.put("a", "1", fixture.index) }
    let reached = fixture.clock.wallMilliseconds
    #expect(fixture.index.frameTime == reached)
    fixture.clock.wallMilliseconds -= 3_600_000
    fixture.commit { $0.put("b", "2", fixture.index, expiry: reached + 1_000) }
    #expect(fixture.index.frameTime == reached && fixture.value("b") == "2")
    fixture.clock.wallMilliseconds += 3_601_000
    fixture.commit { $0.put("c", "3", fixture.index) }
    #expect(fixture.value("b") == nil)
  }

  @Test("removes the keys of a quiet log by marks, at most one a second, and then is quiet")
  func quietLog() throws {
    let fixture = try CommitterFixture()
    let now = fixture.clock.wallMilliseconds
    fixture.commit {
      for number in 0..<40 as Range<UInt64> {
        $0.put("key-\(number)", "v", fixture.index, expiry: now + 5_000 + number * 100)
      }
      $0.put("kept", "v", fixture.index)
    }
    // The mark of every log that gets quiet, and from then on none until something has to go.
    fixture.clock.advance(milliseconds: 100)
    let due = fixture.work.tick()
    let quiet = end(fixture)
    #expect(due == fixture.clock.clock.monotonicNanoseconds() + 4_900_000_000)
    fixture.clock.advance(milliseconds: 4_899)
    _ = fixture.work.tick()
    #expect(end(fixture) == quiet && fixture.index.count == 41)
    var marks = 0
    for _ in 0..<500 {
      fixture.clock.advance(milliseconds: 10)
      let before = end(fixture)
      _ = fixture.work.tick()
      marks += Int(end(fixture) - before)
    }
    #expect((4...5).contains(marks) && fixture.index.count == 1)
    #expect(fixture.index.expiredCount == 40)
    // The next look at the clock is a write's.
    let idle = fixture.work.tick()
    #expect(idle == nil)
    let again = try fixture.restarted()
    #expect(again.index.contents() == fixture.index.contents())
    #expect(again.index.frameTime == fixture.index.frameTime && again.index.expiredCount == 0)
  }

  @Test("writes no mark for a key that was deleted or renewed, nor for one that lives")
  func noMark() throws {
    let fixture = try CommitterFixture()
    let now = fixture.clock.wallMilliseconds
    fixture.commit {
      $0.put("deleted", "v", fixture.index, expiry: now + 1_000)
      $0.put("renewed", "v", fixture.index, expiry: now + 1_000)
      $0.put("stays", "v", fixture.index, expiry: now + 1_000)
      $0.delete("deleted", fixture.index)
      $0.put("renewed", "w", fixture.index, expiry: now + 3_600_000)
      $0.put("stays", "w", fixture.index)
    }
    fixture.clock.advance(milliseconds: 100)
    _ = fixture.work.tick()
    let quiet = end(fixture)
    for _ in 0..<100 {
      fixture.clock.advance(milliseconds: 100)
      let next = fixture.work.tick()
      // The wall clock can be set, so it is looked at, but not often.
      let wait = try #require(next) - fixture.clock.clock.monotonicNanoseconds()
      #expect(wait <= 60_000_000_000)
    }
    #expect(end(fixture) == quiet && fixture.index.count == 2)
    fixture.clock.advance(milliseconds: 3_600_000)
    let idle = fixture.work.tick()
    #expect(idle == nil && end(fixture) == quiet + 1)
    #expect(fixture.index.count == 1)
  }

  @Test("goes on when the disk has no room for the mark")
  func fullDisk() throws {
    let fixture = try CommitterFixture()
    let now = fixture.clock.wallMilliseconds
    fixture.commit { $0.put("k", "v", fixture.index, expiry: now + 1_000) }
    fixture.clock.advance(milliseconds: 100)
    _ = fixture.work.tick()
    fixture.clock.advance(milliseconds: 1_000)
    fixture.fail(.write, 28)
    let next = fixture.work.tick()
    #expect(fixture.index.count == 1 && fixture.recorder.failureCount == 0)
    #expect(try #require(next) <= fixture.clock.clock.monotonicNanoseconds() + 1_000_000_000)
    fixture.clock.advance(milliseconds: 1_000)
    let idle = fixture.work.tick()
    #expect(idle == nil && fixture.index.count == 0)
  }

  @Test("lets very many keys go in one frame, which a replay does as well")
  func many() throws {
    let fixture = try CommitterFixture(segmentBytes: 1 << 20)
    let now = fixture.clock.wallMilliseconds
    for part in 0..<10 {
      fixture.commit {
        for number in 0..<5_000 {
          $0.put("key-\(part)-\(number)", "v", fixture.index, expiry: now + 1_000)
        }
      }
    }
    fixture.commit { $0.put("kept", "v", fixture.index) }
    fixture.clock.advance(milliseconds: 1_000)
    #expect(fixture.index.count == 50_001)
    fixture.commit { $0.put("last", "v", fixture.index) }
    #expect(fixture.index.count == 2 && fixture.index.expiredCount == 50_000)
    let again = try fixture.restarted()
    #expect(again.index.digest() == fixture.index.digest() && again.index.count == 2)
    // As it says where an index is that was filled from elsewhere.
    let index = Index()
    index.put(utf8("over"), [], version: 1, expiry: now)
    index.put(utf8("later"), [], version: 2, expiry: now + 1)
    _ = Replay(index: index, epochs: EpochHistory(), frameTime: now)
    #expect(index.frameTime == now && Array(index.contents().keys) == [utf8("later")])
  }
}

import Engine
import Glibc
import SimulatedDisk
import Testing
import WAL

@Suite("When the disk fails the committer")
struct CommitterFailureTests {
  @Test("for lack of space, all of the frame is refused, what hung on it too, and it goes on")
  func diskFull() throws {
    let fixture = try CommitterFixture()
    fixture.commit { $0.put("old", "1", fixture.index) }
    fixture.fail(.write, ENOSPC)
    let submission = fixture.submission()
    submission.put("new", "2", fixture.index, .isNew)
    submission.put("new", "3", fixture.index, .isNew)
    submission.delete("old", fixture.index)
    submission.delete("old", fixture.index)
    submission.delete("never", fixture.index)
    submission.put("old", "4", fixture.index, .isNew)
    submission.batch([("x", "5"), ("new", nil)])
    fixture.commit([submission])
    // What did not hang on the frame is decided by what is there.
    #expect(
      submission.requests.map(\.outcome) == [
        .diskFull, .diskFull, .diskFull, .diskFull, .absent, .diskFull, .diskFull,
      ])
    #expect(submission.requests.allSatisfy { $0.version == 0 })
    #expect(fixture.index.contents().keys.map { $0 } == [utf8("old")])
    #expect(fixture.recorder.failureCount == 0 && fixture.recorder.frames == [1])
    // The same again, now that there is room.
    let again = fixture.submission()
    again.put("new", "2", fixture.index, .isNew)
    again.put("new", "3", fixture.index, .isNew)
    again.delete("old", fixture.index)
    fixture.commit([again])
    #expect(again.requests.map(\.outcome) == [.created, .conditionFailed, .deleted])
    #expect(again.requests.map(\.version) == [3, 0, 4])
    #expect(try fixture.restarted().index.contents() == fixture.index.contents())
  }

  @Test("for lack of space in the middle of a take, the frames before and behind are committed")
  func diskFullBetween() throws {
    let fixture = try CommitterFixture(segmentBytes: 64 << 10)
    let value = [UInt8](repeating: 1, count: 3 << 20)
    // Each frame holds one of these, and has a segment of its own.
    let submissions = (0..<3).map { number in
      let submission = fixture.submission()
      submission.put(utf8("key-\(number)"), value, fixture.index)
      return submission
    }
    submissions[1].put("beside", "", fixture.index, .isNew)
    submissions[2].put("beside", "", fixture.index, .isNew)
    fixture.fail(.allocate, ENOSPC, after: 1)
    let returned = fixture.commit(submissions)
    #expect(returned.map(ObjectIdentifier.init) == submissions.map(ObjectIdentifier.init))
    #expect(
      submissions.map { $0.requests.map(\.outcome) } == [
        [.created], [.diskFull, .diskFull], [.created, .created],
      ])
    #expect(try fixture.restarted().index.contents() == fixture.index.contents())
  }

  @Test("for lack of space, that is said once, and that it is over when it has been for 10 s")
  func diskFullIsSaidOnce() throws {
    let fixture = try CommitterFixture()
    for round in 0..<3 {
      fixture.fail(.write, ENOSPC)
      fixture.commit { $0.put("key", "\(round)", fixture.index) }
      fixture.commit { $0.put("key", "\(round)", fixture.index) }
      fixture.clock.advance(milliseconds: 9_000)
      fixture.commit { $0.put("key", "\(round)", fixture.index) }
      #expect(fixture.recorder.fullDisks.withLock { $0 } == [true])
    }
    fixture.clock.advance(milliseconds: 2_000)
    fixture.commit { $0.put("key", "value", fixture.index) }
    #expect(fixture.recorder.fullDisks.withLock { $0 } == [true, false])
  }

  @Test("behind its back, so that no segment is ready, that is told once, and when it is over")
  func delayedSegments() throws {
    let fixture = try CommitterFixture()
    func write(_ numbers: ClosedRange<Int>) {
      for number in numbers {
        let value = String(repeating: "v", count: 2_000)
        fixture.commit { $0.put("key-\(number)", value, fixture.index) }
        while fixture.log.backgroundStep() {}
        _ = fixture.work.tick()
      }
    }
    write(1...10)
    #expect(fixture.recorder.delays.withLock { $0 } == [])
    // Nothing can be removed, so the log keeps what it does not need.
    fixture.disk.fault = { call, path in
      path.hasSuffix(".wal") && [.remove, .rename].contains(call) ? .fail(EIO) : nil
    }
    fixture.log.retire(through: 10)
    write(11...14)
    let delays = fixture.recorder.delays.withLock { $0 }
    #expect(delays.count == 1 && delays.first??.description.contains(".wal") == true)
    fixture.disk.fault = { _, _ in nil }
    write(15...40)
    #expect(fixture.recorder.delays.withLock { $0.count == 2 && $0.last == .some(nil) })
    #expect(fixture.recorder.failureCount == 0 && fixture.index.count == 40)
  }

  @Test("in a sync, nothing of the frame is acknowledged or shown, and nothing behind it is taken")
  func failedSync() throws {
    let fixture = try CommitterFixture()
    fixture.commit { $0.put("old", "1", fixture.index) }
    fixture.fail(.sync, EIO)
    let submission = fixture.submission()
    submission.put("new", "2", fixture.index)
    submission.put("new", "3", fixture.index, .isNew)
    submission.delete("never", fixture.index)
    fixture.commit([submission])
    #expect(submission.requests.map(\.outcome) == [.failed, .failed, .absent])
    #expect(fixture.value("new") == nil && fixture.index.appliedSequence == 2)
    #expect(fixture.recorder.failureCount == 1)
    for _ in 0..<2 {
      let later = fixture.submission()
      later.put("late", "4", fixture.index)
      later.delete("old", fixture.index)
      later.purge(keeping: ShardRange(hash: 1, index: 0, count: 2), token: 0)
      later.batch([("late", "5")])
      #expect(fixture.commit([later]).count == 1)
      #expect(later.requests.allSatisfy { $0.outcome == .stopped })
      #expect(fixture.work.tick() == nil)
    }
    #expect(throws: WALError.self) { try fixture.work.close().get() }
    #expect(fixture.recorder.failureCount == 1)
    #expect(fixture.value("old") == "1" && fixture.index.appliedSequence == 2)
  }

  @Test("in a take of several frames, the first are acknowledged and the last are not taken")
  func failureBetween() throws {
    let fixture = try CommitterFixture(segmentBytes: 64 << 10)
    let value = [UInt8](repeating: 1, count: 3 << 20)
    let submissions = (0..<3).map { number in
      let submission = fixture.submission()
      submission.put(utf8("key-\(number)"), value, fixture.index)
      return submission
    }
    // Each of them has a segment of its own: a header, a frame.
    fixture.fail(.write, EIO, after: 3)
    #expect(fixture.commit(submissions).count == 3)
    #expect(submissions.map { $0.requests[0].outcome } == [.created, .failed, .stopped])
    #expect(fixture.index.count == 1 && fixture.recorder.failureCount == 1)
  }

  @Test("in a mark, it is told once, and nothing more is taken")
  func failedMark() throws {
    let fixture = try CommitterFixture()
    fixture.commit { $0.put("k", "1", fixture.index) }
    fixture.fail(.sync, EIO)
    fixture.clock.advance(milliseconds: 500)
    #expect(fixture.work.tick() == nil && fixture.work.tick() == nil)
    #expect(fixture.recorder.failureCount == 1)
    #expect(fixture.index.appliedSequence == 2)
    #expect(fixture.commit { $0.put("k", "2", fixture.index) } == [.stopped])
    #expect(fixture.value("k") == "1")
  }

  @Test("for lack of space in a mark, it is tried again, and writes go on")
  func diskFullMark() throws {
    let fixture = try CommitterFixture()
    fixture.commit { $0.put("k", "1", fixture.index) }
    fixture.fail(.write, ENOSPC)
    fixture.clock.advance(milliseconds: 500)
    #expect(fixture.work.tick() != nil)
    #expect(fixture.log.position.sequence == 2 && fixture.recorder.failureCount == 0)
    #expect(fixture.commit { $0.put("k", "2", fixture.index) } == [.replaced])
    fixture.clock.advance(milliseconds: 500)
    _ = fixture.work.tick()
    #expect(fixture.log.position.sequence == 4)
  }

  @Test(
    "a policy that acknowledges before the sync reports no sync",
    arguments: [(.always, true), (.none, false), (.interval(milliseconds: 100), false)]
      as [(SyncPolicy, Bool)])
  func syncTimes(policy: SyncPolicy, isSynced: Bool) throws {
    let fixture = try CommitterFixture(policy: policy)
    fixture.clock.stepNanoseconds.store(1_000, ordering: .relaxed)
    // Another epoch, which is synced whatever the policy.
    try fixture.log.startEpoch(Epoch(number: 2, node: 7), reason: .promoted)
    fixture.commit { $0.put("k", "1", fixture.index) }
    let report = fixture.recorder.reports.withLock { $0[0] }
    #expect((report.syncNanoseconds > 0) == isSynced)
    #expect(report.writeNanoseconds > 0 && report.applyNanoseconds > 0)
  }
}

import Engine
import SimulatedDisk
import Testing
import WAL

@Suite("The committer's work")
struct CommitterWorkTests {
  @Test("says what became of each write, and numbers them as the log does")
  func outcomes() throws {
    let fixture = try CommitterFixture()
    let submission = fixture.submission()
    submission.put("a", "1", fixture.index)
    submission.put("a", "2", fixture.index)
    submission.delete("b", fixture.index)
    submission.batch([("c", "3"), ("a", nil), ("d", "4")])
    submission.delete("c", fixture.index)
    fixture.commit([submission])
    #expect(submission.requests.map(\.outcome) == [.created, .replaced, .absent, .done, .deleted])
    // The log's first record is its epoch's.
    #expect(submission.requests.map(\.version) == [2, 3, 0, 6, 7])
    #expect(submission.requests.map(\.count) == [1, 1, 1, 3, 1])
    #expect(fixture.value("a") == nil && fixture.value("c") == nil && fixture.value("d") == "4")
    #expect(fixture.version("d") == 6)
    #expect(fixture.index.appliedSequence == 7 && fixture.log.progress.durable == 7)
    #expect(fixture.recorder.frames == [6])
  }

  @Test("lets one of two writes that both want a new key win, in one frame or in two submissions")
  func bothWantANewKey() throws {
    let fixture = try CommitterFixture()
    let one = fixture.submission()
    let two = fixture.submission()
    one.put("k", "first", fixture.index, .isNew)
    one.put("k", "second", fixture.index, .isNew)
    two.put("k", "third", fixture.index, .isNew)
    #expect(
      fixture.commit([one, two]).map(ObjectIdentifier.init)
        == [one, two].map(ObjectIdentifier.init))
    #expect(one.requests.map(\.outcome) == [.created, .conditionFailed])
    #expect(two.requests.map(\.outcome) == [.conditionFailed])
    #expect(fixture.value("k") == "first" && fixture.recorder.frames == [1])
  }

  @Test("judges a delete after a put, and a put after a delete, by what stands before them")
  func sameKeyInOneFrame() throws {
    let fixture = try CommitterFixture()
    #expect(
      fixture.commit {
        $0.put("k", "1", fixture.index)
        $0.delete("k", fixture.index)
        $0.delete("k", fixture.index)
        $0.put("k", "2", fixture.index, .exists)
        $0.put("k", "3", fixture.index, .isNew)
        $0.delete("k", fixture.index, .isNew)
        $0.delete("other", fixture.index, .exists)
      } == [
        .created, .deleted, .absent, .conditionFailed, .created, .conditionFailed, .conditionFailed,
      ])
    #expect(fixture.value("k") == "3" && fixture.recorder.frames == [3])
    #expect(
      fixture.commit {
        $0.delete("k", fixture.index)
        $0.put("k", "4", fixture.index)
      } == [.deleted, .created])
    #expect(fixture.value("k") == "4")
    // A batch counts as well.
    #expect(
      fixture.commit {
        $0.batch([("k", nil), ("l", "5"), ("m", "6"), ("m", nil)])
        $0.delete("k", fixture.index)
        $0.put("l", "7", fixture.index, .exists)
        $0.put("m", "8", fixture.index, .isNew)
      } == [.done, .absent, .replaced, .created])
  }

  @Test("follows a chain of writes each of which wants the version before it")
  func chain() throws {
    let fixture = try CommitterFixture()
    let submission = fixture.submission()
    submission.put("k", "2", fixture.index)
    submission.put("k", "3", fixture.index, submission.ifMatch(2))
    submission.put("k", "lost", fixture.index, submission.ifMatch(2))
    submission.put("k", "4", fixture.index, submission.ifMatch(1, 3))
    submission.delete("k", fixture.index, submission.ifMatch(3))
    submission.put(
      "k", "lost", fixture.index,
      WriteCondition(ifNoneMatch: .versions(submission.add(versions: [4]))))
    submission.delete("k", fixture.index, submission.ifMatch(4))
    submission.put("k", "lost", fixture.index, submission.ifMatch(4))
    fixture.commit([submission])
    #expect(
      submission.requests.map(\.outcome) == [
        .created, .replaced, .conditionFailed, .replaced, .conditionFailed, .conditionFailed,
        .deleted, .conditionFailed,
      ])
    #expect(fixture.value("k") == nil)
    // A second frame is judged by the index in the same way.
    #expect(
      fixture.commit { $0.put("k", "lost", fixture.index, $0.ifMatch(4)) } == [.conditionFailed])
  }

  @Test("judges what comes behind a purge by what it left")
  func purge() throws {
    let fixture = try CommitterFixture()
    let keys = (0..<40).map { "key-\($0)" }
    fixture.commit { for key in keys { $0.put(key, "", fixture.index) } }
    let gone = keys.first { fixture.index.hash(utf8($0)).shard % 2 == 0 }!
    let kept = keys.first { fixture.index.hash(utf8($0)).shard % 2 == 1 }!
    let submission = fixture.submission()
    submission.put("before", "", fixture.index)
    submission.purge(keeping: ShardRange(hash: 1, index: 1, count: 2), token: 9)
    submission.delete(gone, fixture.index)
    submission.put(gone, "again", fixture.index, .isNew)
    submission.delete(kept, fixture.index)
    fixture.commit([submission])
    #expect(submission.requests.map(\.outcome) == [.created, .done, .absent, .created, .deleted])
    let foreign = (keys + ["before"]).count { fixture.index.hash(utf8($0)).shard % 2 == 0 }
    #expect(submission.requests[1].removed == foreign)
    #expect(fixture.recorder.frames == [40, 1, 1, 2])
  }

  @Test("refuses puts when memory is full, and takes deletes, single ones and batches of them")
  func memoryBound() throws {
    let fixture = try CommitterFixture(memoryBytesMax: Index().memoryBytes + 60_000)
    let value = String(repeating: "v", count: 1_000)
    let outcomes = fixture.commit { for n in 0..<100 { $0.put("key-\(n)", value, fixture.index) } }
    let stored = outcomes.count { $0 == .created }
    #expect((50...60).contains(stored))
    #expect(outcomes[stored...].allSatisfy { $0 == .memoryFull })
    #expect(fixture.index.count == stored)
    #expect(
      fixture.commit {
        $0.batch([("a", value), ("b", nil)])
        $0.delete("key-1", fixture.index)
        $0.batch([("key-2", nil), ("key-3", nil)])
      } == [.memoryFull, .deleted, .done])
    #expect(fixture.commit { $0.put("key-1", value, fixture.index) } == [.created])
    #expect(fixture.index.count == stored - 2)
  }

  @Test("splits what waits into frames of about 4 MiB, and gives submissions back in their order")
  func frames() throws {
    let fixture = try CommitterFixture(segmentBytes: 1 << 20)
    let value = [UInt8](repeating: 1, count: 1 << 20)
    let submissions = (0..<6).map { number in
      let submission = fixture.submission()
      for part in 0..<2 { submission.put(utf8("key-\(number)-\(part)"), value, fixture.index) }
      return submission
    }
    // One without a request, which is nobody's mistake.
    let all = submissions[..<3] + [fixture.submission()] + submissions[3...]
    var durable: [Int] = []
    var returned: [ObjectIdentifier] = []
    fixture.work.commit(Array(all)) { submission in
      returned.append(ObjectIdentifier(submission))
      durable.append(submission.requests.count { $0.outcome == .created })
    }
    #expect(returned == all.map(ObjectIdentifier.init))
    #expect(durable == [2, 2, 2, 0, 2, 2, 2])
    #expect(fixture.recorder.frames == [3, 3, 3, 3])
    #expect(fixture.index.count == 12)
    #expect(try fixture.restarted().index.contents() == fixture.index.contents())
  }

  @Test("takes a value of 16 MiB, alone and between others")
  func largestValue() throws {
    let fixture = try CommitterFixture(segmentBytes: 1 << 20)
    var value = [UInt8](repeating: 5, count: Format.valueBytesMax)
    value[value.count - 1] = 6
    let key = [UInt8](repeating: 9, count: Format.keyBytesMax)
    let submission = fixture.submission()
    submission.put("before", "1", fixture.index)
    submission.put(key, value, fixture.index)
    submission.put("after", "2", fixture.index)
    fixture.commit([submission])
    #expect(submission.requests.map(\.outcome) == [.created, .created, .created])
    #expect(fixture.index.get(key)?.value == value)
    let again = try fixture.restarted()
    #expect(again.index.get(key)?.value == value && again.index.count == 3)
  }

  @Test("writes a mark with the digest of the state, which replay agrees with")
  func digestAtMarks() throws {
    let fixture = try CommitterFixture()
    for round in 0..<5 {
      fixture.commit {
        for key in 0..<20 {
          if (key + round) % 3 == 0 { $0.delete("key-\(key)", fixture.index) }
          $0.put("key-\((key * 7 + round) % 20)", "\(round)", fixture.index)
        }
      }
      let before = fixture.log.position.sequence
      fixture.clock.advance(milliseconds: 200)
      _ = fixture.work.tick()
      #expect(fixture.log.position.sequence == before + 1)
      #expect(fixture.index.appliedSequence == before + 1)
    }
    let again = try fixture.restarted()
    #expect(again.index.contents() == fixture.index.contents())
    var replay = Replay(index: Index(), epochs: EpochHistory())
    _ = try LogRecovery.open(again.optionsOfAnother()) { (header, records) throws(WALError) in
      try replay.apply(header, records)
    }
    #expect(replay.digestMismatches == [])
    // Without its first records the state is another one, and each mark says so.
    var late = Replay(index: Index(), epochs: EpochHistory())
    _ = try LogRecovery.open(again.optionsOfAnother()) { (header, records) throws(WALError) in
      if header.firstSequence > 2 { try late.apply(header, records) }
    }
    #expect(!late.digestMismatches.isEmpty)
  }

  @Test("keeps a request's key and value readable until the submission is emptied, and then reused")
  func submissions() throws {
    let fixture = try CommitterFixture()
    let submission = fixture.submission()
    for round in 0..<3 {
      submission.put("key", "value-\(round)", fixture.index)
      submission.delete("key", fixture.index)
      submission.beginBatch()
      utf8("dropped").withUnsafeBytes { submission.addDelete($0) }
      submission.abandonBatch()
      submission.put(utf8("large"), [UInt8](repeating: 1, count: 2 << 20), fixture.index)
      fixture.commit([submission])
      #expect(
        submission.requests.map(\.outcome) == [
          .created, .deleted, round == 0 ? .created : .replaced,
        ])
      #expect(submission.key(of: 0).elementsEqual(utf8("key")))
      #expect(submission.value(of: 0).elementsEqual(utf8("value-\(round)")))
      #expect(submission.value(of: 1).isEmpty && submission.value(of: 2).count == 2 << 20)
      submission.beginBatch()
      submission.removeAll()
      #expect(submission.isEmpty && submission.bytes == 0)
    }
  }
}

extension CommitterFixture {
  /// Another start on the same disk, which is not in use any more.
  func optionsOfAnother() -> LogOptions {
    disk.restartProcess()
    return options
  }
}

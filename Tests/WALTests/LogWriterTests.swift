import Glibc
import SimulatedDisk
import Testing
import WAL

@Suite("A log's writer")
struct LogWriterTests {
  @Test("makes a frame durable before it returns")
  func durableOnReturn() throws {
    let fixture = LogFixture()
    let writer = try fixture.open().writer
    for number in 1...40 {
      let position = try fixture.write(number...number, valueBytes: 200, to: writer)
      #expect(writer.progress.durable == position.sequence)
      let path = writer.segmentFiles.last!.path
      #expect(fixture.disk.contents(path) == fixture.disk.durableContents(path))
    }
  }

  @Test("under `none` and `interval` returns before, and syncs behind the writer's back")
  func relaxed() throws {
    for policy in [SyncPolicy.none, .interval(milliseconds: 10)] {
      var fixture = LogFixture(segmentBytes: 65_536)
      fixture.options.syncPolicy = policy
      let writer = try fixture.open().writer
      var frame = FrameBuilder()
      frame.append(.put, key: ([1] as [UInt8]).span.bytes, value: ([2] as [UInt8]).span.bytes)
      try writer.commit(&frame)
      #expect(writer.progress.appended == 2 && writer.progress.durable == 1)
      fixture.clock.milliseconds += 11
      _ = try writer.tick()
      _ = writer.backgroundStep()
      #expect(writer.progress.durable == (policy == .none ? 1 : 2))
    }
  }

  @Test("marks a log that was quiet for 100 ms, once, and after it is durable")
  func mark() throws {
    for policy in [SyncPolicy.always, .none, .interval(milliseconds: 1_000)] {
      var fixture = LogFixture(segmentBytes: 65_536)
      fixture.options.syncPolicy = policy
      let writer = try fixture.open().writer
      try fixture.write(1...1, to: writer)
      let before = writer.position.sequence
      fixture.clock.milliseconds += 98
      #expect(try writer.tick() != nil)
      #expect(writer.position.sequence == before)
      for _ in 0..<5 {
        fixture.clock.milliseconds += 10
        _ = try writer.tick(markContent: { [42] })
        while writer.backgroundStep() {}
      }
      #expect(writer.position.sequence == before + 1)
      fixture.clock.milliseconds += 1_000
      #expect(try writer.tick() == nil, "one mark is enough")
      #expect(writer.progress.durable == before + 1)
      var reader = try LogReader(directory: "/data/wal", from: before + 1, fileSystem: fixture.disk)
      guard case .frame(let header) = try reader.next() else { throw WALError.setting("no mark") }
      #expect(header.durableSequence == before)
      reader.withRecords { #expect($0.unsafeLoad(as: UInt8.self) == 6) }
    }
  }

  @Test("goes on in a new segment, and puts a frame that is larger into one of its own")
  func rotation() throws {
    let fixture = LogFixture()
    let writer = try fixture.open().writer
    try fixture.write(1...3, valueBytes: 30_000, to: writer)
    try fixture.write(4...40, valueBytes: 500, to: writer)
    let sizes = fixture.segments.map { fixture.disk.contents($0)!.count }
    #expect(sizes.contains { $0 > 30_000 } && sizes.contains(4_096))
    let (keys, sequences, damage) = try fixture.read()
    #expect(keys == (1...40).map { "key-\($0)" } && damage.isEmpty)
    #expect(sequences == Array(1...41))
  }

  @Test("reads from any sequence number, and says when that is gone")
  func readFrom() throws {
    let fixture = LogFixture()
    let writer = try fixture.open().writer
    try fixture.write(1...40, valueBytes: 500, to: writer)
    for from in 1...41 as ClosedRange<UInt64> {
      #expect(try fixture.read(from: from).sequences == Array(from...41))
    }
    #expect(try fixture.read(from: 42).sequences.isEmpty)
    writer.retire(through: 20)
    while writer.backgroundStep() {}
    #expect(writer.oldestSequence > 1 && writer.oldestSequence <= 21)
    let error = #expect(throws: WALError.self) { try fixture.read(from: 1) }
    #expect(error == .notRetained(sequence: 1, oldest: writer.oldestSequence))
    #expect(try fixture.read(from: 21).sequences == Array(21...41))
  }

  @Test("makes the next segment ready and uses retired ones again, as they are but for the header")
  func recycling() throws {
    let fixture = LogFixture(segmentBytes: 8_192)
    let writer = try fixture.open().writer
    try fixture.write(1...40, valueBytes: 500, to: writer)
    let ready = fixture.disk.paths.filter { $0.contains("spare-") }
    #expect(ready.count == 1)
    // Uses up the one that is ready, so that the retired one is what comes next.
    let segments = fixture.segments
    var frame = FrameBuilder()
    while fixture.segments.count == segments.count {
      frame.append(.put, key: LogFixture.value(1, 9).span.bytes, value: RawSpan())
      try writer.commit(&frame)
    }
    let retired = fixture.disk.contents(segments[0])!
    writer.retire(through: 20)
    while writer.backgroundStep() {}
    let recycled = fixture.disk.paths.filter { $0.contains("spare-") }
    #expect(recycled.count == 1 && recycled != ready && writer.spareBytes == 8_192)
    let spare = fixture.disk.contents(recycled[0])!
    #expect(spare[..<4_096].allSatisfy { $0 == 0 } && spare[4_096...] == retired[4_096...])
    try fixture.write(41...60, valueBytes: 500, to: writer)
    #expect(fixture.disk.contents(recycled[0]) == nil, "it has become a segment")
    #expect(try fixture.read(from: 30).damage.isEmpty)
  }

  @Test(
    "fills segments past the system's cache where it writes them past it, too, and only there",
    arguments: [SyncPolicy.always, .interval(milliseconds: 10), .none])
  func fillsUncached(policy: SyncPolicy) throws {
    var fixture = LogFixture(segmentBytes: 8_192)
    fixture.options.syncPolicy = policy
    let writer = try fixture.open().writer
    try fixture.write(1...40, valueBytes: 500, to: writer)
    #expect(fixture.segments.count > 2)
    #expect((fixture.disk.uncachedWrites > 0) == (policy == .always))
  }

  @Test("keeps as many retired segments for later as it is told to, and removes the others")
  func spares() throws {
    let fixture = LogFixture()
    let writer = try fixture.open().writer
    try fixture.write(1...80, valueBytes: 500, to: writer)
    let count = fixture.segments.count
    let ready = writer.spareBytes
    writer.retire(through: writer.position.sequence, expecting: 3 * 4_096)
    while writer.backgroundStep() {}
    #expect(count > 8 && ready == 4_096 && writer.spareBytes == 5 * 4_096)
    #expect(fixture.disk.paths.filter { $0.contains("spare-") }.count == 5)
    #expect(fixture.segments.count == 1)
    let created = fixture.disk.calls
    try fixture.write(81...120, valueBytes: 500, to: writer)
    #expect(writer.spareBytes < 5 * 4_096 && fixture.disk.calls > created)
    #expect(try fixture.read(from: 81).damage.isEmpty)
    try writer.close()
    #expect(fixture.disk.paths.allSatisfy { !$0.contains("spare-") })
  }

  @Test("leaves alone a retired segment that somebody reads or links to")
  func notRecycled() throws {
    let fixture = LogFixture()
    let writer = try fixture.open().writer
    try fixture.write(1...40, valueBytes: 500, to: writer)
    let first = fixture.segments[0]
    let bytes = fixture.disk.contents(first)!
    var reader = try LogReader(directory: "/data/wal", fileSystem: fixture.disk)
    _ = try reader.next()
    fixture.disk.link(fixture.segments[1], to: "/data/backup")
    let linked = fixture.disk.contents("/data/backup")!
    writer.retire(through: 14)
    try fixture.write(41...60, valueBytes: 500, to: writer)
    // The reader finishes the segment that it has open, and then says that the rest is gone.
    #expect(throws: WALError.notRetained(sequence: 8, oldest: writer.oldestSequence)) {
      try LogFixture.read(&reader)
    }
    #expect(reader.end?.sequence == 7)
    #expect(fixture.disk.contents("/data/backup") == linked)
    #expect(fixture.disk.contents(first) == nil && bytes.count == 4_096)
    let keys = try fixture.read(from: writer.oldestSequence).keys
    #expect(keys.last == "key-60")
  }

  @Test("takes nothing more after a failed write or sync", arguments: [SystemCall.write, .sync])
  func stopsAfterFailure(call: SystemCall) throws {
    let fixture = LogFixture()
    let writer = try fixture.open().writer
    let acknowledged = try fixture.write(1...3, to: writer)
    var isDone = false
    fixture.disk.fault = { made, _ in
      guard made == call, !isDone else { return nil }
      isDone = true
      return .fail(EIO)
    }
    let path = writer.segmentFiles.last!.path
    let cause = WALError.system(call, path: path, errno: EIO)
    #expect(throws: cause) { try fixture.write(4...4, to: writer) }
    // The disk works again; the writer does not believe it.
    #expect(throws: WALError.stopped(because: cause)) { try fixture.write(5...5, to: writer) }
    #expect(throws: WALError.stopped(because: cause)) { try writer.tick() }
    #expect(throws: WALError.stopped(because: cause)) { try writer.close() }
    fixture.disk.losePower()
    let report = try fixture.open().report
    #expect(report.position.sequence >= acknowledged.sequence)
  }

  @Test("writes the tail again after a failed sync, because the page cache may be all there is")
  func tailIsWrittenAgain() throws {
    let fixture = LogFixture()
    var writer: LogWriter? = try fixture.open().writer
    try fixture.write(1...3, to: writer!)
    // A sync fails and forgets what it had to do; everything after it succeeds.
    var random = SeededRandom(seed: 1)
    for _ in 0..<50 {
      fixture.disk.fault = { call, _ in call == .sync ? .fail(EIO) : nil }
      #expect(throws: WALError.self) { try fixture.write(4...4, to: writer!) }
      writer = nil
      fixture.disk.restartProcess()
      let (next, report) = try fixture.open()
      // What the new process found, it may serve; so it must be there after the power went, too.
      fixture.disk.losePower()
      let (again, after) = try fixture.open()
      #expect(after.position.sequence == report.position.sequence)
      _ = next
      writer = again
      if again.owesEpoch {
        let epoch = Epoch(number: again.epoch.number + 1, node: 7)
        try again.startEpoch(epoch, reason: .recovered)
      }
      try fixture.write(5...5 + random.below(2), to: again)
    }
  }

  @Test("has a full disk undone, and goes on by itself when there is room")
  func diskFull() throws {
    for reservesSpace in [true, false] {
      let fixture = LogFixture()
      fixture.disk.reservesSpace = reservesSpace
      let writer = try fixture.open().writer
      try fixture.write(1...5, to: writer)
      fixture.disk.capacityBytes = fixture.disk.usedBytes
      var written = 5
      var frame = FrameBuilder()
      let full = #expect(throws: WALError.self) {
        while true {
          frame.removeAll()
          let value = LogFixture.value(written + 1, 700)
          frame.append(
            .put, key: Array("key-\(written + 1)".utf8).span.bytes, value: value.span.bytes)
          try writer.commit(&frame)
          written += 1
        }
      }
      guard case .diskFull = full else { throw full! }
      let before = writer.position
      #expect(throws: WALError.self) { try writer.commit(&frame) }
      #expect(writer.position == before)
      #expect(try fixture.read().keys.count == written)
      #expect(try fixture.read().damage.isEmpty, "the partial frame is gone")
      fixture.disk.capacityBytes = nil
      try writer.commit(&frame)
      try fixture.write(written + 2...written + 20, valueBytes: 500, to: writer)
      #expect(try fixture.read().keys == (1...written + 20).map { "key-\($0)" })
    }
  }

  @Test(
    "has what a full disk undid undone on the disk, before it goes on in another segment",
    arguments: [false, true])
  func undoneDurably(isSilent: Bool) throws {
    for seed in 0..<100 as Range<UInt64> {
      let fixture = LogFixture(seed: seed)
      fixture.disk.reservesSpace = false
      let writer = try fixture.open().writer
      try fixture.write(1...3, valueBytes: 200, to: writer)
      var frame = FrameBuilder()
      let value = LogFixture.value(4, 3_000)
      frame.append(.put, key: value.span.bytes.extracting(0..<5), value: value.span.bytes)
      var writes = 0
      fixture.disk.fault = { call, _ in
        guard call == .write else { return nil }
        writes += 1
        if isSilent { return writes == 1 ? .failAfterWriting(ENOSPC) : nil }
        return writes == 1 ? .short : writes == 2 ? .fail(ENOSPC) : nil
      }
      #expect(throws: WALError.self) { try writer.commit(&frame) }
      fixture.disk.fault = { _, _ in nil }
      // Does not fit behind the others, so it goes into another segment.
      try fixture.write(4...5, valueBytes: 3_700, to: writer)
      fixture.disk.losePower()
      let report = try fixture.open().report
      #expect(report.position.sequence == 6 && report.cut == nil, "seed \(seed)")
    }
  }

  @Test("goes on after a full disk wherever in a rotation it was met")
  func fullRotation() throws {
    for target in 1...40 {
      let fixture = LogFixture()
      let writer = try fixture.open().writer
      var calls = 0
      var isHit = false
      fixture.disk.fault = { call, _ in
        calls += 1
        guard calls == target, [.write, .rename, .allocate].contains(call) else { return nil }
        isHit = true
        return .fail(ENOSPC)
      }
      for number in 1...12 {
        let position = try? fixture.write(number...number, valueBytes: 900, to: writer)
        if position == nil { try fixture.write(number...number, valueBytes: 900, to: writer) }
      }
      #expect(isHit || target > 1)
      #expect(try fixture.read().keys == (1...12).map { "key-\($0)" })
    }
  }

  @Test("goes on when there is no room to put segments away", arguments: [true, false])
  func fullQuarantine(isForDirectory: Bool) throws {
    let fixture = LogFixture()
    let writer = try fixture.open().writer
    try fixture.write(1...40, valueBytes: 500, to: writer)
    let segments = fixture.segments
    fixture.disk.fault = { call, path in
      let isMet = isForDirectory ? call == .makeDirectory : call == .rename
      return isMet ? .fail(ENOSPC) : nil
    }
    #expect(throws: WALError.diskFull(path: "/data/quarantine")) {
      try writer.quarantine(through: 14)
    }
    fixture.disk.fault = { _, _ in nil }
    #expect(fixture.segments == segments)
    try fixture.write(41...41, valueBytes: 500, to: writer)
    #expect(try writer.quarantine(through: 14).count == 2)
    #expect(try fixture.read(from: 15).keys.last == "key-41")
  }

  @Test("goes on when segments cannot be put away, whatever the reason", arguments: [false, true])
  func noQuarantine(isForList: Bool) throws {
    let fixture = LogFixture()
    let writer = try fixture.open().writer
    try fixture.write(1...40, valueBytes: 500, to: writer)
    let segments = fixture.segments
    // Another file system there, or a file in the directory's place.
    fixture.disk.fault = { call, path in
      switch call {
      case .list where isForList && path == "/data/quarantine": .fail(ENOTDIR)
      case .rename where !isForList: .fail(EXDEV)
      default: nil
      }
    }
    let error = #expect(throws: WALError.self) { try writer.quarantine(through: 14) }
    guard case .system = error else {
      Issue.record("\(error!)")
      return
    }
    fixture.disk.fault = { _, _ in nil }
    #expect(fixture.segments == segments)
    try fixture.write(41...41, valueBytes: 500, to: writer)
    #expect(try writer.quarantine(through: 14).count == 2)
    #expect(try fixture.read(from: 15).keys.last == "key-41")
  }

  @Test("says why no segment is ready, until one is")
  func segmentError() throws {
    let fixture = LogFixture()
    let writer = try fixture.open().writer
    fixture.disk.capacityBytes = fixture.disk.usedBytes
    while writer.backgroundStep() {}
    let error = try #require(writer.segmentError)
    #expect("\(error)".contains("No space left"))
    fixture.disk.capacityBytes = nil
    // Enough for a new segment, with which the next one is asked for again.
    try fixture.write(1...10, valueBytes: 900, to: writer)
    while writer.backgroundStep() {}
    #expect(writer.segmentError == nil)
  }

  @Test("remembers that an epoch is due, over clean stops and everything else, until it has begun")
  func epochDue() throws {
    var fixture = LogFixture()
    fixture.options.syncPolicy = .none
    var writer: LogWriter? = try fixture.open().writer
    try fixture.write(1...3, to: writer!)
    writer = nil
    fixture.disk.losePower()
    for round in 0..<3 {
      let (next, report) = try fixture.open()
      #expect(report.needsNewEpoch && next.owesEpoch)
      // No mark either: members may hold another record under its number.
      let end = next.position
      fixture.clock.milliseconds += 1_000
      _ = try next.tick()
      while next.backgroundStep() {}
      #expect(next.position == end)
      fixture.options.syncPolicy = round == 0 ? .always : .none
      if round < 2 { try next.close() }
      if round == 1 { fixture.disk.losePower() }
      writer = next
    }
    try writer!.startEpoch(Epoch(number: 2, node: 7), reason: .recovered)
    #expect(!writer!.owesEpoch)
    try writer!.close()
    let report = try fixture.open().report
    #expect(!report.needsNewEpoch && report.wasClean)
  }

  @Test("takes a base only where a frame of the same log ends")
  func base() throws {
    var fixture = LogFixture()
    let writer = try fixture.open().writer
    var frame = FrameBuilder()
    for number in 1...3 {
      let key = LogFixture.value(number, 7)
      frame.append(.put, key: key.span.bytes, value: RawSpan())
    }
    let position = try writer.commit(&frame)
    try fixture.write(1...2, to: writer)
    try writer.close()
    fixture.options.base = LogBase(origin: writer.origin, position: position)
    var replayed: [UInt64] = []
    let next = try fixture.open { (header, _) in replayed.append(header.firstSequence) }.writer
    #expect(replayed == [5, 6, 7])
    try next.close()
    var inside = position
    inside.sequence -= 1
    var other = position
    other.crc ^= 1
    for base in [
      LogBase(origin: writer.origin, position: inside),
      LogBase(origin: writer.origin, position: other),
      LogBase(origin: 999, position: position),
    ] {
      fixture.options.base = base
      #expect(throws: WALError.self) { try fixture.open() }
    }
  }

  @Test("begins an epoch durably, and a log with the epoch record of its first")
  func epochs() throws {
    let fixture = LogFixture()
    let (writer, report) = try fixture.open()
    #expect(report.isNew && report.position.sequence == 1)
    #expect(writer.epoch == Epoch(number: 1, node: 7))
    try fixture.write(1...2, to: writer)
    let position = try writer.startEpoch(Epoch(number: 2, node: 9), reason: .promoted)
    #expect(position.epoch == Epoch(number: 2, node: 9) && position.sequence == 4)
    #expect(writer.progress.durable == 4)
    try fixture.write(3...3, to: writer)
    fixture.disk.losePower()
    var changes: [EpochChange] = []
    _ = try fixture.open { (header, records) throws(WALError) in
      do {
        var cursor = RecordCursor(count: header.recordCount)
        while let record = try cursor.next(in: records) {
          guard record.type == .epoch else { continue }
          changes.append(try EpochChange(parsing: records.extracting(record.value)))
        }
      } catch { throw .setting("\(error)") }
    }
    #expect(
      changes == [
        EpochChange(reason: .created, previous: Epoch(number: 0, node: 0)),
        EpochChange(reason: .promoted, previous: Epoch(number: 1, node: 7)),
      ])
  }

  @Test("refuses settings that make no sense")
  func settings() {
    for bytes in [0, 100, 4_097, 1 << 41] as [UInt64] {
      let fixture = LogFixture(segmentBytes: bytes)
      #expect(throws: WALError.self) { try fixture.open() }
    }
    var fixture = LogFixture()
    fixture.options.syncPolicy = .interval(milliseconds: 0)
    #expect(throws: WALError.self) { try fixture.open() }
  }
}

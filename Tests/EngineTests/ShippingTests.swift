import Engine
import SimulatedDisk
import Testing
import WAL

@Suite("A copy of a log")
struct ShippingTests {
  /// A node's life: puts, deletes, batches, keys that expire, marks, sealed segments, an epoch.
  private static func original(seed: UInt64) throws -> (CommitterFixture, ShippedFrames) {
    var random = SeededRandom(seed: seed)
    let node = try CommitterFixture(SimulatedDisk(seed: seed), segmentBytes: 16_384)
    for round in 0..<150 {
      let key = "key-\(random.below(30))"
      switch random.below(8) {
      case 0: node.commit { $0.delete(key, node.index) }
      case 1: node.commit { $0.batch([(key, "b\(round)"), ("other", nil)]) }
      case 2:
        let expiry = node.clock.wallMilliseconds + UInt64(random.below(400))
        node.commit { $0.put(key, "t\(round)", node.index, expiry: expiry) }
      case 3:
        node.clock.advance(milliseconds: 150)
        _ = node.work.tick()
      case 4: try node.log.seal()
      default:
        node.commit { submission in
          for _ in 0...random.below(4) {
            submission.put(
              "key-\(random.below(30))",
              String(repeating: "v", count: random.below(900)), node.index)
          }
        }
      }
      while node.log.backgroundStep() {}
    }
    return (node, try LogCopy.frames(on: node.disk))
  }

  /// The frames from `first` on, in so many batches of a few each.
  private static func batches(
    _ count: Int, of frames: ShippedFrames, from first: Int, _ random: inout SeededRandom
  ) -> [ShippedFrames.SubSequence] {
    var batches: [ShippedFrames.SubSequence] = []
    var next = first
    while next < frames.count, batches.count < count {
      let end = min(frames.count, next + 1 + random.below(9))
      batches.append(frames[next..<end])
      next = end
    }
    return batches
  }

  @Test(
    "is the original where batches are written while those before them are applied",
    arguments: 0..<6 as Range<UInt64>)
  func batchesInTurn(seed: UInt64) throws {
    let (node, frames) = try Self.original(seed: seed)
    var random = SeededRandom(seed: seed)
    let copy = try LogCopy(SimulatedDisk(seed: seed), origin: node.log.origin)
    var next = 0
    while next < frames.count {
      // More than are taken at once.
      let batches = Self.batches(1 + random.below(30), of: frames, from: next, &random)
      let outcomes = copy.ship(inTurn: batches, keysExpected: random.below(100))
      #expect(outcomes.count == min(batches.count, 9))
      for (batch, outcome) in zip(batches, outcomes) {
        guard case .applied(let position) = outcome else { throw WALError.setting("not applied") }
        #expect(position == frames[batch.endIndex - 1].header.position)
        next = batch.endIndex
      }
      #expect(copy.index.appliedSequence == frames[next - 1].header.lastSequence)
      copy.tick()
      while copy.log.backgroundStep() {}
    }
    try copy.expectEqual(node, frames)
    try copy.close()
  }

  @Test(
    "has large segments for what comes in large pieces while none is ready, and small ones else")
  func largePieces() throws {
    let node = try CommitterFixture(SimulatedDisk(seed: 1), segmentBytes: 64 << 20)
    let value = [UInt8](repeating: 7, count: 100_000)
    for number in 0..<30 {
      node.commit { $0.put(utf8("key-\(number)"), value, node.index) }
    }
    let frames = try LogCopy.frames(on: node.disk)
    let cut = frames.count - 3
    let mebibyte = 1 << 20
    for (runs, sizes, room, isReady) in [
      ([0..<2, 2..<cut], [1, 16], nil, false), ([0..<cut], [16], nil, false),
      // Where there is no room for a large one.
      ([0..<cut], [1, 1, 1], 5 * mebibyte, false),
      // And not to the end, once one is ready for small ones.
      ([0..<cut], [16, 64], nil, true), ([0..<2, 2..<cut], [1, 16, 64], nil, true),
    ] as [([Range<Int>], [Int], Int?, Bool)] {
      let copy = try LogCopy(
        SimulatedDisk(seed: 1), origin: node.log.origin, segmentBytes: 64 << 20)
      copy.disk.capacityBytes = room.map { copy.disk.usedBytes + $0 }
      for run in runs + (cut..<frames.count).map({ $0..<$0 + 1 }) {
        if isReady, run.lowerBound == cut { while copy.log.backgroundStep() {} }
        guard case .applied = copy.ship(frames[run]) else {
          throw WALError.setting("not applied")
        }
      }
      let segments = copy.disk.paths.filter { $0.hasSuffix(".wal") }
      #expect(segments.map { copy.disk.contents($0)!.count } == sizes.map { $0 * mebibyte })
      try copy.expectEqual(node, frames)
    }
  }

  @Test("tells no digest of a state that could not be applied, whatever comes behind it")
  func halfApplied() throws {
    let disk = SimulatedDisk(seed: 1)
    var options = LogOptions(dataDirectory: "/data", node: 7)
    options.fileSystem = disk
    options.usesThreads = false
    options.segmentBytes = 8_192
    let log = try LogRecovery.open(options).writer
    var frame = FrameBuilder()
    let (key, unknown) = (utf8("key"), ShardRange(hash: 9, index: 0, count: 2).encoded)
    frame.append(.delete, key: key.span.bytes, value: RawSpan())
    try log.commit(&frame)
    frame.append(.put, key: key.span.bytes, value: key.span.bytes)
    frame.append(.purge, key: RawSpan(), value: unknown.span.bytes)
    try log.commit(&frame)
    frame.append(.put, key: key.span.bytes, value: key.span.bytes)
    try log.commit(&frame)
    let frames = try LogCopy.frames(on: disk)
    let copy = try LogCopy(SimulatedDisk(seed: 2), origin: log.origin)
    let cut = frames.count - 2
    let outcomes = copy.ship(
      inTurn: [frames[..<cut], frames[cut..<cut + 1], frames[(cut + 1)...]], keysExpected: 1_000)
    guard case .applied(let end) = outcomes[0], case .stopped = outcomes[1],
      case .stopped = outcomes[2]
    else { throw WALError.setting("\(outcomes)") }
    #expect(copy.index.appliedSequence == end.sequence && copy.index.count == 1)
    #expect(copy.index.appliedDigest() == nil)
  }

  @Test("is the original, frame by frame, whatever pieces it comes in", arguments: 0..<6)
  func pieces(seed: UInt64) throws {
    let (node, frames) = try Self.original(seed: seed)
    var random = SeededRandom(seed: seed)
    let copy = try LogCopy(SimulatedDisk(seed: seed), origin: node.log.origin)
    #expect(copy.log.position == .start && copy.epochs.last == nil)
    var next = 0
    while next < frames.count {
      let end = min(frames.count, next + 1 + random.below(12))
      guard case .applied(let position) = copy.ship(frames[next..<end]) else {
        throw WALError.setting("not applied")
      }
      #expect(position == frames[end - 1].header.position)
      #expect(copy.index.appliedSequence == position.sequence)
      next = end
      if random.once(in: 5) { try copy.log.seal() }
      copy.tick()
      while copy.log.backgroundStep() {}
    }
    try copy.expectEqual(node, frames)
    try copy.close()
    copy.disk.restartProcess()
    let again = try LogCopy(copy.disk, origin: 0)
    #expect(again.report.wasClean)
    try again.expectEqual(node, frames)
  }

  @Test(
    "loses nothing that it has acknowledged, and goes on where it ended, whatever ends it",
    arguments: 0..<40 as Range<UInt64>, [false, true])
  func crashes(seed: UInt64, inTurn: Bool) throws {
    let (node, frames) = try Self.original(seed: seed)
    var random = SeededRandom(seed: seed)
    let disk = SimulatedDisk(seed: seed + 1_000)
    var acknowledged: UInt64 = 0
    var ends = 0
    while true {
      let copy = try LogCopy(disk, origin: node.log.origin)
      let position = copy.log.position
      #expect(position.sequence >= acknowledged)
      var next = frames.firstIndex { $0.header.firstSequence == position.sequence + 1 }
      if position.sequence > 0 {
        #expect(frames.contains { $0.header.position == position }, "a prefix of the original")
      }
      if ends < 12, random.once(in: 2) {
        var left = random.below(40)
        let isFull = random.once(in: 4)
        disk.fault = { _, _ in
          left -= 1
          return left == 0 ? (isFull ? .fail(28) : .die) : nil
        }
      }
      life: while let first = next {
        let count = inTurn ? 1 + random.below(5) : 1
        let batches = Self.batches(count, of: frames, from: first, &random)
        let outcomes = inTurn ? copy.ship(inTurn: batches) : [copy.ship(batches[0])]
        for (batch, outcome) in zip(batches, outcomes) {
          switch outcome {
          case .applied(let position):
            #expect(position == batch.last!.header.position)
            acknowledged = position.sequence
            next = batch.endIndex == frames.count ? nil : batch.endIndex
          case .diskFull(let position):
            // What was written counts; the rest is shipped again.
            #expect(position.sequence >= acknowledged)
            acknowledged = position.sequence
            next = frames.firstIndex { $0.header.firstSequence == position.sequence + 1 }
          case .stopped: break life
          }
        }
        while copy.log.backgroundStep() {}
        if disk.isDead || (ends < 12 && random.once(in: 15)) { break life }
      }
      if next == nil, !disk.isDead {
        disk.fault = { _, _ in nil }
        try copy.expectEqual(node, frames)
        return
      }
      ends += 1
      if random.once(in: 2) { disk.losePower() } else { disk.restartProcess() }
    }
  }

  @Test("takes no writes of its own, and writes no marks")
  func readOnly() throws {
    let (node, frames) = try Self.original(seed: 1)
    let copy = try LogCopy(SimulatedDisk(seed: 1), origin: node.log.origin)
    _ = copy.ship(frames[...])
    let submission = node.submission()
    submission.put("mine", "value", copy.index)
    copy.submit(submission)
    guard case .readOnly = submission.requests[0].outcome else {
      throw WALError.setting("it was taken")
    }
    copy.tick()
    #expect(copy.log.position == node.log.position)
  }

  @Test("says so when its state is not the original's at a mark")
  func differs() throws {
    let (node, frames) = try Self.original(seed: 2)
    node.clock.advance(milliseconds: 150)
    node.commit { $0.put("last", "value", node.index) }
    node.clock.advance(milliseconds: 150)
    _ = node.work.tick()
    let later = try LogCopy.frames(on: node.disk)
    let copy = try LogCopy(SimulatedDisk(seed: 2), origin: node.log.origin)
    _ = copy.ship(frames[...])
    #expect(copy.recorder.mismatches.withLock { $0 } == [])
    copy.index.put(utf8("never written"), [], version: 1)
    _ = copy.ship(later[frames.count...])
    #expect(copy.recorder.mismatches.withLock { $0 } == [node.log.position.sequence])
  }
}

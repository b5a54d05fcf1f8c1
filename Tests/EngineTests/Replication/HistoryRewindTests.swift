import Engine
import SimulatedDisk
import TemporaryFiles
import Testing
import WAL

@Suite("A history that another one has replaced")
struct HistoryRewindTests {
  /// A node's closed directory, and the frames in it.
  private struct History {
    let disk: SimulatedDisk
    let origin: UInt64
    let frames: ShippedFrames

    /// Where it may part from another one: every frame's end but the last.
    func fork(_ frame: Int) -> HistoryFork {
      HistoryFork(
        sequence: frames[frame].header.lastSequence, epoch: frames[frame].header.epoch)
    }
  }

  private static func write(_ node: CommitterFixture, rounds: Int, _ random: inout SeededRandom) {
    for round in 0..<rounds {
      let key = "key-\(random.below(20))"
      switch random.below(8) {
      case 0: node.commit { $0.delete(key, node.index) }
      case 1: node.commit { $0.batch([(key, "b\(round)"), ("other", nil)]) }
      case 2:
        let expiry = node.clock.wallMilliseconds + UInt64(random.below(400))
        node.commit { $0.put(key, "t\(round)", node.index, expiry: expiry) }
      case 3:
        node.clock.advance(milliseconds: 150)
        _ = node.work.tick()
      case 4:
        do { try node.log.seal() } catch { Issue.record("\(error)") }
      default:
        node.commit { submission in
          for _ in 0...random.below(4) {
            submission.put(
              "key-\(random.below(20))", String(repeating: "v", count: random.below(700)),
              node.index)
          }
        }
      }
      while node.log.backgroundStep() {}
    }
  }

  /// A leader's life: some epochs, and an end in order.
  private static func history(
    seed: UInt64, rounds: Int = 40, on disk: SimulatedDisk? = nil, epoch: UInt64? = nil
  ) throws -> (History, CommitterFixture) {
    var random = SeededRandom(seed: seed)
    let disk = disk ?? SimulatedDisk(seed: seed)
    let node = try CommitterFixture(disk, segmentBytes: 8_192)
    if let epoch {
      let new = Epoch(number: epoch, node: 8)
      let position = try node.log.startEpoch(new, reason: .promoted)
      node.epochs.begin(new, at: position.sequence)
      node.index.endFrame(time: node.log.frameTimeMilliseconds)
      node.index.setApplied(position.sequence)
    }
    write(node, rounds: rounds, &random)
    try node.work.close().get()
    disk.restartProcess()
    return (
      History(disk: disk, origin: node.log.origin, frames: try LogCopy.frames(on: disk)), node
    )
  }

  /// The same files on another disk, durably.
  private static func copy(_ disk: SimulatedDisk, seed: UInt64) -> SimulatedDisk {
    let copy = SimulatedDisk(
      seed: seed, directories: ["/data", "/data/wal", "/data/snapshots", "/data/quarantine"])
    for path in disk.paths { copy.put(path, disk.contents(path)!) }
    return copy
  }

  private static func frames(_ disk: SimulatedDisk, _ directory: String) throws -> ShippedFrames {
    var reader = try LogReader(directory: directory, fileSystem: disk)
    var frames: ShippedFrames = []
    while true {
      switch try reader.next() {
      case .frame(let header):
        frames.append((header, reader.withFrame { $0.withUnsafeBytes { Array($0) } }))
      case .damage(let damage): throw WALError.damaged(damage)
      case .end: return frames
      }
    }
  }

  /// Expects the log up to that frame, byte for byte, and what was behind it in the one saved tail.
  private static func expect(
    _ disk: SimulatedDisk, _ history: History, cutBehind frame: Int, tails: Int = 1,
    _ moment: String = ""
  ) throws {
    let comment = Comment(rawValue: "frame \(frame) \(moment)")
    let kept = try LogCopy.frames(on: disk)
    #expect(kept.map(\.bytes) == history.frames[...frame].map(\.bytes), comment)
    let found = try SavedTails("/data", fileSystem: disk).list()
    #expect(found.tails.count == tails && found.others == [], comment)
    let fork = history.frames[frame].header.position
    let place = try #require(found.tails.first { $0.tail.fork == fork }, comment)
    let lost = try Self.frames(disk, place.directory)
    #expect(lost.map(\.bytes) == history.frames[(frame + 1)...].map(\.bytes), comment)
    #expect(place.tail.lastSequence == history.frames.last!.header.lastSequence, comment)
    #expect(place.tail.origin == history.origin, comment)
    #expect(!disk.paths.contains { $0.hasSuffix(".tmp") || $0.hasSuffix("/rewind") }, comment)
  }

  /// The state behind that frame.
  private static func digest(_ history: History, behind frame: Int) throws -> Digest {
    let copy = try LogCopy(SimulatedDisk(seed: 1), origin: history.origin)
    guard case .applied = copy.ship(history.frames[...frame]) else {
      throw WALError.setting("not applied")
    }
    return copy.index.digest()
  }

  @Test(
    "ends at any frame that both have, and keeps what was behind", arguments: 0..<4 as Range<UInt64>
  )
  func anyFrame(seed: UInt64) throws {
    let (history, _) = try Self.history(seed: seed)
    for frame in 0..<history.frames.count - 1 {
      let disk = Self.copy(history.disk, seed: seed)
      let rewind = HistoryRewind("/data", fileSystem: disk)
      let outcome = try rewind.run(to: history.fork(frame), origin: history.origin)
      guard case .rewound(let tail) = outcome else {
        Issue.record("frame \(frame): \(outcome)")
        continue
      }
      let first = history.frames[frame + 1].header
      #expect(tail.name == "\(first.epoch.number)-\(SegmentName.stem(first.firstSequence))")
      disk.restartProcess()
      try Self.expect(disk, history, cutBehind: frame)
      let copy = try LogCopy(disk, origin: 0)
      #expect(copy.report.wasClean && copy.report.cut == nil)
      #expect(copy.log.position == history.frames[frame].header.position)
      #expect(try copy.index.digest() == Self.digest(history, behind: frame), "frame \(frame)")
      // Its numbers are never used again in the same epoch.
      #expect(copy.report.needsNewEpoch)
    }
  }

  @Test("is not touched where no frame ends, or of another epoch or log")
  func notAFrame() throws {
    let (history, _) = try Self.history(seed: 9)
    let ends = Set(history.frames.map(\.header.lastSequence))
    let last = history.frames.last!.header
    let within = try #require((1..<last.lastSequence).first { !ends.contains($0) })
    let fork = history.fork(3)
    for (asked, origin) in [
      (HistoryFork(sequence: within, epoch: fork.epoch), history.origin),
      (HistoryFork(sequence: fork.sequence, epoch: Epoch(number: 1, node: 99)), history.origin),
      (fork, history.origin ^ 1),
      (HistoryFork(sequence: last.lastSequence, epoch: last.epoch), history.origin),
      (HistoryFork(sequence: last.lastSequence + 5, epoch: last.epoch), history.origin),
    ] {
      let disk = Self.copy(history.disk, seed: 1)
      // Of another log nothing can be read.
      if let outcome = try Self.outcome(disk, asked, origin) {
        guard case .impossible = outcome else {
          Issue.record("\(asked): \(outcome)")
          continue
        }
      } else {
        #expect(origin != history.origin)
      }
      disk.restartProcess()
      #expect(try LogCopy.frames(on: disk).map(\.bytes) == history.frames.map(\.bytes))
      #expect(try LogCopy(disk, origin: 0).report.wasClean)
    }
  }

  /// - Returns: nil when the log is damaged.
  private static func outcome(
    _ disk: SimulatedDisk, _ fork: HistoryFork, _ origin: UInt64
  ) throws -> HistoryRewind.Outcome? {
    do throws(WALError) {
      return try HistoryRewind("/data", fileSystem: disk).run(to: fork, origin: origin)
    } catch {
      guard case .damaged = error else { throw error }
      return nil
    }
  }

  @Test(
    "is rewound by the next start, whatever call the process or the power ended in",
    arguments: 0..<6 as Range<UInt64>)
  func everyCall(seed: UInt64) throws {
    let (history, _) = try Self.history(seed: seed, rounds: 24)
    var random = SeededRandom(seed: seed + 77)
    let frame = random.below(history.frames.count - 1)
    let fork = history.fork(frame)
    let digest = try Self.digest(history, behind: frame)
    let below = "/data/snapshots/\(SegmentName.stem(1)).snap"
    let above = "/data/snapshots/\(SegmentName.stem(fork.sequence + 1)).snap"
    for name in [below, above] { history.disk.put(name, Array(name.utf8)) }
    var ended = 0
    for call in 1... {
      let disk = Self.copy(history.disk, seed: seed &* 1_000 + UInt64(call))
      var left = call
      disk.fault = { _, _ in
        left -= 1
        return left == 0 ? .die : nil
      }
      let rewind = HistoryRewind("/data", fileSystem: disk)
      do {
        _ = try rewind.run(to: fork, origin: history.origin)
        guard disk.isDead else { break }
      } catch {
        #expect(disk.isDead, "\(error)")
      }
      ended += 1
      var starts = 0
      while true {
        if random.once(in: 2) { disk.losePower() } else { disk.restartProcess() }
        starts += 1
        // The first starts may be interrupted, too.
        var budget = starts < 4 ? 1 + random.below(60) : Int.max
        disk.fault = { _, _ in
          budget -= 1
          return budget == 0 ? .die : nil
        }
        do {
          if try rewind.resume() == nil { try Self.rewindAgain(disk, history, fork) }
          if !disk.isDead { break }
        } catch {
          #expect(disk.isDead, "call \(call): \(error)")
        }
        guard starts < 10 else { throw WALError.setting("call \(call): it does not end") }
      }
      disk.restartProcess()
      try Self.expect(disk, history, cutBehind: frame, "call \(call)")
      #expect(disk.contents(below) != nil && disk.contents(above) == nil, "call \(call)")
      let copy = try LogCopy(disk, origin: 0)
      #expect(copy.report.wasClean && copy.index.digest() == digest, "call \(call)")
    }
    #expect(ended > 50)
  }

  /// What a follower does that finds its whole log: it is refused again.
  private static func rewindAgain(
    _ disk: SimulatedDisk, _ history: History, _ fork: HistoryFork
  ) throws(WALError) {
    let end = try CleanStop.read(in: "/data/wal", fileSystem: disk)?.position.sequence
    if end == fork.sequence { return }
    _ = try HistoryRewind("/data", fileSystem: disk).run(to: fork, origin: history.origin)
  }

  @Test(
    "goes on as its new leader's, and parts from a third one later",
    arguments: 0..<6 as Range<UInt64>)
  func followed(seed: UInt64) throws {
    let (first, _) = try Self.history(seed: seed)
    let disk = Self.copy(first.disk, seed: seed)
    var histories = [first]
    var random = SeededRandom(seed: seed + 5)
    // Every round another leader goes on from some frame of what this node has.
    for round in 1...3 {
      let old = histories.last!
      let frame = random.below(old.frames.count - 1)
      let other = SimulatedDisk(seed: seed)
      let replica = try LogCopy(other, origin: old.origin)
      _ = replica.ship(old.frames[...frame])
      try replica.close()
      other.restartProcess()
      let (new, leader) = try Self.history(
        seed: seed + UInt64(100 * round), rounds: 20, on: other, epoch: UInt64(round + 1))
      let fork = HistoryFork.find(
        own: try Self.epochs(old), through: old.frames.last!.header.lastSequence,
        leader: leader.epochs.all)
      #expect(fork == old.fork(frame), "round \(round)")
      _ = try HistoryRewind("/data", fileSystem: disk).run(
        to: old.fork(frame), origin: old.origin)
      disk.restartProcess()
      try Self.expect(disk, old, cutBehind: frame, tails: round, "round \(round)")
      let copy = try LogCopy(disk, origin: 0)
      guard case .applied = copy.ship(new.frames[(frame + 1)...]) else {
        Issue.record("round \(round): not applied")
        return
      }
      try copy.expectEqual(leader, new.frames, "round \(round)")
      try copy.close()
      disk.restartProcess()
      histories.append(new)
    }
    #expect(try SavedTails("/data", fileSystem: disk).totals().tails == 3)
  }

  private static func epochs(_ history: History) throws -> [EpochHistory.Start] {
    let copy = try LogCopy(SimulatedDisk(seed: 1), origin: history.origin)
    _ = copy.ship(history.frames[...])
    return copy.epochs.all
  }

  /// - Returns: false when there is no room.
  private static func isRewound(
    _ disk: SimulatedDisk, _ history: History, _ fork: HistoryFork
  ) throws -> Bool {
    do throws(WALError) {
      if try HistoryRewind("/data", fileSystem: disk).resume() == nil {
        try rewindAgain(disk, history, fork)
      }
      return true
    } catch {
      guard case .diskFull = error else { throw error }
      return false
    }
  }

  @Test(
    "is rewound once there is room where the disk is full, and changes nothing that it must not")
  func diskFull() throws {
    let (history, _) = try Self.history(seed: 4)
    let frame = history.frames.count / 2
    for reserves in [true, false] {
      let disk = Self.copy(history.disk, seed: 4)
      disk.reservesSpace = reserves
      var refusals = 0
      var isDone = false
      for room in stride(from: 0, through: 200_000, by: 1_000) {
        disk.capacityBytes = disk.usedBytes + room
        isDone = try Self.isRewound(disk, history, history.fork(frame))
        if isDone { break }
        refusals += 1
        disk.restartProcess()
      }
      #expect(isDone && (refusals > 0 || !reserves))
      disk.capacityBytes = nil
      disk.restartProcess()
      try Self.expect(disk, history, cutBehind: frame, "reserves \(reserves)")
    }
  }

  /// A store whose log does not begin at 1 any more, closed; and its state behind some numbers.
  private static func shortened() throws -> (SnapshotNode, [(fork: HistoryFork, digest: Digest)]) {
    let node = SnapshotNode(SimulatedDisk(seed: 3))
    try node.start()
    var states: [(fork: HistoryFork, digest: Digest)] = []
    for round in 0..<90 {
      node.write(1, stepEach: 1)
      if round % 30 == 29 { _ = try node.snapshot() }
      let store = node.store!
      states.append(
        (
          HistoryFork(sequence: store.progress.durable, epoch: store.epoch), store.index.digest()
        ))
    }
    #expect(try node.store!.oldestSequence() > 1)
    try node.stop()
    node.disk.restartProcess()
    return (node, states)
  }

  @Test(
    "goes back to the newest snapshot at or below the fork; the others are put away with the tail")
  func snapshots() throws {
    let (node, states) = try Self.shortened()
    let covered = node.snapshotFiles
    var rewound = 0
    var impossible = 0
    for (fork, digest) in states.dropLast() {
      let other = node.copy { _ in }
      let outcome = try HistoryRewind("/data", fileSystem: other.disk).run(
        to: fork, origin: 99)
      switch outcome {
      case .impossible(_, let tail):
        // The log goes back behind the older snapshot only.
        #expect(
          covered.allSatisfy { $0 > "/data/snapshots/\(SegmentName.stem(fork.sequence)).snap" })
        #expect(other.snapshotFiles == covered)
        if let tail { #expect(tail.fork.sequence == fork.sequence) }
        impossible += 1
      case .rewound(let tail):
        rewound += 1
        let left = other.snapshotFiles
        #expect(!left.isEmpty)
        #expect(left.allSatisfy { $0 <= "/data/snapshots/\(SegmentName.stem(fork.sequence)).snap" })
        let moved = other.disk.paths.filter {
          $0.hasPrefix("/data/diverged/\(tail.name)/") && $0.hasSuffix(".snap")
        }
        #expect(moved.count + left.count == covered.count)
        other.disk.restartProcess()
        other.options.isCopy = true
        try other.start()
        let store = other.store!
        #expect(store.index.digest() == digest && store.feed.end.sequence == fork.sequence)
        #expect(store.epochs.last?.epoch == fork.epoch && store.report.log.wasClean)
        #expect(store.report.diverged.tails == 1 && store.owesEpoch)
        #expect(store.report.diverged.records == tail.writes)
        try other.stop()
      }
    }
    #expect(rewound > 10 && impossible > 10)
  }

  @Test("is not opened by anything that would not finish a rewind first; a store does")
  func interrupted() throws {
    let (node, states) = try Self.shortened()
    let (fork, digest) = states[states.count - 10]
    var finished = 0
    for call in stride(from: 10, through: 400, by: 7) {
      let other = node.copy { _ in }
      var left = call
      other.disk.fault = { _, _ in
        left -= 1
        return left == 0 ? .die : nil
      }
      do {
        _ = try HistoryRewind("/data", fileSystem: other.disk).run(to: fork, origin: 99)
      } catch {}
      other.disk.restartProcess()
      let isBegun = other.disk.contents("/data/wal/rewind") != nil
      if isBegun {
        var options = LogOptions(dataDirectory: "/data", node: 7)
        options.fileSystem = other.disk
        options.usesThreads = false
        #expect(throws: WALError.self) { _ = try LogRecovery.open(options) }
        other.disk.restartProcess()
      }
      other.options.isCopy = true
      try other.start()
      let store = other.store!
      #expect((store.report.rewound != nil) == isBegun, "call \(call)")
      if isBegun {
        finished += 1
        #expect(store.index.digest() == digest && store.feed.end.sequence == fork.sequence)
      }
      try other.stop()
    }
    #expect(finished > 3)
  }

  @Test("is listed when it was put away as a whole, with what nobody else has")
  func putAway() throws {
    let (history, _) = try Self.history(seed: 6)
    let frame = history.frames.count / 3
    let fork = history.frames[frame].header.position
    let directory = TemporaryDirectory()
    let data = directory.path + "/data"
    let real = SystemFileSystem()
    for path in ["", "/wal"] { try real.makeDirectory(data + path) }
    for path in history.disk.paths where path.hasPrefix("/data/wal/") {
      let file = try real.open(data + path.dropFirst("/data".count), .create)
      try file.writeAll(history.disk.contents(path)!, at: 0)
    }
    let tail = LostTail(
      origin: history.origin, fork: fork,
      lastSequence: history.frames.last!.header.lastSequence, writes: 5, name: "any")
    let place = try CopyDirectory(data).putAway(tail)
    #expect(place == data + "/diverged/copy-1")
    #expect(try CopyDirectory(data).isEmpty())
    let tails = SavedTails(data)
    let found = try tails.list()
    #expect(found.tails.map(\.name) == ["copy-1"] && found.others == [])
    var sequences: [UInt64] = []
    var next: UInt64? = 1
    while let from = next {
      let page = try #require(
        try tails.page(of: "copy-1", from: from, limits: WritePage.Limits(writesMax: 3)))
      #expect(page.writes.count <= 3)
      sequences += page.writes.map(\.sequence)
      next = page.next
    }
    let expected = try Self.writes(history).filter { $0 > fork.sequence }
    #expect(sequences == expected && !expected.isEmpty)
    #expect(try tails.page(of: "copy-2", from: 1, limits: WritePage.Limits()) == nil)
    // Once more, and without a word of where it parted.
    try real.makeDirectory(data + "/wal")
    _ = try CopyDirectory(data).putAway()
    #expect(try tails.list().others == ["copy-2"])
  }

  /// The sequence numbers of puts and deletes.
  private static func writes(_ history: History) throws -> [UInt64] {
    var found: [UInt64] = []
    for (header, bytes) in history.frames {
      let records = Array(bytes.dropFirst(Format.frameHeaderBytes))
      var cursor = RecordCursor(count: header.recordCount)
      var sequence = header.firstSequence
      while let record = try cursor.next(in: records.span.bytes) {
        if record.type == .put || record.type == .delete { found.append(sequence) }
        sequence += 1
      }
    }
    return found
  }

  @Test("has a note that is believed only as a whole")
  func note() {
    let tail = LostTail(
      origin: 5, fork: LogPosition(epoch: Epoch(number: 2, node: 7), sequence: 80, crc: 0xabc),
      lastSequence: 95, writes: 12, name: "2-00000000000000000081")
    #expect(LostTail(tail.text) == tail)
    for index in tail.text.indices {
      var text = tail.text
      text.replaceSubrange(index...index, with: text[index] == "1" ? "2" : "1")
      #expect(LostTail(text) == nil, "\(text)")
      #expect(LostTail(String(tail.text[..<index])) == nil)
    }
  }
}

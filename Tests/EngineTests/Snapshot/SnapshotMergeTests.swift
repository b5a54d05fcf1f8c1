import Engine
import Sharding
import SimulatedDisk
import Testing
import WAL

@Suite("A snapshot of a history")
struct SnapshotMergeTests {
  private func load(_ file: SnapshotFile, threads: Int = 2) throws -> Index {
    let index = Index(hash: file.header.hash, shardCount: file.header.shardCount)
    try SnapshotLoad.run(file, into: index, threads: threads)
    return index
  }

  private func expect(
    _ file: SnapshotFile, is plain: PlainLog, _ moment: String
  ) throws {
    let index = try load(file)
    // The first difference says enough.
    try #require(index.contents() == plain.entries, "\(moment)")
    try #require(file.header.sequence == plain.sequence, "\(moment)")
    try #require(file.header.frameTimeMilliseconds == plain.frameTime, "\(moment)")
    try #require(file.header.epochs == plain.epochs, "\(moment)")
    try #require(index.digests() == file.footer.digests, "\(moment)")
    try #require(
      file.header.base.position.epoch == plain.epochs.last?.epoch, "\(moment)")
  }

  @Test(
    "is what the log leads to, whether it was made from nothing or from older ones",
    arguments: 0..<16 as Range<UInt64>)
  func histories(seed: UInt64) throws {
    let history = try SnapshotHistory(seed: seed)
    let shardCount = UInt32(1 + seed % 4)
    var made: [SnapshotFile] = []
    for _ in 0..<8 {
      for _ in 0...history.random.below(40) { try history.step() }
      let runItemsMax = [1, 3, 20, 1 << 20][history.random.below(4)]
      let place = history.place(shardCount: shardCount, runItemsMax: runItemsMax)
      let previous = made.isEmpty ? nil : made[history.random.below(made.count)]
      let input = try history.input(after: previous)
      let file = try SnapshotMerge.run(input, place, pace: Pace())
      let moment = "up to \(file.header.sequence), from \(previous?.header.sequence ?? 0)"
      try expect(file, is: try history.plain(), moment)
      try #require(file.header.base.position == history.log.position, "\(moment)")
      let index = history.fixture.index
      try #require(try load(file).contents() == index.contents(), "\(moment)")
      try #require(file.footer.digest == index.digest(), "\(moment)")
      try #require(file.header.frameTimeMilliseconds == index.frameTime, "\(moment)")
      // The same bytes, whatever it was made from.
      let other = history.place("/other", shardCount: shardCount)
      let again = try SnapshotMerge.run(try history.input(), other, pace: Pace())
      try #require(
        history.disk.contents(again.path) == history.disk.contents(file.path), "\(moment)")
      made.append(file)
    }
    try expectTails(history, made)
  }

  /// Each snapshot and the log behind it are the whole log.
  private func expectTails(_ history: SnapshotHistory, _ made: [SnapshotFile]) throws {
    for _ in 0..<10 { try history.step() }
    let expected = history.fixture.index.contents()
    let digest = history.fixture.index.digest()
    let position = history.log.position
    let frameTime = history.fixture.index.frameTime
    let epochs = try history.plain().epochs
    for file in made {
      let index = try load(file)
      let found = EpochHistory()
      var replay = Replay(index: index, epochs: found, frameTime: file.header.frameTimeMilliseconds)
      var options = history.fixture.optionsOfAnother()
      options.base = file.header.base
      let report = try LogRecovery.open(options) { (header, records) throws(WALError) in
        try replay.apply(header, records)
      }.report
      try #require(index.contents() == expected && index.digest() == digest)
      try #require(replay.digestMismatches == [] && report.position == position)
      try #require(index.frameTime == frameTime && report.covered.isEmpty)
      let behind = epochs.filter { $0.firstSequence > file.header.sequence }
      try #require(found.all.suffix(behind.count) == behind[...])
    }
  }

  @Test(
    "ends where it is told to, in the middle of a segment and of a batch as well",
    arguments: 0..<8 as Range<UInt64>)
  func through(seed: UInt64) throws {
    let history = try SnapshotHistory(seed: 100 + seed)
    for _ in 0..<60 { try history.step() }
    _ = try history.input()
    let end = history.log.position.sequence
    var earlier: [SnapshotFile] = []
    for _ in 0..<25 {
      let through = 1 + UInt64(history.random.below(Int(end)))
      let previous = earlier.filter { $0.header.sequence <= through }.randomElement(
        using: &history.random)
      // The segments of later records may be there, or not.
      var input = try history.input(after: previous, through: through)
      if history.random.once(in: 2),
        let number = input.segments.lastIndex(where: { $0.firstSequence! <= through })
      {
        input.segments.removeSubrange((number + 1)...)
        input.next = nil
      }
      let file = try SnapshotMerge.run(
        input, history.place(runItemsMax: 1 + history.random.below(9)), pace: Pace())
      let plain = try history.plain(through: through)
      try expect(file, is: plain, "up to \(through), from \(previous?.header.sequence ?? 0)")
      // A position inside a frame has no place in a history, and says so.
      earlier.append(file)
    }
    #expect(history.disk.paths.allSatisfy { !$0.hasSuffix(".tmp") })
  }

  @Test("cannot end before the one that it is made from, nor be made of nothing")
  func impossible() throws {
    let history = try SnapshotHistory(seed: 1)
    for _ in 0..<10 { try history.step() }
    let file = try SnapshotMerge.run(try history.input(), history.place(), pace: Pace())
    let back = try history.input(after: file, through: file.header.sequence - 1)
    #expect(throws: WALError.self) { try SnapshotMerge.run(back, history.place(), pace: Pace()) }
    let nothing = SnapshotMerge.Input(previous: nil, segments: [])
    #expect(throws: WALError.self) {
      try SnapshotMerge.run(nothing, history.place("/other"), pace: Pace())
    }
    #expect(history.disk.paths.allSatisfy { !$0.hasPrefix("/other") })
    // Nothing is behind it: it is what was asked for.
    let same = try SnapshotMerge.run(
      try history.input(after: file), history.place(), pace: Pace())
    #expect(same.path == file.path)
  }

  @Test("is not made where a segment is missing, is cut short, or is of another history")
  func gaps() throws {
    let history = try SnapshotHistory(seed: 2)
    for _ in 0..<20 { try history.step() }
    let first = try SnapshotMerge.run(try history.input(), history.place(), pace: Pace())
    for _ in 0..<80 { try history.step() }
    let whole = try history.input(after: first)
    let behind = whole.segments.filter { $0.firstSequence! > first.header.sequence }
    try #require(behind.count > 4)
    func refused(_ input: SnapshotMerge.Input, _ what: String) {
      try? history.place().directory.removeSidecars(through: .max)
      let before = history.disk.paths
      let error = #expect(throws: WALError.self, "\(what)") {
        try SnapshotMerge.run(input, history.place(), pace: Pace())
      }
      if case .invalidFile = error {} else { Issue.record("\(what): \(error!)") }
      let snapshots = { (paths: [String]) in paths.filter { $0.hasSuffix(".snap") } }
      #expect(snapshots(history.disk.paths) == snapshots(before))
    }
    for number in behind.indices {
      var input = whole
      input.segments = behind
      input.segments.remove(at: number)
      refused(input, "without segment \(number)")
    }
    // As it was before its last frame a segment looks whole by itself.
    for segment in [behind[1], behind.last!] {
      let bytes = history.disk.contents(segment.path)!
      var reader = LogReader(files: [segment], fileSystem: history.disk)
      var last = 0
      var end = EndMarker(.start)
      while case .frame(let header) = try reader.next() {
        last = Int(reader.frameOffset)
        end.nextSequence = header.firstSequence
        end.previousCRC = header.previousCRC
      }
      let marker = end.encoded(Checksum(origin: reader.origin!))
      history.disk.overwrite(
        segment.path, bytes[..<last] + marker + bytes[(last + marker.count)...])
      refused(whole, "without the end of \(segment.path)")
      history.disk.overwrite(segment.path, bytes)
    }
    let other = try SnapshotHistory(seed: 3)
    for _ in 0..<100 { try other.step() }
    var foreign = try other.input()
    let size = foreign.segments.count
    for segment in foreign.segments {
      history.disk.put(segment.path + "-other", history.disk.contents(segment.path) ?? [])
      history.disk.put(segment.path, other.disk.contents(segment.path)!)
    }
    history.disk.put(foreign.next!.path, other.disk.contents(foreign.next!.path)!)
    foreign.previous = first
    #expect(size > 2)
    refused(foreign, "of another log")
  }
}

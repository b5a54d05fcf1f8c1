import Engine
import Sharding
import SimulatedDisk
import Testing
import WAL

@Suite("A segment's sidecar")
struct SegmentSidecarTests {
  /// A history in one segment, and what its sidecar should say: the last record about each key.
  private struct Story {
    let history: SnapshotHistory
    let segment: SegmentFile
    let next: SegmentFile
    var directory: SnapshotDirectory { history.place(runItemsMax: runItemsMax).directory }
    var runItemsMax = 1 << 20
    var path: String { "/data/snapshots/\(SegmentName.stem(segment.firstSequence!)).sidecar" }

    init(seed: UInt64, runItemsMax: Int = 1 << 20) throws {
      history = try SnapshotHistory(seed: seed)
      for _ in 0..<80 { try history.step() }
      let input = try history.input()
      let files = input.segments + [input.next!]
      // The one with the most frames.
      var most = (frames: 0, number: 0)
      for (number, file) in input.segments.enumerated() {
        var reader = LogReader(files: [file], fileSystem: history.disk)
        var frames = 0
        while case .frame = try reader.next() { frames += 1 }
        if frames > most.frames { most = (frames, number) }
      }
      segment = files[most.number]
      next = files[most.number + 1]
      self.runItemsMax = runItemsMax
    }

    /// Of each run, the order, number and key of its items.
    func items(_ sidecar: SegmentSidecar) throws -> [[(
      order: KeyOrder, sequence: UInt64, key: [UInt8]
    )]] {
      var buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 16, alignment: 8)
      defer { buffer.deallocate() }
      var runs: [[(order: KeyOrder, sequence: UInt64, key: [UInt8])]] = []
      for run in sidecar.runs {
        var cursor = SidecarCursor(sidecar, run)
        var items: [(order: KeyOrder, sequence: UInt64, key: [UInt8])] = []
        while let item = try cursor.next() {
          let bytes = try sidecar.read(item, into: &buffer)
          let record = try Record(parsing: bytes.bytes, at: 0)
          items.append((item.order, item.sequence, Array(bytes[record.key])))
        }
        runs.append(items)
      }
      return runs
    }

    /// Of each key, the number of the last record about it.
    func last() throws -> [[UInt8]: UInt64] {
      var last: [[UInt8]: UInt64] = [:]
      var reader = LogReader(files: [segment], fileSystem: history.disk)
      while case .frame(let header) = try reader.next() {
        try reader.withRecords { records in
          var cursor = RecordCursor(count: header.recordCount)
          var sequence = header.firstSequence
          while let record = try cursor.next(in: records) {
            let key = records.extracting(record.key).withUnsafeBytes { Array($0) }
            if !key.isEmpty { last[key] = sequence }
            sequence += 1
          }
        }
      }
      return last
    }
  }

  @Test(
    "has of each key the last record, in the order of snapshots, in runs of a bounded size",
    arguments: 0..<10 as Range<UInt64>)
  func items(seed: UInt64) throws {
    let story = try Story(seed: seed, runItemsMax: [1, 2, 7, 30, 1 << 20][Int(seed) % 5])
    let made = try story.directory.makeSidecar(of: story.segment, hash: .fnv1, pace: Pace())
    let opened = try #require(try story.directory.sidecar(of: story.segment, hash: .fnv1))
    #expect(opened.runs == made.runs && opened.end == made.end)
    #expect(opened.end.position.sequence == story.next.firstSequence! - 1)
    let runs = try story.items(opened)
    #expect((runs.count > 1) == (story.runItemsMax < 8) || story.runItemsMax == 30)
    var newest: [[UInt8]: UInt64] = [:]
    for run in runs {
      #expect(Set(run.map(\.key)).count == run.count)
      for (item, next) in zip(run, run.dropFirst()) {
        #expect(
          item.order < next.order
            || item.order == next.order && item.key.lexicographicallyPrecedes(next.key))
      }
      for item in run {
        #expect(item.order == KeyOrder(shardHash: item.key.withUnsafeBytes { ShardHash.fnv1($0) }))
        newest[item.key] = max(newest[item.key] ?? 0, item.sequence)
      }
    }
    #expect(newest == (try story.last()))
  }

  @Test("is not taken when any of its bytes is another, or it was cut; and is made again")
  func damage() throws {
    let story = try Story(seed: 3, runItemsMax: 9)
    let input = try story.history.input()
    let expected = try SnapshotMerge.run(
      input, story.history.place("/other"), pace: Pace())
    let snapshot = story.history.disk.contents(expected.path)
    try story.directory.makeSidecar(of: story.segment, hash: .fnv1, pace: Pace())
    let bytes = story.history.disk.contents(story.path)!
    func expectMade(_ what: String) throws {
      let file = try SnapshotMerge.run(input, story.history.place(), pace: Pace())
      #expect(story.history.disk.contents(file.path) == snapshot, "\(what)")
    }
    for offset in bytes.indices where offset % 7 == 0 || offset > bytes.count - 150 {
      var damaged = bytes
      damaged[offset] ^= 0x10
      story.history.disk.put(story.path, damaged)
      try expectMade("byte \(offset)")
    }
    for count in [0, 1, 15, 16, 17, bytes.count / 2, bytes.count - 17, bytes.count - 1] {
      story.history.disk.put(story.path, Array(bytes[..<count]))
      try expectMade("\(count) bytes")
    }
    // What a power loss may leave of a file that nobody has synced.
    story.history.disk.put(story.path, [UInt8](repeating: 0, count: bytes.count))
    try expectMade("zeros")
  }

  @Test("is not taken for that of another segment of the same name, nor by another hash")
  func stale() throws {
    let story = try Story(seed: 4)
    let other = try Story(seed: 5)
    try other.directory.makeSidecar(of: other.segment, hash: .fnv1, pace: Pace())
    story.history.disk.put(story.path, other.history.disk.contents(other.path)!)
    let input = try story.history.input()
    let file = try SnapshotMerge.run(input, story.history.place(), pace: Pace())
    let expected = try SnapshotMerge.run(input, story.history.place("/other"), pace: Pace())
    #expect(
      story.history.disk.contents(file.path) == story.history.disk.contents(expected.path))
    try story.directory.makeSidecar(of: story.segment, hash: .fnv1Mixed, pace: Pace())
    #expect(try story.directory.sidecar(of: story.segment, hash: .fnv1) == nil)
    #expect(try story.directory.sidecar(of: story.segment, hash: .fnv1Mixed) != nil)
    _ = try SnapshotMerge.run(input, story.history.place(), pace: Pace())
    #expect(
      story.history.disk.contents(file.path) == story.history.disk.contents(expected.path))
  }

  @Test("leaves nothing when it cannot be made, so that a full disk has its room again")
  func fullDisk() throws {
    let story = try Story(seed: 6)
    let disk = story.history.disk
    let before = disk.paths
    disk.fault = { call, path in
      call == .write && path.hasSuffix(".sidecar") ? .fail(28) : nil
    }
    #expect(throws: WALError.self) {
      try story.directory.makeSidecar(of: story.segment, hash: .fnv1, pace: Pace())
    }
    disk.fault = { _, _ in nil }
    #expect(disk.paths == before)
  }
}

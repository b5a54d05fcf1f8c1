import Engine
import TemporaryFiles
import Testing
import WAL

@Suite("A restoration")
struct RestorationTests {
  /// A data directory with a snapshot in the middle, and what it held behind each number.
  private final class Source {
    let directory = TemporaryDirectory()
    /// By sequence number; marks and epochs have none.
    private(set) var changes: [(sequence: UInt64, key: String, value: String?)] = []
    private(set) var end: UInt64 = 0
    var path: String { directory.path + "/data" }

    init(snapshots: Bool) throws {
      var options = StoreOptions(dataDirectory: path, node: 7)
      options.segmentBytes = 16_384
      let store = try Store.open(options)
      let client = StoreClient()
      for number in 0..<12 {
        put("key-\(number % 5)", String(repeating: "\(number)", count: 700), client, store)
        let batch = client.submit(to: store) {
          $0.batch([("b-\(number)", "1"), ("key-\(number % 3)", nil), ("b", "\(number)")])
        }
        let last = batch.requests[0].version
        changes += [
          (last - 2, "b-\(number)", "1"), (last - 1, "key-\(number % 3)", nil),
          (last, "b", "\(number)"),
        ]
        if snapshots, number == 4 || number == 8 { try snapshot(store) }
      }
      end = changes.last!.sequence
      try store.close()
    }

    private func put(_ key: String, _ value: String, _ client: StoreClient, _ store: Store) {
      changes.append((client.put(key, value, in: store).version, key, value))
    }

    private func snapshot(_ store: Store) throws {
      let made = Monitor<Result<SnapshotInfo, WALError>?>(nil)
      store.snapshots.request { result in made.signal { $0 = result } }
      _ = try made.wait { $0 }.get()
    }

    func state(at sequence: UInt64) -> [String: String] {
      var state: [String: String] = [:]
      for change in changes where change.sequence <= sequence { state[change.key] = change.value }
      return state
    }

    func restore(_ point: LogPoint, to name: String) throws(WALError) -> OfflineReport {
      try Restoration.run(
        path, to: directory.path + "/" + name, at: point, node: 99, pace: Pace())
    }

    func state(of name: String) throws -> (state: [String: String], store: Store) {
      var options = StoreOptions(dataDirectory: directory.path + "/" + name, node: 7)
      options.segmentBytes = 16_384
      let store = try Store.open(options)
      var state: [String: String] = [:]
      for (key, found) in store.index.contents() {
        state[String(decoding: key, as: UTF8.self)] = String(decoding: found.value, as: UTF8.self)
      }
      return (state, store)
    }
  }

  @Test(
    "to any sequence number has what was there, within a batch as well, and a new epoch",
    arguments: [false, true])
  func anyNumber(snapshots: Bool) throws {
    let source = try Source(snapshots: snapshots)
    let oldest = try SnapshotDirectory(source.path).list().last?.sequence ?? 1
    let segments = try SegmentFile.list(source.path + "/wal", in: SystemFileSystem())
    #expect(segments[0].firstSequence! <= oldest + 1)
    // A node that has just ended may not have removed all that it has retired.
    for (segment, next) in zip(segments, segments.dropFirst())
    where oldest > 1 && next.firstSequence! <= oldest + 1 {
      try SystemFileSystem().remove(segment.path)
    }
    for sequence in oldest...source.end {
      let name = "out-\(sequence)"
      let report = try source.restore(.sequence(sequence), to: name)
      #expect(report.position.sequence == sequence && report.epoch == Epoch(number: 2, node: 99))
      let (state, store) = try source.state(of: name)
      #expect(state == source.state(at: sequence), "\(sequence)")
      #expect(store.report.log.wasClean && store.epochs.last?.epoch == report.epoch)
      #expect(store.epochs.last?.firstSequence == sequence + 1)
      #expect(store.report.digestMismatches == [])
      try store.close()
    }
    if oldest > 1 {
      #expect {
        try source.restore(.sequence(oldest - 1), to: "early")
      } throws: {
        "\($0)".contains("The oldest point that can be had is sequence number \(oldest)")
      }
    }
    #expect {
      try source.restore(.sequence(source.end + 100), to: "late")
    } throws: { "\($0)".contains("the log ends at ") }
  }

  @Test("to a time has the last frame that is not later")
  func time() throws {
    let source = try Source(snapshots: false)
    var reader = try LogReader(directory: source.path + "/wal")
    var frames: [FrameHeader] = []
    while case .frame(let header) = try reader.next() { frames.append(header) }
    let middle = frames[frames.count / 2].timeMilliseconds
    let last = try #require(frames.last { $0.timeMilliseconds <= middle }).lastSequence
    let report = try source.restore(.time(middle), to: "out")
    #expect(report.position.sequence == last)
    let (state, store) = try source.state(of: "out")
    #expect(state == source.state(at: last))
    try store.close()
    #expect {
      try source.restore(.time(frames[0].timeMilliseconds - 1), to: "early")
    } throws: { "\($0)".contains("everything in the log is later") }
  }

  @Test("of all of it goes on at the same position in the same epoch", arguments: [false, true])
  func copy(snapshots: Bool) throws {
    let source = try Source(snapshots: snapshots)
    let before = try SegmentFile.list(source.path + "/wal", in: SystemFileSystem())
    let report = try source.restore(.end, to: "copy")
    #expect(report.epoch == Epoch(number: 1, node: 7))
    let (state, store) = try source.state(of: "copy")
    #expect(state == source.state(at: source.end))
    #expect(store.report.log.wasClean && store.epochs.all.count == 1)
    #expect(store.report.log.position == report.position)
    try store.close()
    #expect(try SegmentFile.list(source.path + "/wal", in: SystemFileSystem()) == before)
    #expect(throws: WALError.self) { try source.restore(.end, to: "copy") }
  }

  @Test("is refused while a node has the directory")
  func inUse() throws {
    let source = try Source(snapshots: false)
    let lock = try DirectoryLock(source.path)
    #expect {
      try source.restore(.end, to: "copy")
    } throws: { error in
      if case .locked = error as? WALError { true } else { false }
    }
    withExtendedLifetime(lock) {}
  }

  @Test("does without damage behind the point, and not without what is in front of it")
  func damage() throws {
    let source = try Source(snapshots: false)
    var reader = try LogReader(directory: source.path + "/wal")
    var places: [(header: FrameHeader, path: String, offset: UInt64)] = []
    while case .frame(let header) = try reader.next() {
      places.append((header, reader.path!, reader.frameOffset))
    }
    let hit = places[places.count / 2]
    let file = try SystemFileSystem().open(hit.path, .readWrite)
    var byte = try file.bytes(at: hit.offset + 90, count: 1)
    byte[0] ^= 1
    try file.writeAll(byte, at: hit.offset + 90)
    let sound = hit.header.firstSequence - 1
    #expect(try source.restore(.sequence(sound), to: "sound").position.sequence == sound)
    let (state, store) = try source.state(of: "sound")
    #expect(state == source.state(at: sound))
    try store.close()
    #expect {
      try source.restore(.sequence(sound + 1), to: "damaged")
    } throws: { error in
      if case .damaged = error as? WALError { true } else { false }
    }
    #expect(throws: WALError.self) { try source.restore(.end, to: "damaged") }
    #expect(throws: WALError.self) {
      try SystemFileSystem().list(source.directory.path + "/damaged")
    }
  }

  @Test("goes on where an interrupted one has left its parts, and leaves other things alone")
  func leftovers() throws {
    let source = try Source(snapshots: false)
    let fileSystem = SystemFileSystem()
    let partial = source.directory.path + "/out.partial"
    for path in [partial, partial + "/snapshots", partial + "/wal"] {
      try fileSystem.makeDirectory(path)
    }
    let left = try fileSystem.open(partial + "/snapshots/00000000000000000005.snap", .create)
    try left.writeAll(utf8("half"), at: 0)
    #expect(try source.restore(.end, to: "out").snapshot.keys > 0)
    #expect(try fileSystem.list(source.directory.path + "/out/snapshots").count == 1)
    try fileSystem.makeDirectory(source.directory.path + "/other.partial")
    _ = try fileSystem.open(source.directory.path + "/other.partial/mine", .create)
    #expect { try source.restore(.end, to: "other") } throws: { "\($0)".contains("mine") }
  }
}

import Engine
import SimulatedDisk
import Testing
import WAL

/// A directory's log and its intact twin, which has the same frames in files of its own.
final class TwinLog {
  let disk: SimulatedDisk
  let twin: Twin
  let origin: UInt64
  let frames: [[UInt8]]
  /// Where the log ends.
  let end: LogPosition
  let wasClean: Bool

  /// - Parameter cleanly: whether the log was closed in order.
  init(seed: UInt64, cleanly: Bool = false, frames count: Int = 60) throws {
    var random = SeededRandom(seed: seed)
    let original = try CommitterFixture(SimulatedDisk(seed: seed), segmentBytes: 4_096)
    for round in 0..<count {
      original.commit { submission in
        for _ in 0...random.below(3) {
          submission.put(
            "key-\(random.below(20))",
            "\(round)" + String(repeating: "v", count: random.below(500)), original.index)
        }
      }
      if random.once(in: 9) {
        original.clock.advance(milliseconds: 150)
        _ = original.work.tick()
      }
      if random.once(in: 12) { try original.log.seal() }
      while original.log.backgroundStep() {}
    }
    origin = original.log.origin
    // Its last mark makes everything before it known.
    original.clock.advance(milliseconds: 150)
    _ = original.work.tick()
    if cleanly {
      try original.work.close().get()
    } else {
      original.disk.fault = { _, _ in .die }
      _ = original.work.close()
    }
    original.disk.restartProcess()
    wasClean = cleanly
    disk = Self.copy(original.disk)
    twin = Twin(original.disk, origin)
    frames = try twin.all()
    end = try Self.examine(original.disk, origin, cleanly).end!
  }

  /// A disk with the same files, durably.
  static func copy(_ disk: SimulatedDisk, seed: UInt64 = 1) -> SimulatedDisk {
    let other = SimulatedDisk(
      seed: seed, directories: ["/data", "/data/wal", "/data/snapshots"])
    for path in disk.paths where !path.hasSuffix("LOCK") && !path.contains("/spare-") {
      other.put(path, disk.contents(path)!)
    }
    return other
  }

  static func segments(_ disk: SimulatedDisk) throws(WALError) -> [SegmentFile] {
    try SegmentFile.list("/data/wal", in: disk)
  }

  static func examine(
    _ disk: SimulatedDisk, _ origin: UInt64, _ cleanly: Bool
  ) throws(WALError) -> LogExamination {
    let clean = try CleanStop.read(in: "/data/wal", fileSystem: disk)
    return try LogExamination.run(
      try segments(disk), LogExamination.Known(origin: origin, end: clean?.position),
      fileSystem: disk
    ) { _ in }
  }

  /// Repairs a disk's directory with the twin's help.
  static func repair(
    _ disk: SimulatedDisk, _ sources: [any FrameSource]
  ) throws(WALError) -> RepairReport {
    try DirectoryRepair("/data", isCopy: false, fileSystem: disk).run(sources)
  }

  /// Expects that a disk's log has the same frames as the twin's, as a start finds them, and the same state.
  func expectSame(_ disk: SimulatedDisk, _ moment: String) throws {
    #expect(try Twin(disk, origin).all() == frames, "\(moment)")
    var options = LogOptions(dataDirectory: "/data", node: 7)
    options.fileSystem = disk
    options.usesThreads = false
    let index = Index()
    var replay = Replay(index: index, epochs: EpochHistory())
    let report = try LogRecovery.open(options) { (header, records) throws(WALError) in
      try replay.apply(header, records)
    }.report
    #expect(report.position == end && report.cut == nil, "\(moment)")
    #expect(report.wasClean == wasClean && !report.needsNewEpoch, "\(moment)")
    #expect(replay.digestMismatches == [], "\(moment)")
  }

  /// What an intact directory delivers.
  final class Twin: FrameSource, @unchecked Sendable {
    // Used by the test that owns it.
    let disk: SimulatedDisk
    private let origin: UInt64
    let name = "twin"
    /// The last sequence number that it has.
    var limit = UInt64.max
    private(set) var delivered = 0

    init(_ disk: SimulatedDisk, _ origin: UInt64) {
      self.disk = disk
      self.origin = origin
    }

    func all() throws(WALError) -> [[UInt8]] {
      var reader = try LogReader(directory: "/data/wal", fileSystem: disk)
      var frames: [[UInt8]] = []
      while true {
        switch try reader.next() {
        case .frame: frames.append(reader.withFrame { $0.withUnsafeBytes { Array($0) } })
        case .damage(let damage): throw .damaged(damage)
        case .end: return frames
        }
      }
    }

    func read(
      _ request: FrameRequest, check: () throws(WALError) -> Void,
      _ take: (RawSpan) throws(WALError) -> Bool
    ) throws(WALError) -> FrameDelivery {
      guard request.origin == origin else { return .refused("another log") }
      var reader = try LogReader(directory: "/data/wal", fileSystem: disk)
      var before = LogPosition.start
      while true {
        try check()
        guard case .frame(let header) = try reader.next(), header.lastSequence <= limit else {
          return .end
        }
        defer { before = header.position }
        guard header.lastSequence >= request.from else { continue }
        if header.firstSequence == request.from, let after = request.after, after != before {
          return .refused("another history")
        }
        delivered += 1
        guard try reader.withFrame({ (frame) throws(WALError) in try take(frame) }) else {
          return .enough
        }
      }
    }
  }
}

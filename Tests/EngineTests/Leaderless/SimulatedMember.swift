import Engine
import Sharding
import SimulatedDisk
import WAL

/// A node of a leaderless shard on a disk of its own, without threads: its own log, copies of the others', and
/// what they come to.
final class SimulatedMember {
  let number: Int
  let disk: SimulatedDisk
  let clock: SimulatedClock
  private(set) var state: MergedState
  private(set) var origin: UInt64 = 0
  private(set) var logs: [UInt64: Log] = [:]
  private let nobody = CommitterFixture.Nobody()
  var isUp = false
  private(set) var isInSnapshot = false

  final class Log {
    let writer: LogWriter
    let index: Index
    let epochs = EpochHistory()
    let recorder = CommitterFixture.Recorder()
    var work: CommitterWork

    init(_ writer: LogWriter, _ index: Index, _ merged: MergedLog, isCopy: Bool, _ clock: LogClock)
    {
      self.writer = writer
      self.index = index
      work = CommitterWork(
        log: writer, index: index,
        options: CommitterWork.Options(copies: isCopy ? epochs : nil, merged: merged),
        clock: clock, observer: recorder)
    }
  }

  init(_ number: Int, seed: UInt64, clock: SimulatedClock) {
    self.number = number
    self.clock = clock
    disk = SimulatedDisk(seed: seed)
    state = MergedState(index: Index(), clock: clock.clock)
  }

  private var snapshots: SnapshotDirectory { SnapshotDirectory("/data", fileSystem: disk) }
  private var place: SnapshotMerge.Place {
    SnapshotMerge.Place(directory: snapshots, hash: .fnv1, clock: clock.clock)
  }

  private static func name(_ origin: UInt64) -> String {
    let text = String(origin, radix: 16)
    return String(repeating: "0", count: 16 - text.count) + text
  }

  func applied(_ origin: UInt64) -> UInt64 { state.applied[origin] }

  // MARK: - Start and stop

  /// As `MergedStore.open` does it.
  ///
  /// - Parameters:
  ///   - fresh: an origin that nobody has had, for where a new one is needed.
  ///   - known: how much of a log others have, where they can be asked.
  func start(fresh: UInt64, known: (UInt64) -> UInt64) throws {
    state = MergedState(index: Index(), clock: clock.clock)
    logs = [:]
    try snapshots.prepare()
    var bases: [UInt64: LogBase] = [:]
    if let newest = try snapshots.list().first {
      let file = try SnapshotFile(newest.path, fileSystem: disk)
      try SnapshotCheck.run(file, pace: Pace())
      try MergedSnapshot.load(file, into: state)
      for base in file.header.positions { bases[base.origin] = base }
    }
    let note = try OriginNote.read(in: "/data", fileSystem: disk)
    let there = (try? disk.list("/data/wal"))?.compactMap { UInt64($0, radix: 16) } ?? []
    var own: UInt64?
    for origin in Set(there).union(bases.keys).sorted() {
      // Nothing is written to it before it is known to be its own.
      let isOwn = origin == note?.origin
      let log = try open(origin, isCopy: !isOwn, base: bases[origin])
      if isOwn, !log.writer.owesEpoch, known(origin) <= log.writer.position.sequence {
        own = origin
      } else if isOwn {
        try log.work.close().get()
        logs[origin] = nil
        try open(origin, isCopy: true, base: bases[origin])
      }
    }
    origin = own ?? fresh
    if own == nil {
      try OriginNote(origin: origin, address: "\(number)").write(in: "/data", fileSystem: disk)
      try open(origin, isCopy: false, base: nil)
    }
    isUp = true
  }

  @discardableResult
  func open(_ origin: UInt64, isCopy: Bool, base: LogBase?) throws -> Log {
    let directory = "/data/wal/" + Self.name(origin)
    try disk.makeDirectory("/data/wal")
    try disk.makeDirectory(directory)
    var options = LogOptions(
      directory: directory, divergedDirectory: "/data/diverged/" + Self.name(origin),
      quarantineDirectory: "/data/quarantine/" + Self.name(origin), node: UInt64(number))
    options.fileSystem = disk
    options.clock = clock.clock
    options.usesThreads = false
    options.segmentBytes = 4_096
    options.origin = origin
    options.isCopy = isCopy
    options.base = base
    let merged = MergedLog(state: state, origin: origin)
    let index = isCopy ? Index() : state.index
    var replay = Replay(index: index, epochs: EpochHistory(), merged: merged)
    let writer = try LogRecovery.open(options) { (header, records) throws(WALError) in
      try replay.apply(header, records)
    }.writer
    let log = Log(writer, index, merged, isCopy: isCopy, clock.clock)
    state.noteApplied(
      LogBase(origin: origin, position: writer.position), time: writer.frameTimeMilliseconds)
    logs[origin] = log
    return log
  }

  func crash(losingPower: Bool) {
    isUp = false
    logs = [:]
    if losingPower { disk.losePower() } else { disk.restartProcess() }
  }

  func stop() throws {
    for log in logs.values { try log.work.close().get() }
    isUp = false
    logs = [:]
    disk.restartProcess()
  }

  // MARK: - Work

  /// Commits what `fill` adds, and returns it with its outcomes.
  func commit(_ fill: (Submission) -> Void) -> Submission {
    let submission = Submission(owner: nobody)
    fill(submission)
    logs[origin]!.work.commit([submission]) { _ in }
    return submission
  }

  func tick() {
    guard let own = logs[origin] else { return }
    _ = own.work.tick()
    for log in logs.values { while log.writer.backgroundStep() {} }
  }

  /// Frames of a log behind a number; nil where it does not go back that far.
  func frames(of origin: UInt64, behind sequence: UInt64, atMost count: Int) throws
    -> ShippedFrames?
  {
    guard let log = logs[origin], log.writer.position.sequence > sequence else { return [] }
    guard log.writer.oldestSequence <= sequence + 1 else { return nil }
    var frames: ShippedFrames = []
    var reader = try LogReader(
      directory: "/data/wal/" + Self.name(origin), from: sequence + 1, fileSystem: disk)
    while frames.count < count {
      let reading = try reader.next()
      if case .damage(let damage) = reading { throw WALError.damaged(damage) }
      guard case .frame(let header) = reading else { break }
      frames.append((header, reader.withFrame { $0.withUnsafeBytes { Array($0) } }))
    }
    // All of it is on the disk.
    if frames.count < count, frames.last?.header.lastSequence != log.writer.position.sequence {
      throw WALError.setting("the log of \(origin) is not read to its end")
    }
    return frames
  }

  func take(_ frames: ShippedFrames, of origin: UInt64) throws {
    let log = try logs[origin] ?? open(origin, isCopy: true, base: nil)
    let batch = FrameBatch()
    for frame in frames { batch.append(frame.header, frame.bytes.span.bytes) }
    guard case .applied = log.work.ship(batch) else {
      throw WALError.setting("the frames of \(origin) were not taken")
    }
  }

  /// As `MergedSnapshots` does it; and gives up the log behind the snapshot before it.
  ///
  /// - Parameter meanwhile: called while it is being made.
  func snapshot(retires: Bool, meanwhile: () throws -> Void = {}) throws {
    let before = try snapshots.list().first
    let cut = state.beginSnapshot()
    isInSnapshot = true
    defer {
      state.endSnapshot()
      isInSnapshot = false
    }
    for log in logs.sorted(by: { $0.key < $1.key }).map(\.value) {
      try log.writer.seal()
      try log.writer.sync()
      try meanwhile()
    }
    let made = try MergedSnapshot.write(state, cut, place, pace: Pace()) {
      () throws(WALError) in
      for log in logs.values { try log.writer.sync() }
    }
    for (path, _) in try snapshots.list() where path != made.path && path != before?.path {
      try disk.remove(path)
    }
    guard retires, let before, before.path != made.path else { return }
    for base in try SnapshotFile(before.path, fileSystem: disk).header.positions {
      logs[base.origin]?.writer.retire(through: base.position.sequence)
    }
  }

  var newestSnapshot: String? { get throws { try snapshots.list().first?.path } }

  /// As `MergedStore.absorb` does it, of a snapshot on another node's disk.
  func absorb(_ path: String, on other: SimulatedDisk) throws {
    let file = try SnapshotFile(path, fileSystem: other)
    var jumps: [UInt64: LogBase] = [:]
    for base in file.header.positions where base.origin != origin {
      if logs[base.origin]?.writer.position.sequence ?? 0 < base.position.sequence {
        jumps[base.origin] = base
      }
    }
    try MergedSnapshot.absorb(file, into: state)
    try snapshot(retires: false)
    for (jumped, base) in jumps {
      try logs[jumped]?.work.close().get()
      try open(jumped, isCopy: true, base: base)
    }
  }
}

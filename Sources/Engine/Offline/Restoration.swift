import Sharding
import WAL

/// Makes a new data directory of one that rests: of all of it, or of its state at an earlier point.
///
/// The source is read and never changed. A copy of all of it goes on where the source ends. An earlier
/// point begins a new history: an epoch above all of the source's, so that nobody takes the numbers
/// that are used again for the old ones.
package struct Restoration {
  private let source: String
  private let point: LogPoint
  private let node: UInt64
  private let hash: ShardHash
  private let fileSystem: any FileSystem
  private let clock: LogClock
  private let pace: Pace

  /// - Parameters:
  ///   - target: nothing, or an empty directory.
  ///   - node: the second half of the new epoch.
  ///   - hash: of the keys, where no snapshot says it.
  /// - Throws: `locked`; `damaged` and `invalidFile` when what is needed is; `setting` when the point
  ///   cannot be had; that of a system call. There is nothing at `target` then.
  package static func run(
    _ source: String, to target: String, at point: LogPoint, hash: ShardHash = .fnv1,
    node: UInt64, pace: Pace, fileSystem: any FileSystem = SystemFileSystem(),
    clock: LogClock = .system
  ) throws(WALError) -> OfflineReport {
    let start = clock.monotonicNanoseconds()
    try OriginNote.refuse(source, fileSystem)
    let lock = try DirectoryLock.reading(source, fileSystem: fileSystem)
    defer { withExtendedLifetime(lock) {} }
    let restoration = Restoration(
      source: source, point: point, node: node, hash: hash, fileSystem: fileSystem, clock: clock,
      pace: pace)
    let (state, before) = try restoration.find()
    let draft = try DirectoryDraft(target, fileSystem: fileSystem)
    var report = try restoration.write(state, to: draft)
    try draft.finish()
    let after = try DataFiles.bytes(in: target, fileSystem: fileSystem)
    report.directory = target
    report.snapshot.path = SnapshotDirectory(target, fileSystem: fileSystem)
      .path(of: report.position.sequence)
    report.bytesBefore = before
    report.bytesAfter = after.log + after.snapshots
    report.seconds = Double(clock.monotonicNanoseconds() - start) / 1e9
    return report
  }

  /// What the state at the point is made of.
  private struct State {
    var base: SnapshotFile?
    var segments: [SegmentFile]
    var survey: LogSurvey
    var through: UInt64
    var notes: LogNotes
    var highestEpoch: Epoch
  }

  // MARK: - The source

  private func find() throws(WALError) -> (state: State, bytes: UInt64) {
    let directory = SnapshotDirectory(source, fileSystem: fileSystem)
    let segments = try DataFiles.segments(in: source, fileSystem: fileSystem)
    let names = try directory.list()
    guard !segments.isEmpty || !names.isEmpty else {
      throw .setting("\(source): no data here. Name a data directory: it has wal/ or snapshots/")
    }
    let bytes = try DataFiles.bytes(in: source, fileSystem: fileSystem)
    pace.expect(Int(bytes.snapshots) * 3 + Int(bytes.log) * 5 / 2)
    let notes = try LogNotes(in: source + "/wal", fileSystem: fileSystem)
    let choice = try SnapshotChoice(directory, pace: pace, isWanted: covers)
    let sequences = names.map(\.sequence)
    guard choice.file != nil || segments.first?.firstSequence == 1 else {
      throw unavailable(segments, sequences, choice)
    }
    let survey: LogSurvey
    do {
      survey = try LogSurvey(
        point, directory: source + "/wal", segments: segments, base: choice.file?.header.base,
        clean: notes.clean, covered: sequences.max() ?? 0, fileSystem: fileSystem, pace: pace)
    } catch {
      if case .notRetained = error {
        throw unavailable(segments, sequences, choice)
      }
      throw choice.explain(error)
    }
    guard let through = survey.through, through > 0 else {
      throw beyond(survey, segments, sequences, choice)
    }
    let after = choice.file?.header.sequence ?? 0
    let state = State(
      base: choice.file,
      segments: through > after
        ? DataFiles.between(segments, after: after, through: through) : [],
      survey: survey, through: through, notes: notes,
      highestEpoch: try highestEpoch(names.map(\.path), survey.highestEpoch))
    return (state, bytes.log + bytes.snapshots)
  }

  /// Whether a snapshot is not behind the point.
  private func covers(_ header: SnapshotHeader) -> Bool {
    switch point {
    case .end: true
    case .sequence(let sequence): header.sequence <= sequence
    case .time(let time): header.frameTimeMilliseconds <= time
    }
  }

  private func highestEpoch(
    _ snapshots: [String], _ highest: Epoch
  ) throws(WALError) -> Epoch {
    var highest = highest
    for path in snapshots {
      do {
        let header = try SnapshotFile(path, fileSystem: fileSystem).header
        highest = max(highest, header.base.position.epoch)
      } catch {
        guard error.isDamage else { throw error }
      }
    }
    return highest
  }

  /// The point is in front of what there is.
  private func unavailable(
    _ segments: [SegmentFile], _ snapshots: [UInt64], _ choice: SnapshotChoice
  ) -> WALError {
    let damaged = choice.bad.first.map { "; \($0.error)" } ?? ""
    let oldest = snapshots.min()
    let log = segments.first.map { "the log begins at \($0.firstSequence!)" } ?? "there is no log"
    guard let oldest else {
      return .setting(
        "\(source): \(log), and there is no snapshot of what precedes it\(damaged)")
    }
    let all = snapshots.sorted().map { "\($0)" }.joined(separator: " and ")
    return .setting(
      "\(source): the log does not go back to \(pointText): \(log), and the snapshots are of "
        + "\(all). The oldest point that can be had is sequence number \(oldest)\(damaged)")
  }

  /// The point was not met.
  private func beyond(
    _ survey: LogSurvey, _ segments: [SegmentFile], _ snapshots: [UInt64], _ choice: SnapshotChoice
  ) -> WALError {
    switch point {
    case .sequence(let sequence) where sequence > max(survey.end.sequence, snapshots.max() ?? 0):
      let cut = survey.torn.map { ". \($0)" } ?? ""
      return .setting(
        "\(source): there is no sequence number \(sequence): the log ends at "
          + "\(survey.end.sequence)\(cut)")
    case .time where segments.first?.firstSequence == 1:
      return .setting("\(source): everything in the log is later than \(pointText)")
    default:
      return unavailable(segments, snapshots, choice)
    }
  }

  private var pointText: String {
    switch point {
    case .end: "its end"
    case .sequence(let sequence): "sequence number \(sequence)"
    case .time(let time): "\(time) ms since 1970"
    }
  }

  // MARK: - The target

  private func write(
    _ state: State, to draft: DirectoryDraft
  ) throws(WALError) -> OfflineReport {
    let header = state.base?.header
    let directory = SnapshotDirectory(draft.path, fileSystem: fileSystem)
    let place = SnapshotMerge.Place(
      directory: directory, hash: header?.hash ?? hash, shardIndex: header?.shardIndex ?? 0,
      shardCount: header?.shardCount ?? 1, clock: clock)
    let input = SnapshotMerge.Input(
      previous: state.base, segments: state.segments, through: state.through)
    let made = try SnapshotMerge.run(input, place, pace: pace)
    guard made.header.sequence == state.through else {
      throw .invalidFile(
        path: made.path, offset: 0, reason: "it ends at \(made.header.sequence)")
    }
    try SnapshotCheck.run(SnapshotFile(made.path, fileSystem: fileSystem), pace: pace)
    try directory.removeSidecars(through: .max)
    try directory.prepare()
    let epoch = try point == .end ? goOn(made, state, draft) : begin(made, state, draft)
    return OfflineReport(
      directory: draft.path, snapshot: SnapshotInfo(made), position: made.header.base.position,
      epoch: epoch, bytesBefore: 0, bytesAfter: 0, seconds: 0,
      cut: point == .end ? state.survey.torn.map { ($0, []) } : nil)
  }

  /// A copy goes on where the source ends; unless a start of the source would have begun a new epoch:
  /// then a start of the copy does.
  private func goOn(
    _ made: SnapshotFile, _ state: State, _ draft: DirectoryDraft
  ) throws(WALError) -> Epoch {
    let base = made.header.base
    let clean = CleanStop(origin: base.origin, position: base.position)
    let wasClean = state.notes.clean == clean
    let isWhole =
      state.survey.torn == nil && !state.notes.isEpochDue && (wasClean || !state.notes.isRelaxed)
      && (wasClean || !state.segments.isEmpty)
    if isWhole { try clean.write(in: draft.path + "/wal", fileSystem: fileSystem) }
    return base.position.epoch
  }

  /// Begins the new history.
  private func begin(
    _ made: SnapshotFile, _ state: State, _ draft: DirectoryDraft
  ) throws(WALError) -> Epoch {
    var options = LogOptions(dataDirectory: draft.path, node: node)
    options.fileSystem = fileSystem
    options.clock = clock
    options.usesThreads = false
    options.base = made.header.base
    let log = try LogRecovery.open(options).writer
    let epoch = Epoch(number: state.highestEpoch.number + 1, node: node)
    try log.startEpoch(epoch, reason: .restored)
    try log.close(markContent: nil)
    return epoch
  }
}

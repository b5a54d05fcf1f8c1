import Sharding
import WAL

/// A data directory at rest that is to be split: the state at its end, and of what it is made. Reads,
/// and changes nothing.
struct SplitSource {
  let directory: String
  /// Which shard the directory holds.
  let shard: ShardNote
  /// The newest snapshot; nil when there is none. Its blocks are not checked yet.
  let snapshot: SnapshotFile?
  /// The log behind it.
  let segments: [SegmentFile]
  let survey: LogSurvey
  let tail: LogTail
  /// Of all that there is, promised ones included.
  let highestEpoch: Epoch
  /// Of log and snapshots.
  let bytes: UInt64

  /// - Throws: `setting` when there is no data, or a rewind was begun; `invalidFile` and `damaged` when
  ///   what is needed is; `notRetained`; that of a system call.
  init(_ directory: String, fileSystem: any FileSystem, pace: Pace) throws(WALError) {
    self.directory = directory
    guard try LogRewind(directory, fileSystem: fileSystem).begun() == nil else {
      throw .setting(
        "\(directory): a rewind was begun here, and not finished. Start a node on the directory, "
          + "which finishes it, and stop it again")
    }
    let segments = try DataFiles.segments(in: directory, fileSystem: fileSystem)
    let snapshot = try Self.newest(directory, fileSystem)
    guard snapshot?.header.isLeaderless != true else {
      throw .setting("\(directory) holds a node of a leaderless shard: it cannot be split")
    }
    guard snapshot != nil || !segments.isEmpty else {
      throw .setting("\(directory): no data here. Name a data directory: it has wal/ or snapshots/")
    }
    if snapshot == nil, let first = segments.first?.firstSequence, first > 1 {
      throw .setting(
        "\(directory): the log begins at \(first), and there is no snapshot of what precedes it")
    }
    self.snapshot = snapshot
    shard = try Self.shard(directory, snapshot?.header, fileSystem)
    let notes = try LogNotes(in: directory + "/wal", fileSystem: fileSystem)
    survey = try Self.survey(directory, segments, snapshot?.header, notes.clean, fileSystem, pace)
    let after = snapshot?.header.sequence ?? 0
    let end = survey.end.sequence
    self.segments =
      end > after ? DataFiles.between(segments, after: after, through: end) : []
    tail = try LogTail(
      directory + "/wal", after: after, through: end, last: snapshot?.header.epochs.last,
      fileSystem: fileSystem)
    let promised = try PromiseNote(directory, fileSystem: fileSystem).read()
    highestEpoch = max(survey.highestEpoch, promised ?? survey.highestEpoch)
    let sizes = try DataFiles.bytes(in: directory, fileSystem: fileSystem)
    bytes = sizes.log + sizes.snapshots
  }

  /// The log that the state is of.
  var base: LogBase {
    LogBase(origin: survey.origin ?? snapshot?.header.base.origin ?? 0, position: survey.end)
  }

  private static func survey(
    _ directory: String, _ segments: [SegmentFile], _ header: SnapshotHeader?,
    _ clean: CleanStop?, _ fileSystem: any FileSystem, _ pace: Pace
  ) throws(WALError) -> LogSurvey {
    do throws(WALError) {
      return try LogSurvey(
        .end, directory: directory + "/wal", segments: segments, base: header?.base, clean: clean,
        covered: header?.sequence ?? 0, fileSystem: fileSystem, pace: pace)
    } catch {
      guard case .notRetained(let wanted, let oldest) = error else { throw error }
      throw .setting(
        "\(directory): the log begins at \(oldest), and what there is before it ends at "
          + "\(wanted - 1). Split the data directory of another node of this shard")
    }
  }

  private static func newest(
    _ directory: String, _ fileSystem: any FileSystem
  ) throws(WALError) -> SnapshotFile? {
    let names = try SnapshotDirectory(directory, fileSystem: fileSystem).list()
    guard let (path, sequence) = names.first else { return nil }
    let file = try SnapshotFile(path, fileSystem: fileSystem)
    guard file.header.sequence == sequence else {
      throw .invalidFile(
        path: path, offset: 0, reason: "it is a snapshot up to \(file.header.sequence)")
    }
    return file
  }

  /// By the directory's note, or by the snapshot; what has neither is of one shard.
  private static func shard(
    _ directory: String, _ header: SnapshotHeader?, _ fileSystem: any FileSystem
  ) throws(WALError) -> ShardNote {
    let noted = try ShardNote.read(in: directory, fileSystem: fileSystem)
    guard let header else { return noted ?? ShardNote(index: 0, count: 1, hash: .fnv1) }
    let held = ShardNote(index: header.shardIndex, count: header.shardCount, hash: header.hash)
    guard let noted else { return held }
    guard held.covers(noted) else {
      throw .setting(
        "\(directory): its snapshot is of \(held), and its note says \(noted): one of them is from "
          + "another directory")
    }
    return noted
  }
}

/// What the log behind a snapshot has, where nothing in it changes a key.
struct LogTail {
  /// True when keys are written or removed in it: what follows was not looked at then.
  private(set) var changesKeys = false
  private(set) var epochs: [EpochHistory.Start] = []
  /// The highest time of its frames.
  private(set) var frameTimeMilliseconds: UInt64 = 0

  /// - Parameters:
  ///   - last: the epoch before it.
  ///   - end: where it ends, as a reader of it has found.
  init(
    _ log: String, after: UInt64, through end: UInt64, last: EpochHistory.Start?,
    fileSystem: any FileSystem
  ) throws(WALError) {
    guard end > after else { return }
    var reader = try LogReader(directory: log, from: after + 1, fileSystem: fileSystem)
    reader.limit = end
    var epoch = last?.epoch
    var read = after
    while read < end, !changesKeys {
      guard case .frame(let header) = try reader.next() else {
        throw .setting(
          "\(log): the log has changed while it was read, behind sequence number \(read). Is "
            + "somebody writing there?")
      }
      if header.epoch != epoch {
        epochs.append(EpochHistory.Start(header.epoch, at: header.firstSequence))
        epoch = header.epoch
      }
      frameTimeMilliseconds = max(frameTimeMilliseconds, header.timeMilliseconds)
      changesKeys = reader.withRecords { Self.changesKeys(header, $0) }
      read = header.lastSequence
    }
  }

  private static func changesKeys(_ header: FrameHeader, _ records: RawSpan) -> Bool {
    var cursor = RecordCursor(count: header.recordCount)
    do {
      while let record = try cursor.next(in: records) {
        switch record.type {
        case .put, .delete, .purge, .handoff: return true
        case .epoch, .mark: continue
        }
      }
    } catch {
      preconditionFailure("the log's reader lets no such record through: \(error)")
    }
    return false
  }
}

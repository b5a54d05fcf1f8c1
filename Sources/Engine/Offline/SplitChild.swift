import Sharding
import WAL

/// One of the directories that a split makes, until it has its name.
///
/// Its history is the parent's, and then an epoch of its own with a purge of what the other children
/// have. So whoever has the parent's history can follow it, and comes to the same state; and nothing
/// that is written in it can be taken for the parent's, or for another child's.
struct SplitChild {
  let shard: ShardNote
  let target: String
  let draft: DirectoryDraft
  let epoch: Epoch
  /// Of its snapshot, which is of the state behind the purge.
  let header: SnapshotHeader
  let snapshotPath: String

  /// Begins the child's log.
  init(
    _ shard: ShardNote, _ target: String, _ draft: DirectoryDraft, of state: SplitState,
    epoch: Epoch, fileSystem: any FileSystem, clock: LogClock
  ) throws(WALError) {
    self.shard = shard
    self.target = target
    self.draft = draft
    self.epoch = epoch
    var options = LogOptions(dataDirectory: draft.path, node: epoch.node)
    options.fileSystem = fileSystem
    // The log's time stands still in a split: what it would let expire is in the parent's state.
    let time = state.frameTimeMilliseconds
    options.clock = LogClock(
      wallMilliseconds: { time }, monotonicNanoseconds: clock.monotonicNanoseconds)
    options.usesThreads = false
    options.segmentBytes = Format.segmentBytesMin
    options.base = state.base
    let log = try LogRecovery.open(options).writer
    let first = state.base.position.sequence + 1
    try log.startEpoch(epoch, reason: .handoff)
    var frame = FrameBuilder(capacityBytes: 256)
    let range = ShardRange(hash: shard.hash.rawValue, index: shard.index, count: shard.count)
    let value = range.encoded
    frame.append(.purge, key: RawSpan(), value: value.span.bytes)
    let end = try log.commit(&frame)
    try log.close(markContent: nil)
    header = SnapshotHeader(
      timeMilliseconds: clock.wallMilliseconds(), frameTimeMilliseconds: time, hash: shard.hash,
      shardIndex: shard.index, shardCount: shard.count,
      positions: [LogBase(origin: state.base.origin, position: end)],
      epochs: state.epochs + [EpochHistory.Start(epoch, at: first)])
    var note = shard
    note.start = ShardStart(heldIndex: shard.index, heldCount: shard.count, point: state.base)
    try note.write(in: draft.path, fileSystem: fileSystem)
    snapshotPath = SnapshotDirectory(draft.path, fileSystem: fileSystem).path(of: end.sequence)
  }

  /// What of it a thread that writes its snapshot needs.
  var plan: Plan { Plan(header: header, path: snapshotPath) }

  struct Plan: Sendable {
    let header: SnapshotHeader
    let path: String
  }
}

/// The state that is split.
struct SplitState {
  /// A snapshot of it; nil when it is empty. It may have entries of other shards, and expired ones.
  var file: SnapshotFile?
  /// The point of the log that it is of.
  var base: LogBase
  var frameTimeMilliseconds: UInt64
  var epochs: [EpochHistory.Start]
}

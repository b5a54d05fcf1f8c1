import Sharding
import WAL

/// What a start says that a data directory holds, against what it does hold.
struct ShardClaim {
  private let directory: String
  private let fileSystem: any FileSystem
  private let claimed: ShardNote
  /// What the directory says itself; nil when it does not.
  private let noted: ShardNote?
  /// What it was until now; nil where it begins.
  private var held: ShardNote?

  /// - Throws: `setting` when the directory holds another shard; `invalidFile` when its note is damaged.
  init(_ options: StoreOptions) throws(WALError) {
    directory = options.dataDirectory
    fileSystem = options.fileSystem
    claimed = ShardNote(
      index: options.shardIndex, count: options.shardCount, hash: options.hash)
    noted = try ShardNote.read(in: directory, fileSystem: fileSystem)
    held = noted
    if let noted { try check(noted) }
  }

  /// The number of shards by which the keys are to be put into an index: that of before, as long as keys
  /// from before may be there. Then those of each shard stand together.
  var heldCount: UInt32 { noted.map { $0.start?.heldCount ?? $0.count } ?? claimed.count }

  /// Checks a directory without a note by what is in it, and notes at once what a new one is for: what
  /// has log and no note is older than notes are, and then it is of one shard and of the first hash.
  ///
  /// - Parameter header: of the snapshot that the start begins with.
  mutating func check(_ header: SnapshotHeader?) throws(WALError) {
    guard noted == nil else { return }
    if let header {
      held = ShardNote(index: header.shardIndex, count: header.shardCount, hash: header.hash)
    } else if try !DataFiles.segments(in: directory, fileSystem: fileSystem).isEmpty {
      held = ShardNote(index: 0, count: 1, hash: .fnv1)
    }
    if let held {
      try check(held)
    } else {
      try claimed.write(in: directory, fileSystem: fileSystem)
    }
  }

  /// Notes what the directory holds from now on, once its log has been recovered, and before anything is
  /// written behind that or served.
  ///
  /// - Parameters:
  ///   - end: where the log ends.
  ///   - index: what is there.
  /// - Returns: where the history was when it became this shard.
  func settle(_ end: LogBase, _ index: Index) throws(WALError) -> ShardStart? {
    var note = claimed
    note.start = start(end, index)
    if try ShardNote.read(in: directory, fileSystem: fileSystem) != note {
      try note.write(in: directory, fileSystem: fileSystem)
    }
    return note.start
  }

  private func start(_ end: LogBase, _ index: Index) -> ShardStart? {
    guard let held, end.position.sequence > 0 else { return nil }
    guard held.isShard(claimed) else {
      // What was there before that, and was never purged, may be there as well.
      return ShardStart(
        heldIndex: held.start?.heldIndex ?? held.index,
        heldCount: held.start?.heldCount ?? held.count, point: end)
    }
    // Another log has taken the place of the one that it was noted of.
    guard var start = held.start, start.point.origin == end.origin else { return nil }
    if start.heldCount != claimed.count,
      index.contents(ofShards: claimed.count).keys.allSatisfy({ $0 == claimed.index })
    {
      (start.heldIndex, start.heldCount) = (claimed.index, claimed.count)
    }
    return start
  }

  private func check(_ held: ShardNote) throws(WALError) {
    guard held.covers(claimed) else {
      throw .setting(
        "\(directory): it holds \(held), and does not serve as \(claimed). Start with the "
          + "configuration that it was made with, or choose another --data-dir")
    }
  }
}

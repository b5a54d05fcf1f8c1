import Sharding
import WAL

/// What a start says that a data directory holds, against what it does hold.
struct ShardClaim {
  private let directory: String
  private let fileSystem: any FileSystem
  private let claimed: ShardNote
  /// What the directory says itself; nil when it does not.
  private let noted: ShardNote?

  /// - Throws: `setting` when the directory holds another shard; `invalidFile` when its note is damaged.
  init(_ options: StoreOptions) throws(WALError) {
    directory = options.dataDirectory
    fileSystem = options.fileSystem
    claimed = ShardNote(
      index: options.shardIndex, count: options.shardCount, hash: options.hash)
    noted = try ShardNote.read(in: directory, fileSystem: fileSystem)
    if let noted { try check(noted) }
  }

  /// Checks a directory without a note by what is in it, and notes at once what a new one is for: what
  /// has log and no note is older than notes are, and then it is of one shard and of the first hash.
  ///
  /// - Parameter header: of the snapshot that the start begins with.
  func check(_ header: SnapshotHeader?) throws(WALError) {
    guard noted == nil else { return }
    if let header {
      try check(ShardNote(index: header.shardIndex, count: header.shardCount, hash: header.hash))
    } else if try DataFiles.segments(in: directory, fileSystem: fileSystem).isEmpty {
      try claimed.write(in: directory, fileSystem: fileSystem)
    } else {
      try check(ShardNote(index: 0, count: 1, hash: .fnv1))
    }
  }

  /// Notes what the directory holds from now on, once the start has succeeded and before anything is
  /// served from it.
  func settle() throws(WALError) {
    guard try ShardNote.read(in: directory, fileSystem: fileSystem) != claimed else { return }
    try claimed.write(in: directory, fileSystem: fileSystem)
  }

  private func check(_ held: ShardNote) throws(WALError) {
    guard held.covers(claimed) else {
      throw .setting(
        "\(directory): it holds \(held), and does not serve as \(claimed). Start with the "
          + "configuration that it was made with, or choose another --data-dir")
    }
  }
}

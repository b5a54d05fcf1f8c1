import WAL

/// What splitting a data directory has come to.
package struct SplitReport: Sendable {
  /// A directory that was made.
  package struct Child: Sendable {
    package var directory: String
    package var shard: ShardNote
    package var epoch: Epoch
    package var snapshot: SnapshotInfo
  }

  package var source: String
  package var parent: ShardNote
  /// Where the source ends.
  package var position: LogPosition
  /// In the order of their shards.
  package var children: [Child]
  /// Of the state that was split: a snapshot of all of it.
  package var snapshotBytes: UInt64
  /// Blocks that were copied as they are, and those of which parts were written anew.
  package var copiedBlocks: Int
  package var writtenBlocks: Int
  /// True when log had to be merged into the snapshot first.
  package var hasFolded: Bool
  /// Keys of other shards, which the source held as well and no child does.
  package var foreignKeys: UInt64
  /// A torn write at the end of the source's log, which is left out.
  package var cut: Damage?
  package var isVerified: Bool
  package var seconds: Double

  package var keys: UInt64 { children.reduce(0) { $0 + $1.snapshot.keys } }
}

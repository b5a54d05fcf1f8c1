import Synchronization
import WAL

/// How the snapshots of a store are made, where it is not by merging the log with the one before.
protocol SnapshotMaking: Sendable {
  /// Bytes of the logs behind the newest snapshot that do not change any more.
  func logBytes() throws(WALError) -> UInt64
  func make(_ place: SnapshotMerge.Place, _ pace: Pace) throws(WALError) -> SnapshotFile
  /// Gives up the log that none of these snapshots needs.
  ///
  /// - Returns: bytes that are kept for followers alone.
  func retire(
    behind kept: [String], butAtMost retainBytes: UInt64, expecting bytes: UInt64
  ) throws(WALError) -> UInt64
}

/// The snapshots of a leaderless shard, which are of all its logs.
final class MergedSnapshots: SnapshotMaking {
  private let merged: @Sendable () -> MergedStore?
  private let fileSystem: any FileSystem
  /// Up to where the newest snapshot has each log.
  private let covered: Mutex<[UInt64: LogBase]>

  init(
    covered: [UInt64: LogBase], fileSystem: any FileSystem,
    merged: @escaping @Sendable () -> MergedStore?
  ) {
    self.merged = merged
    self.fileSystem = fileSystem
    self.covered = Mutex(covered)
  }

  /// What the newest snapshot has of a log.
  func base(of origin: UInt64) -> LogBase? { covered.withLock { $0[origin] } }

  private func logs() throws(WALError) -> (MergedStore, [Store]) {
    guard let merged = merged() else { throw .cancelled }
    return (merged, merged.logs)
  }

  func logBytes() throws(WALError) -> UInt64 {
    let covered = covered.withLock { $0 }
    var bytes: UInt64 = 0
    for log in try logs().1 {
      bytes += try log.snapshots.log.sealedSegments(
        behind: covered[log.origin]?.position.sequence ?? 0, all: true
      ).bytes
    }
    return bytes
  }

  func make(_ place: SnapshotMerge.Place, _ pace: Pace) throws(WALError) -> SnapshotFile {
    let (merged, logs) = try logs()
    let cut = merged.state.beginSnapshot()
    defer { merged.state.endSnapshot() }
    // So that what it covers is in files that can be given up.
    for log in logs { _ = try log.snapshots.log.sealedEnd() }
    let file = try MergedSnapshot.write(merged.state, cut, place, pace: pace) {
      () throws(WALError) in
      for log in logs { try log.committer.perform { (log) throws(WALError) in try log.sync() } }
    }
    let positions = file.header.positions.map { ($0.origin, $0) }
    covered.withLock { $0 = Dictionary(positions) { first, _ in first } }
    return file
  }

  func retire(
    behind kept: [String], butAtMost retainBytes: UInt64, expecting bytes: UInt64
  ) throws(WALError) -> UInt64 {
    var needed: [UInt64: UInt64]?
    for path in kept {
      let header = try SnapshotFile(path, fileSystem: fileSystem).header
      var positions: [UInt64: UInt64] = [:]
      for base in header.positions { positions[base.origin] = base.position.sequence }
      needed =
        needed.map { $0.merging(positions) { min($0, $1) }.filter { positions[$0.key] != nil } }
        ?? positions
    }
    guard let needed else { return 0 }
    let (merged, logs) = try logs()
    var held: UInt64 = 0
    for log in logs {
      guard let through = needed[log.origin] else { continue }
      let followed = log === merged.own ? log.snapshots.leases.followed : nil
      held += try log.snapshots.log.retire(
        through: min(through, followed ?? .max), butAtMost: retainBytes, forLeasesBehind: through,
        expecting: bytes)
    }
    return held
  }
}

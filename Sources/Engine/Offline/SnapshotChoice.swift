import WAL

/// The snapshots of a data directory that nobody else works on: the newest one that is whole, and
/// those that are not.
struct SnapshotChoice {
  /// Nil when there is none.
  let file: SnapshotFile?
  /// Newest first: newer ones than that file, which are damaged.
  let bad: [(path: String, error: WALError)]

  /// Reads snapshots to their last byte, newest first, until one is whole.
  ///
  /// - Parameter isWanted: which of them count.
  /// - Throws: `setting` when a later version wrote one; that of a system call.
  init(
    _ directory: SnapshotDirectory, pace: Pace, isWanted: (SnapshotHeader) -> Bool = { _ in true }
  ) throws(WALError) {
    var bad: [(path: String, error: WALError)] = []
    var whole: SnapshotFile?
    for (path, sequence) in try directory.list() where whole == nil {
      do throws(WALError) {
        let file = try SnapshotFile(path, fileSystem: directory.fileSystem)
        guard file.header.sequence == sequence else {
          throw .invalidFile(
            path: path, offset: 0, reason: "it is a snapshot up to \(file.header.sequence)")
        }
        guard isWanted(file.header) else { continue }
        try SnapshotCheck.run(file, pace: pace)
        whole = file
      } catch {
        guard error.isDamage else { throw error }
        bad.append((path, error))
      }
    }
    file = whole
    self.bad = bad
  }

  /// An error of the log's, where snapshots that are damaged have a part in it.
  func explain(_ error: WALError) -> WALError {
    guard let first = bad.first, case .damaged = error else { return error }
    return .setting("\(first.error); and without it: \(error)")
  }
}

/// What a run on a data directory has come to.
package struct OfflineReport: Sendable {
  /// Where the state is now.
  package var directory: String
  package var snapshot: SnapshotInfo
  /// The position of the snapshot.
  package var position: LogPosition
  /// The epoch that what was made goes on in; that of the position where none was begun.
  package var epoch: Epoch
  /// Of the log and the snapshots, before and after.
  package var bytesBefore: UInt64
  package var bytesAfter: UInt64
  package var seconds: Double
  /// A torn write at the log's end, and where it was saved, if it was.
  package var cut: (damage: Damage, saved: [String])?
  /// Damaged files that were not needed, and where they were moved.
  package var quarantined: [String] = []
}

/// Sizes of what a data directory holds.
enum DataFiles {
  /// Bytes of the log's segments and of the snapshots.
  static func bytes(
    in directory: String, fileSystem: any FileSystem
  ) throws(WALError) -> (log: UInt64, snapshots: UInt64) {
    var log: UInt64 = 0
    for segment in try segments(in: directory, fileSystem: fileSystem) {
      log += try fileSystem.open(segment.path, .readOnly).size()
    }
    var snapshots: UInt64 = 0
    for found in try SnapshotDirectory(directory, fileSystem: fileSystem).list() {
      snapshots += try fileSystem.open(found.path, .readOnly).size()
    }
    return (log, snapshots)
  }

  /// The log's segments; none where there is no log.
  static func segments(
    in directory: String, fileSystem: any FileSystem
  ) throws(WALError) -> [SegmentFile] {
    do {
      return try SegmentFile.list(directory + "/wal", in: fileSystem)
    } catch {
      guard error.isNotFound else { throw error }
      return []
    }
  }

  /// Those of the segments that hold something behind one sequence number, up to another.
  static func between(
    _ segments: [SegmentFile], after: UInt64, through: UInt64
  ) -> [SegmentFile] {
    segments.enumerated().filter { number, segment in
      guard segment.firstSequence! <= through else { return false }
      guard number + 1 < segments.count else { return true }
      return segments[number + 1].firstSequence! - 1 > after
    }.map(\.element)
  }
}

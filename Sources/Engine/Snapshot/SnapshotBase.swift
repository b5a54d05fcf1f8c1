import Sharding
import WAL

/// What a start begins with: the newest snapshot that is whole, in memory; or nothing.
struct SnapshotBase {
  let index: Index
  /// Nil when there is no snapshot.
  let file: SnapshotFile?
  let seconds: Double
  private let directory: SnapshotDirectory
  private let bad: [(path: String, error: WALError)]

  /// Loads the newest snapshot that is whole.
  ///
  /// - Parameter shardCount: of how many shards the keys are one's, or more.
  /// - Throws: `setting` when one is of a later version, or of other shards; `cancelled`; that of a system call.
  static func load(
    _ directory: SnapshotDirectory, hash: ShardHash, shardCount: UInt32, threads: Int,
    clock: LogClock, progress: StartProgress?
  ) throws(WALError) -> SnapshotBase {
    let start = clock.monotonicNanoseconds()
    var bad: [(path: String, error: WALError)] = []
    for (path, sequence) in try directory.list() {
      do throws(WALError) {
        let file = try SnapshotFile(path, fileSystem: directory.fileSystem)
        guard file.header.hash == hash else {
          throw .setting(
            "\(path): its keys are spread by \(file.header.hash.name), not by \(hash.name). Start with "
              + "the configuration that this directory was made with")
        }
        guard file.header.sequence == sequence else {
          throw .invalidFile(
            path: path, offset: 0, reason: "it is a snapshot up to \(file.header.sequence)")
        }
        let index = Index(
          hash: hash, shardCount: min(shardCount.lowBit, file.commonShards.lowBit))
        try SnapshotLoad.run(file, into: index, threads: threads, progress: progress)
        let seconds = Double(clock.monotonicNanoseconds() - start) / 1e9
        return SnapshotBase(
          index: index, file: file, seconds: seconds, directory: directory, bad: bad)
      } catch {
        guard error.isDamage else { throw error }
        bad.append((path, error))
      }
    }
    return SnapshotBase(
      index: Index(hash: hash, shardCount: shardCount), file: nil, seconds: 0,
      directory: directory, bad: bad)
  }

  /// Sees that a log is there where only damaged snapshots are: an empty directory is no new one then.
  func checkLog(_ directory: String) throws(WALError) {
    guard file == nil, !bad.isEmpty else { return }
    do {
      guard try SegmentFile.list(directory, in: self.directory.fileSystem).isEmpty else { return }
    } catch {
      guard error.isNotFound else { throw error }
    }
    throw .setting("\(badNames); and there is no log in \(directory)")
  }

  /// An error of the log's, where snapshots that are damaged have a part in it.
  func explain(_ error: WALError) -> WALError {
    guard !bad.isEmpty, case .damaged = error else { return error }
    return .setting("\(badNames); and without that: \(error)")
  }

  private var badNames: String { bad.map { "\($0.error)" }.joined(separator: "; ") }

  /// Puts the damaged ones away, now that a start has done without them.
  func putAway(
    _ quarantine: String
  ) throws(WALError) -> [(error: WALError, path: String)] {
    var moved: [(error: WALError, path: String)] = []
    for (path, error) in bad {
      moved.append(
        (error, try Quarantine(quarantine, fileSystem: directory.fileSystem).take(path)))
    }
    return moved
  }

  /// This one and the ones before it that may serve when it does not, newest first.
  func whole() throws(WALError) -> [SnapshotInfo] {
    guard let file else { return [] }
    var found = [SnapshotInfo(file)]
    for (path, sequence) in try directory.list() where sequence < file.header.sequence {
      do {
        found.append(SnapshotInfo(try SnapshotFile(path, fileSystem: directory.fileSystem)))
      } catch {
        // It is not needed now; and never will be, once there is a newer one.
        guard error.isDamage else { throw error }
      }
    }
    return found
  }
}

extension SnapshotFile {
  /// The number of shards, a power of two, of one of which the first keys of all blocks are; where there
  /// are too few blocks to tell, that of the header. A copy of another node's snapshot has keys of other
  /// shards, too, where that has not been purged.
  fileprivate var commonShards: UInt32 {
    guard let first = footer.blocks.first, let last = footer.blocks.last, footer.blocks.count > 1
    else { return header.shardCount }
    let bits = (first.firstOrder.number ^ last.firstOrder.number).leadingZeroBitCount
    return 1 << UInt32(min(bits, 31))
  }
}

extension UInt32 {
  /// The largest power of two that divides it.
  fileprivate var lowBit: UInt32 { 1 << UInt32(trailingZeroBitCount) }
}

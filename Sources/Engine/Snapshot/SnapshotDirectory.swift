import Sharding
import WAL

/// The directory `snapshots` of a data directory: snapshots, named by the last sequence number that
/// they cover, and the sidecars of the log's segments.
package struct SnapshotDirectory: Sendable {
  package let path: String
  package let fileSystem: any FileSystem
  /// What is sorted in memory at once, of a segment.
  package var runItemsMax = SegmentSidecar.runItemsMax

  package static let suffix = ".snap"

  package init(_ dataDirectory: String, fileSystem: any FileSystem = SystemFileSystem()) {
    path = dataDirectory + "/snapshots"
    self.fileSystem = fileSystem
  }

  /// Makes the directory, and removes what an interrupted run has left in it.
  package func prepare() throws(WALError) {
    try fileSystem.makeDirectory(path)
    try fileSystem.syncDirectory(parentOf(path))
    for name in try fileSystem.list(path) where name.hasSuffix(SnapshotWriter.temporarySuffix) {
      try fileSystem.remove(path + "/" + name)
    }
  }

  package func path(of sequence: UInt64) -> String {
    path + "/" + SegmentName.stem(sequence) + Self.suffix
  }

  /// The sequence number in a snapshot's name; nil for any other name.
  package static func sequence(_ name: String) -> UInt64? {
    guard name.hasSuffix(suffix) else { return nil }
    return SegmentName.firstSequence(String(name.dropLast(suffix.count)) + SegmentName.suffix)
  }

  /// The snapshots by their names, newest first; whether they are whole is not looked at.
  package func list() throws(WALError) -> [(path: String, sequence: UInt64)] {
    var found: [(path: String, sequence: UInt64)] = []
    do {
      for name in try fileSystem.list(path) {
        guard let sequence = Self.sequence(name) else { continue }
        found.append((path + "/" + name, sequence))
      }
    } catch {
      guard error.isNotFound else { throw error }
    }
    return found.sorted { $0.sequence > $1.sequence }
  }

  // MARK: - Sidecars

  private func sidecarPath(_ firstSequence: UInt64) -> String {
    path + "/" + SegmentName.stem(firstSequence) + SegmentSidecar.suffix
  }

  private static let partPrefix = "part-"

  /// A sidecar of a part of a segment serves one merge only, which may have one at either end.
  func partialSidecarPath(of segment: SegmentFile) -> String {
    path + "/" + Self.partPrefix + SegmentName.stem(segment.firstSequence!) + SegmentSidecar.suffix
      + SnapshotWriter.temporarySuffix
  }

  func removePartialSidecars() throws(WALError) {
    for name in try fileSystem.list(path) where name.hasPrefix(Self.partPrefix) {
      try fileSystem.remove(path + "/" + name)
    }
  }

  /// The sidecar of a segment, by that hash; nil when there is none yet, or not a whole one.
  package func sidecar(
    of segment: SegmentFile, hash: ShardHash
  ) throws(WALError) -> SegmentSidecar? {
    try sidecar(of: segment, hash: hash, files: nil)
  }

  func sidecar(
    of segment: SegmentFile, hash: ShardHash, files: OpenFiles?
  ) throws(WALError) -> SegmentSidecar? {
    try SegmentSidecar.open(
      sidecarPath(segment.firstSequence!), of: segment.path, hash: hash, fileSystem: fileSystem,
      files: files)
  }

  /// Makes the sidecar of a segment that nobody writes to any more.
  ///
  /// - Parameter next: the segment behind it: what stands behind the last record before that one means
  ///   nothing.
  @discardableResult
  package func makeSidecar(
    of segment: SegmentFile, before next: SegmentFile? = nil, hash: ShardHash, pace: Pace
  ) throws(WALError) -> SegmentSidecar {
    try makeSidecar(of: segment, before: next, hash: hash, files: nil, pace: pace)
  }

  func makeSidecar(
    of segment: SegmentFile, before next: SegmentFile?, hash: ShardHash, files: OpenFiles?,
    pace: Pace
  ) throws(WALError) -> SegmentSidecar {
    try SegmentSidecar.make(
      sidecarPath(segment.firstSequence!), of: segment,
      through: next.map { $0.firstSequence! - 1 } ?? .max, runItemsMax: runItemsMax, hash: hash,
      fileSystem: fileSystem, files: files, pace: pace)
  }

  /// The header of a segment.
  func header(of segment: SegmentFile) throws(WALError) -> SegmentHeader {
    let bytes = try fileSystem.open(segment.path, .readOnly)
      .bytes(count: Format.segmentHeaderBytes)
    do {
      return try SegmentHeader(parsing: bytes.span.bytes)
    } catch {
      throw .invalidFile(path: segment.path, offset: 0, reason: "\(error)")
    }
  }

  /// Removes the sidecars of segments that begin at or before a sequence number.
  package func removeSidecars(through sequence: UInt64) throws(WALError) {
    try removeSidecars { $0 <= sequence }
  }

  /// Removes the sidecars of segments that begin at or behind a sequence number.
  package func removeSidecars(from sequence: UInt64) throws(WALError) {
    do {
      try removeSidecars { $0 >= sequence }
    } catch {
      guard error.isNotFound else { throw error }
    }
  }

  private func removeSidecars(where isGone: (UInt64) -> Bool) throws(WALError) {
    for name in try fileSystem.list(path) where name.hasSuffix(SegmentSidecar.suffix) {
      let stem = name.dropLast(SegmentSidecar.suffix.count)
      guard let first = SegmentName.firstSequence(stem + SegmentName.suffix), isGone(first)
      else { continue }
      do {
        try fileSystem.remove(path + "/" + name)
      } catch {
        guard error.isNotFound else { throw error }
      }
    }
  }
}

import Engine
import NIOCore
import Synchronization
import Terminal
import WAL

/// Fetches a snapshot into a directory, piece by piece, and verifies it.
///
/// What has been fetched is in `TAG.part`, whose name says of which file it is, so that a run goes on
/// where another one ended, and fetches nothing that is there. Only what was verified has a
/// snapshot's name, which is the last that happens to it.
struct Backup {
  private static let pieceBytes: UInt64 = 4 << 20
  static let suffix = ".part"
  /// How often a snapshot may go away while it is fetched.
  private static let attemptsMax = 3

  let nodes: NodeSnapshots
  let directory: SnapshotDirectory

  /// A file that is being fetched.
  private struct Part {
    var tag: SnapshotTag
    var path: String
  }

  func run() async throws -> SnapshotInfo {
    for _ in 0..<Self.attemptsMax {
      let part: Part
      if let begun = try begunPart() { part = begun } else { part = try await begin() }
      guard try await fetch(part) else {
        try logged { () throws(WALError) in try directory.fileSystem.remove(part.path) }
        continue
      }
      return try conclude(part)
    }
    throw Output.failure("the node gives its snapshots up faster than they are fetched: try again")
  }

  // MARK: - What there is already

  private func begunPart() throws -> Part? {
    let names = try logged { () throws(WALError) in
      try directory.fileSystem.list(directory.path)
    }
    for name in names.sorted() where name.hasSuffix(Self.suffix) {
      guard let tag = SnapshotTag(name: String(name.dropLast(Self.suffix.count))) else { continue }
      return Part(tag: tag, path: directory.path + "/" + name)
    }
    return nil
  }

  private func begin() async throws -> Part {
    let made = try await nodes.make()
    let offer = try await nodes.offer()
    guard offer.tag.sequence >= made.sequence, offer.tag.bytes == offer.bytes else {
      throw Output.failure(
        "the node made a snapshot at sequence number \(made.sequence), and has none of it")
    }
    return Part(tag: offer.tag, path: "\(directory.path)/\(offer.tag.name)\(Self.suffix)")
  }

  // MARK: - Fetching

  /// - Returns: false when the node does not have the file any more.
  private func fetch(_ part: Part) async throws -> Bool {
    let file = try logged { () throws(WALError) in
      try directory.fileSystem.open(part.path, .createOrOpen)
    }
    let start = try logged { () throws(WALError) in try file.size() }
    let total = part.tag.bytes
    guard start <= total else { return false }
    let progress = BackupProgress()
    let bar = ProgressBar("fetching") { [start] in
      (Int(progress.bytes.load(ordering: .relaxed)), Int(total - start))
    }
    defer { bar?.end() }
    var offset = start
    while offset < total {
      let range = offset..<min(offset + Self.pieceBytes, total)
      guard let piece = try await nodes.piece(range, of: part.tag) else { return false }
      let at = offset
      try logged { () throws(WALError) in try file.writeAll(Array(piece.readableBytesView), at: at)
      }
      offset = range.upperBound
      progress.bytes.store(offset - start, ordering: .relaxed)
    }
    try logged { () throws(WALError) in try file.sync() }
    return true
  }

  private func conclude(_ part: Part) throws -> SnapshotInfo {
    do throws(WALError) {
      let file = try verify(part.path)
      let path = directory.path(of: file.header.sequence)
      try directory.fileSystem.rename(part.path, to: path)
      try directory.fileSystem.syncDirectory(directory.path)
      var info = SnapshotInfo(file)
      info.path = path
      return info
    } catch {
      guard case .invalidFile = error else { throw Output.failure("\(error)") }
      // Run again, it is fetched anew.
      try logged { () throws(WALError) in try directory.fileSystem.remove(part.path) }
      throw Output.failure("what was fetched is damaged: \(error). It was removed: try again")
    }
  }

  /// Reads every byte of it.
  private func verify(_ path: String) throws(WALError) -> SnapshotFile {
    let file = try SnapshotFile(path, fileSystem: directory.fileSystem)
    let pace = Pace()
    pace.expect(Int(file.bytes))
    let bar = ProgressBar("verifying") { (pace.doneBytes, pace.totalBytes) }
    defer { bar?.end() }
    try SnapshotCheck.run(file, pace: pace)
    return file
  }
}

private final class BackupProgress: Sendable {
  let bytes = Atomic<UInt64>(0)
}

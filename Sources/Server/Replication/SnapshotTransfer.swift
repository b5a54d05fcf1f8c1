import Client
import Engine
import NIOCore
import NIOHTTP1
import NIOPosix
import WAL

/// Fetches a leader's newest snapshot into a copy's data directory, piece by piece.
///
/// What has been fetched is in `snapshots/TAG.part`, whose name says of which file it is: an interrupted
/// transfer goes on where it ended. Only what was read and verified to the last byte gets a snapshot's
/// name. The leader holds file and log behind it for this replica meanwhile.
struct SnapshotTransfer {
  private static let pieceBytes: UInt64 = 4 << 20
  private static let pieceSeconds: Int64 = 30
  /// Making one may take as long as there is data.
  private static let makingSeconds: Int64 = 86_400
  static let suffix = ".part"

  let peer: Peer
  let id: String
  let directory: SnapshotDirectory
  let progress: StartProgress

  /// The leader does not have the file any more: there is a newer one.
  private struct Replaced: Error {}

  /// - Returns: where it is.
  /// - Throws: `KVClientError` and `Peer.Unusable` about the leader, after which it can be tried again;
  ///   `WALError` about this node's disk.
  func run() async throws -> String {
    try onDisk { () throws(WALError) in try directory.prepare() }
    for _ in 0..<3 {
      do {
        return try await fetch(try await offer())
      } catch is Replaced {
        continue
      }
    }
    throw Peer.Unusable(
      description: "\(peer.address) gives its snapshots up faster than they are fetched")
  }

  private func onDisk<R>(_ body: () throws(WALError) -> R) throws -> R { try body() }

  /// The newest one, which is held from then on; made when there is none.
  private func offer() async throws -> (tag: String, bytes: UInt64) {
    for isFirst in [true, false] {
      let answer = try await peer.ask(
        KVRequest(.HEAD, "/snapshot?replica=\(PercentEncoding.encode(id))"),
        seconds: Self.pieceSeconds)
      if answer.status == 200, let tag = answer.etag, Self.isPlain(tag),
        let bytes = answer.headers.first(name: "Content-Length").flatMap({ UInt64($0) })
      {
        return (tag, bytes)
      }
      guard answer.status == 404, isFirst else { break }
      let made = try await peer.ask(
        KVRequest(.POST, "/admin/snapshot"), seconds: Self.makingSeconds)
      guard made.status == 200 else {
        throw Peer.Unusable(
          description: "\(peer.address) makes no snapshot: it answers \(made.status)")
      }
    }
    throw Peer.Unusable(description: "\(peer.address) offers no snapshot")
  }

  /// A tag becomes a file's name.
  private static func isPlain(_ tag: String) -> Bool {
    tag.utf8.count > 2 && tag.utf8.count <= 100 && tag.hasPrefix("\"") && tag.hasSuffix("\"")
      && tag.utf8.dropFirst().dropLast().allSatisfy {
        (0x30...0x39).contains($0) || (0x61...0x66).contains($0) || $0 == UInt8(ascii: "-")
      }
  }

  private func fetch(_ offer: (tag: String, bytes: UInt64)) async throws -> String {
    let name = String(offer.tag.dropFirst().dropLast()) + Self.suffix
    let part = directory.path + "/" + name
    let fileSystem = directory.fileSystem
    let file = try onDisk { () throws(WALError) in
      // Of a snapshot that is not offered any more.
      for other in try fileSystem.list(directory.path)
      where other.hasSuffix(Self.suffix) && other != name {
        try fileSystem.remove(directory.path + "/" + other)
      }
      return try fileSystem.open(part, .createOrOpen)
    }
    var offset = try onDisk { () throws(WALError) in try file.size() }
    if offset > offer.bytes { offset = 0 }
    progress.begin(.copying, total: offer.bytes)
    progress.add(offset)
    while offset < offer.bytes {
      try Task.checkCancellation()
      let end = min(offset + Self.pieceBytes, offer.bytes)
      let answer = try await peer.ask(
        KVRequest(
          .GET, "/snapshot?replica=\(PercentEncoding.encode(id))",
          headers: ["Range": "bytes=\(offset)-\(end - 1)", "If-Match": offer.tag]),
        seconds: Self.pieceSeconds)
      if [404, 412, 416].contains(answer.status) { throw Replaced() }
      guard answer.status == 206, answer.etag == offer.tag,
        answer.body.readableBytes == Int(end - offset)
      else {
        throw Peer.Unusable(
          description: "\(peer.address) answers \(answer.status) to a part of its snapshot")
      }
      let piece = Array(answer.body.readableBytesView)
      let at = offset
      try onDisk { () throws(WALError) in try file.writeAll(piece, at: at) }
      progress.add(end - offset)
      offset = end
    }
    do {
      return try await conclude(part, file)
    } catch let error as WALError {
      guard case .invalidFile = error else { throw error }
      throw Peer.Unusable(
        description: "what was fetched of \(peer.address) is damaged, and was removed: \(error)")
    }
  }

  /// Reads every byte of it, and gives it its name.
  private func conclude(_ part: String, _ file: any File) async throws -> String {
    let directory = directory
    return try await NIOSingletons.posixBlockingThreadPool.runIfActive {
      do throws(WALError) {
        try file.sync()
        let snapshot = try SnapshotFile(part, fileSystem: directory.fileSystem)
        try SnapshotCheck.run(snapshot, pace: Pace())
        let path = directory.path(of: snapshot.header.sequence)
        try directory.fileSystem.rename(part, to: path)
        try directory.fileSystem.syncDirectory(directory.path)
        return path
      } catch {
        // Fetched anew, it may be whole.
        if case .invalidFile = error { try directory.fileSystem.remove(part) }
        throw error
      }
    }
  }
}

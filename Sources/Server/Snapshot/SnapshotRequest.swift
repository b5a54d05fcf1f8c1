import Engine
import NIOHTTP1
import WAL

/// What `GET /snapshot` asks for, and the file that is the answer.
struct SnapshotRequest: Sendable {
  /// Who wants it held; nil for nobody.
  let replica: String?
  let range: ByteRange?
  /// The tags of `If-Match`; nil when it was not said.
  let wanted: [String]?
  /// The tag of `If-Range`.
  let rangeTag: String?
  let leaseSeconds: UInt64

  init(_ headers: HTTPHeaders, replica: String?, leaseSeconds: Int) {
    self.replica = replica
    self.leaseSeconds = UInt64(leaseSeconds)
    let ranges = headers.values(of: "range")
    range = ranges.count == 1 ? ByteRange(ranges[0]) : nil
    rangeTag = headers.values(of: "if-range").first.map { String($0) }
    let matches = headers.values(of: "if-match")
    wanted =
      matches.isEmpty
      ? nil
      : matches.flatMap { $0.split(separator: ",") }.map { String($0.trimmingBlanks) }
  }

  enum Found: Sendable {
    case file(any File, SnapshotInfo)
    case none
    /// Not the one that is wanted.
    case other
    case tooManyLeases
    case failed(WALError)
  }

  /// Opens the file, off the event loop. Whoever has begun with one that is still there goes on with it.
  func find(_ store: Store) -> Found {
    do throws(WALError) {
      // The newest can be superseded twice between the look and the opening.
      for _ in 0..<3 {
        let candidates = try candidates(store)
        guard let newest = candidates.first else { return .none }
        let begun = candidates.first { info in
          wanted?.contains(info.tag) ?? (rangeTag == info.tag)
        }
        if let wanted, begun == nil, !wanted.contains("*") { return .other }
        let info = begun ?? newest
        guard lease(info, store) else { return .tooManyLeases }
        do throws(WALError) {
          let file = try store.options.fileSystem.open(info.path, .readOnly)
          return .file(file, info)
        } catch {
          guard error.isNotFound else { throw error }
        }
      }
      return .none
    } catch {
      return .failed(error)
    }
  }

  /// The newest first; those that are held as well.
  private func candidates(_ store: Store) throws(WALError) -> [SnapshotInfo] {
    var found = store.snapshots.snapshots
    guard let replica, let held = store.snapshots.leases.snapshot(heldFor: replica),
      !found.contains(where: { $0.path == held })
    else { return found }
    do {
      found.append(SnapshotInfo(try SnapshotFile(held, fileSystem: store.options.fileSystem)))
    } catch {
      guard error.isNotFound else { throw error }
    }
    return found
  }

  /// Holds the file and the log behind it, or goes on to.
  @discardableResult
  func lease(_ info: SnapshotInfo, _ store: Store) -> Bool {
    guard let replica else { return true }
    return store.snapshots.leases.take(
      replica, sequence: info.sequence, snapshot: info.path, seconds: leaseSeconds)
  }
}

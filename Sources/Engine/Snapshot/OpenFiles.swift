import WAL

/// Files that are read again and again, of which only so many are open at a time: those that were read
/// last. Belongs to one thread.
///
/// A log has as many segments as the snapshot behind it is large, or as small segments make; the
/// descriptors that a process may have are few, and the log itself and its clients need them.
final class OpenFiles {
  /// One of the files, open or not.
  final class Entry {
    let path: String
    fileprivate var file: (any File)?
    fileprivate var lastUse: UInt64 = 0

    init(_ path: String) { self.path = path }
  }

  static let countMax = 64

  private let fileSystem: any FileSystem
  private let countMax: Int
  // Invariant: exactly these have a file; at most `countMax`.
  private var open: [Entry] = []
  private var uses: UInt64 = 0

  init(_ fileSystem: any FileSystem, countMax: Int = countMax) {
    self.fileSystem = fileSystem
    self.countMax = countMax
  }

  /// The entry's file, for one call on it.
  func file(_ entry: Entry) throws(WALError) -> any File {
    uses += 1
    entry.lastUse = uses
    if let file = entry.file { return file }
    if open.count >= countMax { closeLeastUsed() }
    let file = try fileSystem.open(entry.path, .readOnly)
    entry.file = file
    open.append(entry)
    return file
  }

  private func closeLeastUsed() {
    guard let least = open.indices.min(by: { open[$0].lastUse < open[$1].lastUse }) else { return }
    open[least].file = nil
    open.swapAt(least, open.count - 1)
    open.removeLast()
  }
}

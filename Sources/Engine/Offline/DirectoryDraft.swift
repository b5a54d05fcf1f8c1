import WAL

/// A data directory that is being made: beside its place, as `PLACE.partial`, until it is whole.
///
/// An interrupted run leaves that, which is no data directory's name, and which the next run for the
/// same place uses again.
package struct DirectoryDraft {
  /// Where it is made.
  package let path: String
  private let target: String
  private let fileSystem: any FileSystem
  private let lock: DirectoryLock

  package static let suffix = ".partial"
  private static let parts = ["wal", "snapshots"]

  /// - Parameters:
  ///   - target: where it will be: nothing, or an empty directory. Its parent exists.
  ///   - kept: how the names of snapshots' parts end that an earlier run has left and that count; all
  ///     else that it has left is removed.
  /// - Throws: `setting` when there is something else; `locked` when another run is at it.
  package init(
    _ target: String, keeping kept: String? = nil,
    fileSystem: any FileSystem = SystemFileSystem()
  ) throws(WALError) {
    var target = target
    while target.utf8.count > 1, target.hasSuffix("/") { target.removeLast() }
    self.target = target
    self.fileSystem = fileSystem
    path = target + Self.suffix
    guard try Self.isFree(target, fileSystem) else {
      throw .setting("\(target): there is something already. Name a directory that is to be made")
    }
    try fileSystem.makeDirectory(path)
    for name in try fileSystem.list(path) where name != "LOCK" && !Self.parts.contains(name) {
      throw .setting(
        "\(path): is in the way, and holds more than an interrupted run has left: \(name). Remove it"
      )
    }
    lock = try DirectoryLock(path, fileSystem: fileSystem)
    for part in Self.parts {
      try fileSystem.makeDirectory(path + "/" + part)
      for name in try fileSystem.list(path + "/" + part)
      where !(kept.map { name.hasSuffix($0) } ?? false) {
        try fileSystem.remove(path + "/" + part + "/" + name)
      }
    }
  }

  /// True when there is nothing of that name, or a directory with nothing in it.
  private static func isFree(
    _ target: String, _ fileSystem: any FileSystem
  ) throws(WALError) -> Bool {
    do {
      guard try fileSystem.isDirectory(target) else { return false }
      return try fileSystem.list(target).isEmpty
    } catch {
      guard error.isNotFound else { throw error }
      return true
    }
  }

  /// Makes it durable, and gives it its name.
  package func finish() throws(WALError) {
    for part in Self.parts { try fileSystem.syncDirectory(path + "/" + part) }
    try fileSystem.syncDirectory(path)
    try fileSystem.rename(path, to: target)
    try fileSystem.syncDirectory(parentOf(target))
    withExtendedLifetime(lock) {}
  }
}

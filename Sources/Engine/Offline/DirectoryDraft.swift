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
  private static let notes = [ShardNote.fileName, ShardNote.fileName + ".tmp"]

  /// - Parameters:
  ///   - target: where it will be: nothing, or an empty directory. Its parent exists.
  ///   - kept: how the names of snapshots' parts end that an earlier run has left and that count; all
  ///     else that it has left is removed.
  /// - Throws: `setting` when there is something else; `locked` when another run is at it.
  package init(
    _ target: String, keeping kept: String? = nil,
    fileSystem: any FileSystem = SystemFileSystem()
  ) throws(WALError) {
    let target = Self.trimmed(target)
    self.target = target
    self.fileSystem = fileSystem
    path = target + Self.suffix
    try Self.checkFree(target, fileSystem)
    try fileSystem.makeDirectory(path)
    for name in try fileSystem.list(path)
    where name != "LOCK" && !(Self.parts + Self.notes).contains(name) {
      throw .setting(
        "\(path): is in the way, and holds more than an interrupted run has left: \(name). Remove it"
      )
    }
    lock = try DirectoryLock(path, fileSystem: fileSystem)
    for name in try fileSystem.list(path) where Self.notes.contains(name) {
      try fileSystem.remove(path + "/" + name)
    }
    for part in Self.parts {
      try fileSystem.makeDirectory(path + "/" + part)
      for name in try fileSystem.list(path + "/" + part)
      where !(kept.map { name.hasSuffix($0) } ?? false) {
        try fileSystem.remove(path + "/" + part + "/" + name)
      }
    }
  }

  private static func trimmed(_ path: String) -> String {
    var path = path
    while path.utf8.count > 1, path.hasSuffix("/") { path.removeLast() }
    return path
  }

  /// Sees that a data directory that is to be begun is not one that an interrupted run has left unfinished:
  /// a node would begin an empty one in its place.
  ///
  /// - Throws: `setting` when it is.
  package static func checkNone(
    for target: String, _ fileSystem: any FileSystem
  ) throws(WALError) {
    let draft = trimmed(target) + suffix
    guard try isFree(target, fileSystem), try exists(draft, fileSystem) else { return }
    throw .setting(
      "\(target): there is no data here, but \(draft) is there: what was to be made here was not "
        + "finished. Make it again, or remove that directory to begin with an empty one")
  }

  private static func exists(
    _ path: String, _ fileSystem: any FileSystem
  ) throws(WALError) -> Bool {
    do {
      return try fileSystem.isDirectory(path)
    } catch {
      guard error.isNotFound else { throw error }
      return false
    }
  }

  /// - Throws: `setting` unless there is nothing of that name, or a directory with nothing in it.
  package static func checkFree(
    _ target: String, _ fileSystem: any FileSystem
  ) throws(WALError) {
    guard try isFree(target, fileSystem) else {
      throw .setting("\(target): there is something already. Name a directory that is to be made")
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
    try settle()
    try name()
  }

  /// Makes it durable.
  package func settle() throws(WALError) {
    for part in Self.parts { try fileSystem.syncDirectory(path + "/" + part) }
    try fileSystem.syncDirectory(path)
  }

  /// Gives what is durable its name.
  package func name() throws(WALError) {
    try fileSystem.rename(path, to: target)
    try fileSystem.syncDirectory(parentOf(target))
    withExtendedLifetime(lock) {}
  }

  /// Takes the name away again, as far as that is possible.
  package func takeBack() {
    do {
      try fileSystem.rename(target, to: path)
      try fileSystem.syncDirectory(parentOf(target))
    } catch {}
  }

  /// Removes what was made, as far as that is possible: a full disk has room again. The directory
  /// stays, for the next run.
  package func discard() {
    for part in Self.parts { discard(path + "/" + part) { _ in true } }
    discard(path) { Self.notes.contains($0) }
  }

  private func discard(_ directory: String, where isGone: (String) -> Bool) {
    do {
      for name in try fileSystem.list(directory) where isGone(name) {
        do { try fileSystem.remove(directory + "/" + name) } catch {}
      }
    } catch {}
  }
}

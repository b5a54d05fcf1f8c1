import WAL

/// The data directory of a copy, before its store is opened.
public struct CopyDirectory: Sendable {
  public let path: String
  private let fileSystem: any FileSystem

  public init(_ path: String, fileSystem: any FileSystem = SystemFileSystem()) {
    self.path = path
    self.fileSystem = fileSystem
  }

  /// True when neither log nor snapshot is there.
  public func isEmpty() throws(WALError) -> Bool {
    guard try fileSystem.isDirectory(path) else { return true }
    let names = try fileSystem.list(path)
    if names.contains("wal"), try !SegmentFile.list(path + "/wal", in: fileSystem).isEmpty {
      return false
    }
    guard names.contains("snapshots") else { return true }
    return try SnapshotDirectory(path, fileSystem: fileSystem).list().isEmpty
  }

  /// Moves log and snapshots into a directory of their own under `diverged/`: nothing of them is
  /// removed. The log goes first; what an interruption leaves behind it is put away by the next call.
  ///
  /// - Parameter tail: what of it another history has replaced, where that is known: it is noted there.
  /// - Returns: where they are now.
  public func putAway(_ tail: LostTail? = nil) throws(WALError) -> String {
    let diverged = path + "/diverged"
    try fileSystem.makeDirectory(diverged)
    try fileSystem.syncDirectory(path)
    let taken = Set(try fileSystem.list(diverged))
    var number = 1
    while taken.contains("copy-\(number)") { number += 1 }
    let target = "\(diverged)/copy-\(number)"
    try fileSystem.makeDirectory(target)
    try fileSystem.syncDirectory(diverged)
    for name in ["wal", "snapshots"] where try fileSystem.list(path).contains(name) {
      try fileSystem.rename("\(path)/\(name)", to: "\(target)/\(name)")
      try fileSystem.syncDirectory(target)
      try fileSystem.syncDirectory(path)
    }
    if let tail { try tail.write(in: target, fileSystem: fileSystem) }
    return target
  }
}

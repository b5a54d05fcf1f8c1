import WAL

/// That this node may have acknowledged what it does not have any more: it began to copy into an empty
/// directory, and has not had all of its leader's since.
///
/// The empty file `lacks` in the data directory, so that a restart does not forget it.
public struct LackNote: Sendable {
  private let directory: String
  private let fileSystem: any FileSystem

  public init(_ directory: String, fileSystem: any FileSystem = SystemFileSystem()) {
    self.directory = directory
    self.fileSystem = fileSystem
  }

  private var path: String { directory + "/lacks" }

  public func isThere() throws(WALError) -> Bool {
    guard try fileSystem.isDirectory(directory) else { return false }
    return try fileSystem.list(directory).contains("lacks")
  }

  /// Makes it durable.
  public func write() throws(WALError) {
    try fileSystem.makeDirectory(directory)
    try fileSystem.open(path, .createOrOpen).sync()
    try fileSystem.syncDirectory(directory)
  }

  /// It has all of it again.
  public func remove() throws(WALError) {
    guard try isThere() else { return }
    try fileSystem.remove(path)
    try fileSystem.syncDirectory(directory)
  }
}

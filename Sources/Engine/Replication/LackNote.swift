import WAL

/// That this node may have acknowledged what it does not have any more: it began to copy into an empty
/// directory, and has neither had all of its leader's since nor begun an epoch.
///
/// The empty line `lacks` in the data directory, so that a restart does not forget it.
public struct LackNote: Sendable {
  private let note: DurableNote

  public init(_ directory: String, fileSystem: any FileSystem = SystemFileSystem()) {
    note = DurableNote(directory, "lacks", fileSystem: fileSystem)
  }

  public func isThere() throws(WALError) -> Bool { try note.isThere() }

  /// Makes it durable.
  public func write() throws(WALError) { try note.write("") }

  /// It has all of it again.
  public func remove() throws(WALError) { try note.remove() }
}

import Engine
import WAL

/// What a replica was told of its shard, so that it need not be told again when it starts with data.
///
/// In the file `announced` of the data directory: a line. It is worth no more than what the leader says
/// when it says it again, so one that cannot be read is none.
public struct AnnouncementNote: Sendable {
  private static let bytesMax = 64 << 10

  private let directory: CopyDirectory
  private let note: DurableNote

  public init(_ directory: String, fileSystem: any FileSystem = SystemFileSystem()) {
    self.directory = CopyDirectory(directory, fileSystem: fileSystem)
    note = DurableNote(directory, "announced", fileSystem: fileSystem)
  }

  /// Makes it durable.
  public func write(_ announcement: Announcement) throws(WALError) {
    try note.write(Announcement(announcement.membership, to: announcement.addressee).text)
  }

  /// Nil where there is none, where it cannot be read as one, and where there is no data yet: who has
  /// nothing follows whoever announces itself first.
  public func read() throws(WALError) -> Announcement? {
    guard let line = try note.read(bytes: Self.bytesMax), try !directory.isEmpty() else {
      return nil
    }
    return try? Announcement(line)
  }
}

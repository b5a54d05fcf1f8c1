import Engine
import WAL

/// What a replica was told of its shard, so that it need not be told again when it starts with data.
///
/// In the file `announced` of the data directory: a line. It is worth no more than what the leader says
/// when it says it again, so one that cannot be read is none.
public struct AnnouncementNote: Sendable {
  private static let bytesMax = 64 << 10

  private let directory: String
  private let fileSystem: any FileSystem

  public init(_ directory: String, fileSystem: any FileSystem = SystemFileSystem()) {
    self.directory = directory
    self.fileSystem = fileSystem
  }

  private var path: String { directory + "/announced" }

  /// Makes it durable.
  public func write(_ announcement: Announcement) throws(WALError) {
    let told = Announcement(announcement.membership, to: announcement.addressee)
    let temporary = path + ".tmp"
    let file = try fileSystem.open(temporary, .createOrOpen)
    // What a crash left behind may be longer; a line ends the note.
    try file.writeAll(Array((told.text + "\n").utf8), at: 0)
    try file.sync()
    try fileSystem.rename(temporary, to: path)
    try fileSystem.syncDirectory(directory)
  }

  /// Nil where there is none, where it cannot be read as one, and where there is no data yet: who has
  /// nothing follows whoever announces itself first.
  public func read() throws(WALError) -> Announcement? {
    let bytes: [UInt8]
    do {
      guard try !CopyDirectory(directory, fileSystem: fileSystem).isEmpty() else { return nil }
      bytes = try fileSystem.open(path, .readOnly).bytes(count: Self.bytesMax)
    } catch {
      guard error.isNotFound else { throw error }
      return nil
    }
    return try? Announcement(bytes.prefix { $0 != UInt8(ascii: "\n") })
  }
}

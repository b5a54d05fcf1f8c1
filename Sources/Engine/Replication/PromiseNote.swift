import WAL

/// The epoch below which this node follows nobody, and leads nothing: given to a node that is to lead.
///
/// In the file `promise` of the data directory: a line, as epochs are written.
public struct PromiseNote: Sendable {
  private let directory: String
  private let fileSystem: any FileSystem

  public init(_ directory: String, fileSystem: any FileSystem = SystemFileSystem()) {
    self.directory = directory
    self.fileSystem = fileSystem
  }

  private var path: String { directory + "/promise" }

  /// Makes the promise durable.
  public func write(_ epoch: Epoch) throws(WALError) {
    let temporary = path + ".tmp"
    let file = try fileSystem.open(temporary, .createOrOpen)
    // What a crash left behind may be longer; a line ends the note.
    try file.writeAll(Array(("\(epoch.number)-\(hexadecimal(epoch.node))\n").utf8), at: 0)
    try file.sync()
    try fileSystem.rename(temporary, to: path)
    try fileSystem.syncDirectory(directory)
  }

  /// Nil where none was given.
  ///
  /// - Throws: `setting` when the file is not what `write` has written: without it nobody knows what
  ///   was promised.
  public func read() throws(WALError) -> Epoch? {
    let bytes: [UInt8]
    do {
      bytes = try fileSystem.open(path, .readOnly).bytes(count: 256)
    } catch {
      guard error.isNotFound else { throw error }
      return nil
    }
    let line = String(decoding: bytes.prefix { $0 != UInt8(ascii: "\n") }, as: UTF8.self)
    guard let epoch = Epoch(line[...]) else {
      throw .setting(
        "\(path): it does not hold an epoch, as 2-00000000000a11ce: what this node has promised is not known"
      )
    }
    return epoch
  }
}

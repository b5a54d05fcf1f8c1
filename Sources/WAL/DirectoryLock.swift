/// Keeps every other process off a data directory, for as long as it is referenced.
public final class DirectoryLock: Sendable {
  private let file: any File

  /// - Throws: `locked` when another process has the directory.
  public init(
    _ directory: String, fileSystem: any FileSystem = SystemFileSystem()
  ) throws(WALError) {
    let path = directory + "/LOCK"
    file = try fileSystem.open(path, .createOrOpen)
    guard try file.tryLock(exclusive: true) else {
      let holder = try file.bytes(count: 32).prefix { $0 >= UInt8(ascii: "0") }
      let id = String(decoding: holder, as: UTF8.self)
      throw .locked(path: path, holder: id.isEmpty ? "another process" : "process \(id)")
    }
    let id = Array("\(processID())\n".utf8)
    do {
      // Only for the reader of the message above; a full disk must not keep a node from starting.
      try file.writeAll(id + [UInt8](repeating: 0, count: 16 - id.count), at: 0)
    } catch {
      guard error.isNoSpace else { throw error }
    }
  }
}

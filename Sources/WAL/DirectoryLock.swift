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
      throw .locked(path: path, holder: try Self.holder(of: file))
    }
    let id = Array("\(processID())\n".utf8)
    do {
      // Only for the reader of the message above; a full disk must not keep a node from starting.
      try file.writeAll(id + [UInt8](repeating: 0, count: 16 - id.count), at: 0)
    } catch {
      guard error.isNoSpace else { throw error }
    }
  }

  private init(_ file: any File) { self.file = file }

  /// Keeps whoever would write off a data directory that is only read, for as long as it is
  /// referenced. Several may read at once.
  ///
  /// - Returns: nil where nobody has ever had the directory: a copy, which nothing is made in.
  /// - Throws: `locked` when a process writes there.
  public static func reading(
    _ directory: String, fileSystem: any FileSystem = SystemFileSystem()
  ) throws(WALError) -> DirectoryLock? {
    let path = directory + "/LOCK"
    let file: any File
    do {
      file = try fileSystem.open(path, .readOnly)
    } catch {
      guard error.isNotFound else { throw error }
      return nil
    }
    guard try file.tryLock(exclusive: false) else {
      throw .locked(path: path, holder: try holder(of: file))
    }
    return DirectoryLock(file)
  }

  private static func holder(of file: any File) throws(WALError) -> String {
    let digits = try file.bytes(count: 32).prefix { $0 >= UInt8(ascii: "0") }
    let id = String(decoding: digits, as: UTF8.self)
    return id.isEmpty ? "another process" : "process \(id)"
  }
}

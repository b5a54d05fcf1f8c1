import WAL

/// A small file of the data directory, mostly a line, which appears whole or not at all, and outlives a loss of
/// power.
package struct DurableNote: Sendable {
  private let directory: String
  private let name: String
  private let fileSystem: any FileSystem

  package init(_ directory: String, _ name: String, fileSystem: any FileSystem) {
    self.directory = directory
    self.name = name
    self.fileSystem = fileSystem
  }

  package var path: String { directory + "/" + name }

  /// Makes the line durable, in place of what was there.
  ///
  /// - Parameter line: without a line feed.
  package func write(_ line: String) throws(WALError) {
    try write(bytes: Array((line + "\n").utf8))
  }

  /// Makes that the whole file.
  package func write(bytes: [UInt8]) throws(WALError) {
    try fileSystem.makeDirectory(directory)
    let temporary = path + ".tmp"
    // What a crash left behind may be longer.
    do throws(WALError) {
      try fileSystem.remove(temporary)
    } catch {
      guard error.isNotFound else { throw error }
    }
    let file = try fileSystem.open(temporary, .create)
    try file.writeAll(bytes, at: 0)
    try file.sync()
    try fileSystem.rename(temporary, to: path)
    try fileSystem.syncDirectory(directory)
  }

  /// The line; nil where there is no note.
  ///
  /// - Parameter most: bytes that are read of it.
  package func read(bytes most: Int) throws(WALError) -> [UInt8]? {
    try readAll(bytes: most).map { Array($0.prefix { $0 != UInt8(ascii: "\n") }) }
  }

  /// All of it, up to so many bytes; nil where there is no note.
  package func readAll(bytes most: Int) throws(WALError) -> [UInt8]? {
    do {
      return try fileSystem.open(path, .readOnly).bytes(count: most)
    } catch {
      guard error.isNotFound else { throw error }
      return nil
    }
  }

  package func isThere() throws(WALError) -> Bool {
    do {
      return try fileSystem.list(directory).contains(name)
    } catch {
      guard error.isNotFound else { throw error }
      return false
    }
  }

  /// Removes it, durably.
  package func remove() throws(WALError) {
    guard try isThere() else { return }
    try fileSystem.remove(path)
    try fileSystem.syncDirectory(directory)
  }
}

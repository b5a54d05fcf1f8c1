/// The directory `quarantine`: damaged files that are not needed, kept for whoever wants to look.
package struct Quarantine: Sendable {
  private let directory: String
  private let fileSystem: any FileSystem

  package init(_ directory: String, fileSystem: any FileSystem) {
    self.directory = directory
    self.fileSystem = fileSystem
  }

  /// Moves a file there, durably, under a name that nothing there has.
  ///
  /// - Returns: where it is now.
  package func take(_ path: String) throws(WALError) -> String {
    try fileSystem.makeDirectory(directory)
    try fileSystem.syncDirectory(parentDirectory(directory))
    let name = lastComponent(path)
    let taken = Set(try fileSystem.list(directory))
    var target = name
    var number = 1
    while taken.contains(target) {
      target = "\(name).\(number)"
      number += 1
    }
    target = directory + "/" + target
    try fileSystem.rename(path, to: target)
    try fileSystem.syncDirectory(directory)
    try fileSystem.syncDirectory(parentDirectory(path))
    return target
  }

  /// Makes a durable copy of a file there, which is about to be replaced. A copy that an interrupted run
  /// has made already will do.
  ///
  /// - Returns: where it is.
  /// - Throws: that of a system call; a file of which a part cannot be read has no copy.
  package func keepCopy(_ path: String) throws(WALError) -> String {
    try fileSystem.makeDirectory(directory)
    try fileSystem.syncDirectory(parentDirectory(directory))
    let name = lastComponent(path)
    let file = try fileSystem.open(path, .readOnly)
    let taken = Set(try fileSystem.list(directory))
    var target = name
    var number = 1
    while taken.contains(target) {
      let other = try fileSystem.open(directory + "/" + target, .readOnly)
      if try Self.isSame(file, other) {
        // Its name may not have been durable yet when that run was interrupted.
        try fileSystem.syncDirectory(directory)
        return directory + "/" + target
      }
      target = "\(name).\(number)"
      number += 1
    }
    target = directory + "/" + target
    let copy = try fileSystem.fresh(target + ".tmp")
    let size = try file.size()
    var offset: UInt64 = 0
    while offset < size {
      let bytes = try file.bytes(at: offset, count: Self.pieceBytes)
      guard !bytes.isEmpty else { break }
      try copy.writeAll(bytes, at: offset)
      offset += UInt64(bytes.count)
    }
    try copy.sync()
    try fileSystem.rename(target + ".tmp", to: target)
    try fileSystem.syncDirectory(directory)
    return target
  }

  private static let pieceBytes = 1 << 20

  private static func isSame(_ a: any File, _ b: any File) throws(WALError) -> Bool {
    let size = try a.size()
    guard try b.size() == size else { return false }
    var offset: UInt64 = 0
    while offset < size {
      let bytes = try a.bytes(at: offset, count: pieceBytes)
      guard !bytes.isEmpty, try b.bytes(at: offset, count: pieceBytes) == bytes else {
        return false
      }
      offset += UInt64(bytes.count)
    }
    return true
  }
}

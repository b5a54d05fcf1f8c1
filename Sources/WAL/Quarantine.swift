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
}

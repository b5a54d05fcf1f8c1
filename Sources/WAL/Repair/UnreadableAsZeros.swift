/// Files of which a part cannot be read: those sectors read as zeros, which no checksum is right for.
struct UnreadableAsZeros: FileSystem {
  let fileSystem: any FileSystem

  func open(_ path: String, _ mode: OpenMode) throws(WALError) -> any File {
    let file = try fileSystem.open(path, mode)
    return if case .readOnly = mode { ZeroingFile(file) } else { file }
  }

  func list(_ directory: String) throws(WALError) -> [String] { try fileSystem.list(directory) }

  func isDirectory(_ path: String) throws(WALError) -> Bool { try fileSystem.isDirectory(path) }

  func rename(_ path: String, to target: String) throws(WALError) {
    try fileSystem.rename(path, to: target)
  }

  func remove(_ path: String) throws(WALError) { try fileSystem.remove(path) }

  func makeDirectory(_ path: String) throws(WALError) { try fileSystem.makeDirectory(path) }

  func syncDirectory(_ path: String) throws(WALError) { try fileSystem.syncDirectory(path) }
}

/// A file that is only read.
private final class ZeroingFile: File {
  private static let sectorBytes: UInt64 = 4_096

  private let file: any File
  var path: String { file.path }

  init(_ file: any File) { self.file = file }

  func read(
    into target: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(WALError) -> Int {
    do {
      return try file.read(into: target, at: offset)
    } catch {
      guard case .system(.read, _, _) = error else { throw error }
    }
    // As much as is in one sector: the caller asks again for the rest.
    let size = try file.size()
    guard offset < size, target.count > 0 else { return 0 }
    let end = min(size, (offset / Self.sectorBytes + 1) * Self.sectorBytes)
    let count = min(target.count, Int(end - offset))
    let sector = UnsafeMutableRawBufferPointer(rebasing: target[..<count])
    do {
      return try file.read(into: sector, at: offset)
    } catch {
      guard case .system(.read, _, _) = error else { throw error }
      sector.initializeMemory(as: UInt8.self, repeating: 0)
      return count
    }
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(WALError) -> Int {
    try file.write(bytes, at: offset)
  }

  func sync() throws(WALError) { try file.sync() }
  func allocate(_ bytes: UInt64) throws(WALError) { try file.allocate(bytes) }
  func size() throws(WALError) -> UInt64 { try file.size() }
  func tryLock(exclusive: Bool) throws(WALError) -> Bool {
    try file.tryLock(exclusive: exclusive)
  }
  func unlock() throws(WALError) { try file.unlock() }
  func linkCount() throws(WALError) -> Int { try file.linkCount() }
}

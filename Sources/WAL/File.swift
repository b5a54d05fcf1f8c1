/// An open file. Offsets and sizes are in bytes.
///
/// The calls are those of the operating system, one to one: a `write` may be short. What loops and
/// what gives up is in the extension, so that a simulated disk exercises it.
public protocol File: AnyObject, Sendable {
  var path: String { get }
  /// Reads up to `target.count` bytes; fewer only at the end of the file.
  func read(into target: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(WALError) -> Int
  /// Writes at least one byte and returns how many.
  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(WALError) -> Int
  /// The same, past the system's cache where that can be done: for what nobody is going to read.
  func writeUncached(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(WALError) -> Int
  /// Makes the bytes, and the size that is needed to find them again, durable.
  ///
  /// After an error nobody knows what is on the disk, and a second call that succeeds proves
  /// nothing (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020).
  func sync() throws(WALError)
  /// Has the system begin to write what is not on the disk yet, and waits for nothing. A hint, which
  /// makes a later `sync` shorter: by itself it makes nothing durable.
  func beginSync()
  /// Makes the file that long and reserves the space; new bytes read as zero.
  func allocate(_ bytes: UInt64) throws(WALError)
  func size() throws(WALError) -> UInt64
  /// Locks the open file; false when another holder is in the way. Closing unlocks.
  func tryLock(exclusive: Bool) throws(WALError) -> Bool
  func unlock() throws(WALError)
  /// The number of names that the file has.
  func linkCount() throws(WALError) -> Int
}

public enum OpenMode: Sendable {
  case readOnly
  case readWrite
  /// Fails when there is a file of that name.
  case create
  case createOrOpen
}

/// The operating system's calls, as far as the log needs them: the one place to make them fail.
public protocol FileSystem: Sendable {
  func open(_ path: String, _ mode: OpenMode) throws(WALError) -> any File
  /// The open file of that name as it is best appended to in small pieces that are synced one by one.
  /// There are only zeros behind the end of what it holds.
  func appending(to file: any File, _ path: String) -> any File
  /// The names in a directory, in no order.
  func list(_ directory: String) throws(WALError) -> [String]
  func isDirectory(_ path: String) throws(WALError) -> Bool
  /// Gives a file another name in place of whatever had it. Durable once both directories are.
  func rename(_ path: String, to target: String) throws(WALError)
  func remove(_ path: String) throws(WALError)
  /// Creates a directory in an existing one; one that is there already will do.
  func makeDirectory(_ path: String) throws(WALError)
  /// Makes the names in a directory durable.
  func syncDirectory(_ path: String) throws(WALError)
}

extension FileSystem {
  public func appending(to file: any File, _ path: String) -> any File { file }
}

extension File {
  public func beginSync() {}

  public func writeUncached(
    _ bytes: UnsafeRawBufferPointer, at offset: UInt64
  ) throws(WALError) -> Int {
    try write(bytes, at: offset)
  }

  /// Writes all of `bytes`, in as many calls as it takes.
  public func writeAll(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(WALError) {
    var done = 0
    try writeAll(bytes, at: offset, written: &done)
  }

  /// The same; `done` says how many bytes were written when it throws.
  func writeAll(
    _ bytes: UnsafeRawBufferPointer, at offset: UInt64, written done: inout Int
  ) throws(WALError) {
    while done < bytes.count {
      let count = try write(
        UnsafeRawBufferPointer(rebasing: bytes[done...]), at: offset + UInt64(done))
      guard count > 0 else { throw .system(.write, path: path, errno: systemIOError) }
      done += count
    }
  }

  public func writeAll(_ bytes: [UInt8], at offset: UInt64) throws(WALError) {
    // `withUnsafeBytes` on an array rethrows untyped errors; a span's keeps the type.
    try bytes.span.bytes.withUnsafeBytes { (raw) throws(WALError) in try writeAll(raw, at: offset) }
  }

  /// Fills `target`; returns fewer bytes only at the end of the file.
  public func readAll(
    into target: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(WALError) -> Int {
    var done = 0
    while done < target.count {
      let rest = UnsafeMutableRawBufferPointer(rebasing: target[done...])
      let count = try read(into: rest, at: offset + UInt64(done))
      guard count > 0 else { break }
      done += count
    }
    return done
  }

  /// Up to `count` bytes from `offset`.
  public func bytes(at offset: UInt64 = 0, count: Int) throws(WALError) -> [UInt8] {
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(count, 1), alignment: 16)
    defer { buffer.deallocate() }
    let read = try readAll(
      into: UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]), at: offset)
    return Array(buffer[..<read])
  }

  /// Writes zeros over a range.
  ///
  /// - Parameter isUncached: past the system's cache, where nobody is going to need it there.
  func zero(_ range: Range<UInt64>, isUncached: Bool = false) throws(WALError) {
    var offset = range.lowerBound
    while offset < range.upperBound {
      let count = min(Zeros.shared.count, Int(range.upperBound - offset))
      let zeros = UnsafeRawBufferPointer(rebasing: Zeros.shared.bytes[..<count])
      let written =
        try isUncached ? writeUncached(zeros, at: offset) : write(zeros, at: offset)
      guard written > 0 else { throw .system(.write, path: path, errno: systemIOError) }
      offset += UInt64(written)
    }
  }
}

/// A mebibyte of zeros. Never written to after it was made, which makes sharing it safe.
struct Zeros: @unchecked Sendable {
  static let shared = Zeros()
  let bytes: UnsafeRawBufferPointer
  var count: Int { bytes.count }

  private init() {
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 4096)
    memory.initializeMemory(as: UInt8.self, repeating: 0)
    bytes = UnsafeRawBufferPointer(memory)
  }
}

/// The directory part of a path.
func parentDirectory(_ path: String) -> String {
  guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
  return slash == path.startIndex ? "/" : String(path[..<slash])
}

/// The part of a path behind its last slash.
package func lastComponent(_ path: String) -> String {
  guard let slash = path.utf8.lastIndex(of: UInt8(ascii: "/")) else { return path }
  return String(path[path.utf8.index(after: slash)...])
}

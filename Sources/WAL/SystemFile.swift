#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// The real disk. Every system call on a file that this module makes is in this file.
public struct SystemFileSystem: FileSystem {
  public init() {}

  public func open(_ path: String, _ mode: OpenMode) throws(WALError) -> any File {
    let flags: Int32 =
      switch mode {
      case .readOnly: O_RDONLY
      case .readWrite: O_RDWR
      case .create: O_RDWR | O_CREAT | O_EXCL
      case .createOrOpen: O_RDWR | O_CREAT
      }
    // Retried on EINTR: an open can block on network file systems.
    while true {
      #if canImport(Glibc)
        let descriptor = Glibc.open(path, flags | O_CLOEXEC, 0o644)
      #elseif canImport(Musl)
        let descriptor = Musl.open(path, flags | O_CLOEXEC, 0o644)
      #else
        let descriptor = Darwin.open(path, flags | O_CLOEXEC, 0o644)
      #endif
      if descriptor >= 0 { return SystemFile(path: path, descriptor: descriptor) }
      guard errno == EINTR else { throw .system(.open, path: path, errno: errno) }
    }
  }

  public func appending(to file: any File, _ path: String) -> any File {
    #if os(Linux)
      if let file = file as? SystemFile, let direct = DirectFile(file, path: path) { return direct }
    #endif
    return file
  }

  public func list(_ directory: String) throws(WALError) -> [String] {
    guard let stream = opendir(directory) else {
      throw .system(.list, path: directory, errno: errno)
    }
    defer { closedir(stream) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = readdir(stream) else {
        guard errno == 0 else { throw .system(.list, path: directory, errno: errno) }
        return names
      }
      let name = withUnsafeBytes(of: &entry.pointee.d_name) {
        String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != "." && name != ".." { names.append(name) }
    }
  }

  public func isDirectory(_ path: String) throws(WALError) -> Bool {
    var status = stat()
    guard stat(path, &status) == 0 else { throw .system(.status, path: path, errno: errno) }
    return status.st_mode & S_IFMT == S_IFDIR
  }

  public func rename(_ path: String, to target: String) throws(WALError) {
    #if canImport(Glibc)
      let result = Glibc.rename(path, target)
    #elseif canImport(Musl)
      let result = Musl.rename(path, target)
    #else
      let result = Darwin.rename(path, target)
    #endif
    guard result == 0 else { throw .system(.rename, path: path, errno: errno) }
  }

  public func remove(_ path: String) throws(WALError) {
    guard unlink(path) == 0 else { throw .system(.remove, path: path, errno: errno) }
  }

  public func makeDirectory(_ path: String) throws(WALError) {
    guard mkdir(path, 0o755) == 0 || errno == EEXIST else {
      throw .system(.makeDirectory, path: path, errno: errno)
    }
  }

  public func syncDirectory(_ path: String) throws(WALError) {
    #if canImport(Glibc)
      let descriptor = Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    #elseif canImport(Musl)
      let descriptor = Musl.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    #else
      let descriptor = Darwin.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    #endif
    guard descriptor >= 0 else { throw .system(.syncDirectory, path: path, errno: errno) }
    defer { close(descriptor) }
    guard fsync(descriptor) == 0 else { throw .system(.syncDirectory, path: path, errno: errno) }
  }
}

/// One file descriptor, closed with its last reference.
final class SystemFile: File {
  let path: String
  private let descriptor: Int32

  init(path: String, descriptor: Int32) {
    self.path = path
    self.descriptor = descriptor
  }

  deinit {
    // What must be durable was synced; an error here could not be told to anybody.
    close(descriptor)
  }

  func read(
    into target: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(WALError) -> Int {
    guard target.count > 0 else { return 0 }
    while true {
      let count = pread(descriptor, target.baseAddress!, target.count, off_t(offset))
      if count >= 0 { return count }
      guard errno == EINTR else { throw .system(.read, path: path, errno: errno) }
    }
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(WALError) -> Int {
    guard bytes.count > 0 else { return 0 }
    while true {
      let count = pwrite(descriptor, bytes.baseAddress!, bytes.count, off_t(offset))
      if count >= 0 { return count }
      guard errno == EINTR else { throw .system(.write, path: path, errno: errno) }
    }
  }

  #if os(Linux)
    func writeUncached(
      _ bytes: UnsafeRawBufferPointer, at offset: UInt64
    ) throws(WALError) -> Int {
      if let count = try DirectFile.write(bytes, at: offset, of: descriptor, path: path) {
        return count
      }
      return try write(bytes, at: offset)
    }
  #endif

  func sync() throws(WALError) {
    #if canImport(Darwin)
      guard fcntl(descriptor, F_FULLFSYNC) == 0 else {
        throw .system(.sync, path: path, errno: errno)
      }
    #else
      guard fdatasync(descriptor) == 0 else { throw .system(.sync, path: path, errno: errno) }
    #endif
  }

  func beginSync() {
    #if os(Linux)
      // Linux begins to write the pages that are to leave its cache (`mm/fadvise.c`); an error of the
      // disk is told to the next sync.
      _ = posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED)
    #endif
  }

  func allocate(_ bytes: UInt64) throws(WALError) {
    #if canImport(Glibc) || canImport(Musl)
      while true {
        let code = posix_fallocate(descriptor, 0, off_t(bytes))
        if code == 0 { return }
        guard code == EINTR else { throw .system(.allocate, path: path, errno: code) }
      }
    #else
      // Space is not reserved here: a lack of it shows at the write.
      guard ftruncate(descriptor, off_t(bytes)) == 0 else {
        throw .system(.allocate, path: path, errno: errno)
      }
    #endif
  }

  func size() throws(WALError) -> UInt64 {
    UInt64(try status().st_size)
  }

  func linkCount() throws(WALError) -> Int {
    Int(try status().st_nlink)
  }

  private func status() throws(WALError) -> stat {
    var status = stat()
    guard fstat(descriptor, &status) == 0 else {
      throw .system(.status, path: path, errno: errno)
    }
    return status
  }

  func tryLock(exclusive: Bool) throws(WALError) -> Bool {
    while true {
      if flock(descriptor, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0 { return true }
      if errno == EWOULDBLOCK { return false }
      guard errno == EINTR else { throw .system(.lock, path: path, errno: errno) }
    }
  }

  func unlock() throws(WALError) {
    guard flock(descriptor, LOCK_UN) == 0 else { throw .system(.lock, path: path, errno: errno) }
  }
}

package let systemIOError = EIO
package let systemNoSpace: [Int32] = [ENOSPC, EDQUOT]
let systemNotFound = ENOENT

package func systemMessage(_ code: Int32) -> String { String(cString: strerror(code)) }

/// Sleeps a moment.
func pause(milliseconds: UInt32) { usleep(milliseconds * 1_000) }

/// Sleeps at most that long.
package func sleep(milliseconds: UInt32) { usleep(milliseconds * 1_000) }

package func sleep(microseconds: UInt32) { usleep(microseconds) }

/// What the calling thread has had of the processors.
package func threadNanoseconds() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// How many processors there are for this process's threads.
package func processorCount() -> Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

/// Has the calling thread give way to others, for as long as it lives; it keeps a third of what one of
/// them has (a niceness of 5, sched(7)), because what it does has to keep up with them in the end.
package func makeThreadBackground() {
  #if os(Linux)
    // A niceness is a thread's own on Linux. That it cannot be set is no reason not to work.
    _ = setpriority(__priority_which_t(PRIO_PROCESS.rawValue), 0, 5)
  #endif
}

/// The id of this process, for the lock file's reader.
func processID() -> Int32 { getpid() }

/// Where times come from. Replaced in tests.
public struct LogClock: Sendable {
  /// Milliseconds since 1970.
  public var wallMilliseconds: @Sendable () -> UInt64
  /// Nanoseconds since some moment; never goes back.
  public var monotonicNanoseconds: @Sendable () -> UInt64

  public init(
    wallMilliseconds: @escaping @Sendable () -> UInt64,
    monotonicNanoseconds: @escaping @Sendable () -> UInt64
  ) {
    self.wallMilliseconds = wallMilliseconds
    self.monotonicNanoseconds = monotonicNanoseconds
  }

  public static let system = LogClock(
    wallMilliseconds: {
      let time = read(CLOCK_REALTIME)
      return UInt64(time.tv_sec) * 1_000 + UInt64(time.tv_nsec) / 1_000_000
    },
    monotonicNanoseconds: {
      let time = read(CLOCK_MONOTONIC)
      return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    })

  private static func read(_ clock: clockid_t) -> timespec {
    var time = timespec()
    clock_gettime(clock, &time)
    return time
  }
}

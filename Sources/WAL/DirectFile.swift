#if os(Linux)
  #if canImport(Glibc)
    import Glibc
  #else
    import Musl
  #endif

  /// A file that is appended to past the page cache: small pieces, each of them synced.
  ///
  /// A sync of cached pages has to find, lock and write them first; here the blocks go to the disk
  /// with the write, and the sync has nothing left to do but to flush the disk's own cache. That takes
  /// whole blocks, so the last ones are kept here, and written again with the next piece, which may
  /// begin where the end marker of this one stands. What is behind the piece in its last block becomes
  /// zero: behind its end a log has nothing of use.
  ///
  /// Large pieces, and whatever the disk does not take this way, go through the page cache. The
  /// system keeps both in step: a direct write drops the pages it overwrites, after writing those that
  /// were changed.
  ///
  /// `@unchecked Sendable`: as a log has one writer, one thread writes; the rest is the system's file.
  final class DirectFile: File, @unchecked Sendable {
    static let blockBytes = 4_096
    /// A larger piece is written as fast through the page cache.
    static let pieceBytesMax = 64 << 10
    // Not among what the C library's module declares.
    #if arch(x86_64) || arch(i386)
      private static let directFlag: Int32 = 0o40000
    #else
      private static let directFlag: Int32 = 0o200000
    #endif

    private let cached: SystemFile
    private let descriptor: Int32
    private let buffer: UnsafeMutableRawBufferPointer
    /// What `buffer` begins with: bytes of the file, from a multiple of `blockBytes` on.
    private var kept: Range<UInt64> = 0..<0
    private var isRefused = false

    /// - Returns: nil where the file's system has no such writing.
    init?(_ file: SystemFile, path: String) {
      let flags = O_RDWR | O_CLOEXEC | Self.directFlag
      #if canImport(Glibc)
        descriptor = Glibc.open(path, flags)
      #else
        descriptor = Musl.open(path, flags)
      #endif
      cached = file
      buffer = .allocate(
        byteCount: Self.pieceBytesMax + 2 * Self.blockBytes, alignment: Self.blockBytes)
      guard descriptor >= 0 else { return nil }
    }

    deinit {
      if descriptor >= 0 { close(descriptor) }
      buffer.deallocate()
    }

    var path: String { cached.path }

    /// - Precondition: there is nothing of use behind the piece, up to the end of its last block.
    func write(_ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(WALError) -> Int {
      guard bytes.count > 0, bytes.count <= Self.pieceBytesMax, !isRefused else {
        return try writeCached(bytes, at: offset)
      }
      let head = Int(offset % UInt64(Self.blockBytes))
      let start = offset - UInt64(head)
      if kept.contains(start), kept.upperBound >= offset {
        memmove(buffer.baseAddress!, buffer.baseAddress! + Int(start - kept.lowerBound), head)
      } else {
        kept = 0..<0
        guard try loadHead(head, at: start) else { return try writeCached(bytes, at: offset) }
      }
      let used = head + bytes.count
      let whole = (used + Self.blockBytes - 1) / Self.blockBytes * Self.blockBytes
      UnsafeMutableRawBufferPointer(rebasing: buffer[head..<used]).copyMemory(from: bytes)
      memset(buffer.baseAddress! + used, 0, whole - used)
      kept = 0..<0
      var written = pwrite(descriptor, buffer.baseAddress!, whole, off_t(start))
      while written < 0, errno == EINTR {
        written = pwrite(descriptor, buffer.baseAddress!, whole, off_t(start))
      }
      guard written == whole else {
        guard written >= 0 || errno == EINVAL else {
          throw .system(.write, path: path, errno: errno)
        }
        // Not aligned as this disk wants it, or cut short by it.
        if written < 0 { isRefused = true }
        return try writeCached(bytes, at: offset)
      }
      let next = max(used - Format.endMarkerBytes, 0) / Self.blockBytes * Self.blockBytes
      if next > 0 {
        memmove(buffer.baseAddress!, buffer.baseAddress! + next, used - next)
      }
      kept = start + UInt64(next)..<start + UInt64(used)
      return bytes.count
    }

    /// Writes whole blocks past the page cache to a file that is open otherwise, however many: what nobody is going to
    /// read should not take the place of anything there.
    ///
    /// - Returns: how many bytes; nil where nothing was written because it cannot be done, or is not worth it.
    static func write(
      _ bytes: UnsafeRawBufferPointer, at offset: UInt64, of file: Int32, path: String
    ) throws(WALError) -> Int? {
      guard bytes.count >= pieceBytesMax, bytes.count % blockBytes == 0,
        offset % UInt64(blockBytes) == 0
      else { return nil }
      // The file itself, whatever its name is now.
      let name = "/proc/self/fd/\(file)"
      let flags = O_WRONLY | O_CLOEXEC | directFlag
      #if canImport(Glibc)
        let descriptor = Glibc.open(name, flags)
      #else
        let descriptor = Musl.open(name, flags)
      #endif
      guard descriptor >= 0 else { return nil }
      defer { close(descriptor) }
      while true {
        let written = pwrite(descriptor, bytes.baseAddress!, bytes.count, off_t(offset))
        if written > 0 { return written }
        guard written < 0, errno != EINVAL else { return nil }
        guard errno == EINTR else { throw .system(.write, path: path, errno: errno) }
      }
    }

    private func writeCached(
      _ bytes: UnsafeRawBufferPointer, at offset: UInt64
    ) throws(WALError) -> Int {
      kept = 0..<0
      return try cached.write(bytes, at: offset)
    }

    /// Reads what the first block holds before the piece.
    ///
    /// - Returns: false when the file is shorter.
    private func loadHead(_ count: Int, at start: UInt64) throws(WALError) -> Bool {
      let head = UnsafeMutableRawBufferPointer(rebasing: buffer[..<count])
      return try cached.readAll(into: head, at: start) == count
    }

    func read(
      into target: UnsafeMutableRawBufferPointer, at offset: UInt64
    ) throws(WALError) -> Int {
      try cached.read(into: target, at: offset)
    }

    func sync() throws(WALError) { try cached.sync() }
    func allocate(_ bytes: UInt64) throws(WALError) { try cached.allocate(bytes) }
    func size() throws(WALError) -> UInt64 { try cached.size() }
    func tryLock(exclusive: Bool) throws(WALError) -> Bool {
      try cached.tryLock(exclusive: exclusive)
    }
    func unlock() throws(WALError) { try cached.unlock() }
    func linkCount() throws(WALError) -> Int { try cached.linkCount() }
  }
#endif

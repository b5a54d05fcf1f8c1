import Synchronization

/// The memory of a few windows that are not used now. A log that is sent to a replica is read by one window after the
/// other: to map each anew, page by page, costs as much as to read into it.
private enum WindowMemory {
  struct Block: @unchecked Sendable {
    let bytes: UnsafeMutableRawBufferPointer
  }

  static let blockBytes = 256 << 10
  private static let keptMax = 2
  private static let kept = Mutex<[Block]>([])

  static func take(_ bytes: Int) -> UnsafeMutableRawBufferPointer {
    if bytes == blockBytes, let block = kept.withLock({ $0.popLast() }) { return block.bytes }
    return .allocate(byteCount: bytes, alignment: 4096)
  }

  static func giveBack(_ bytes: UnsafeMutableRawBufferPointer) {
    let block = Block(bytes: bytes)
    let isKept = kept.withLock { kept in
      guard block.bytes.count == blockBytes, kept.count < keptMax else { return false }
      kept.append(block)
      return true
    }
    if !isKept { bytes.deallocate() }
  }
}

/// A piece of a file in memory. Owns its memory; reading elsewhere replaces the piece.
struct ReadWindow: ~Copyable {
  // Invariant: buffer[..<count] are the bytes of the file from `start`.
  private var buffer: UnsafeMutableRawBufferPointer
  private var start: UInt64 = 0
  private var count = 0
  /// Set whenever bytes are read from the file; for the owner to reset.
  var isFresh = false

  private let chunkBytes: Int

  /// - Parameter chunkBytes: what is read at once; by default it is small enough to stay in the processor's
  ///   second-level cache while it is checked.
  init(chunkBytes: Int = WindowMemory.blockBytes) {
    self.chunkBytes = chunkBytes
    buffer = WindowMemory.take(chunkBytes)
  }

  deinit {
    WindowMemory.giveBack(buffer)
  }

  /// Forgets what was read, because the file may have changed.
  mutating func invalidate() {
    count = 0
  }

  /// Makes `wanted` bytes from `offset` available, and returns how many there are before the
  /// file's end.
  @inline(__always)
  mutating func load(
    _ file: any File, at offset: UInt64, count wanted: Int
  ) throws(WALError) -> Int {
    if offset >= start, offset - start <= UInt64(count),
      wanted <= count - Int(offset - start)
    {
      return wanted
    }
    return try fill(file, at: offset, count: wanted)
  }

  private mutating func fill(
    _ file: any File, at offset: UInt64, count wanted: Int
  ) throws(WALError) -> Int {
    if wanted > buffer.count {
      WindowMemory.giveBack(buffer)
      buffer = .allocate(byteCount: roundUp(wanted, to: chunkBytes), alignment: 4096)
    }
    count = 0
    count = try file.readAll(into: buffer, at: offset)
    start = offset
    isFresh = true
    return min(wanted, count)
  }

  /// The bytes of a range that `load` has made available.
  @inline(__always)
  func bytes(at offset: UInt64, count wanted: Int) -> UnsafeRawBufferPointer {
    let from = Int(offset - start)
    precondition(from >= 0 && from + wanted <= count)
    return UnsafeRawBufferPointer(rebasing: buffer[from..<from + wanted])
  }

  /// How many bytes from `offset` on are in memory.
  func available(at offset: UInt64) -> Int {
    offset >= start && offset - start <= UInt64(count) ? count - Int(offset - start) : 0
  }
}

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
  init(chunkBytes: Int = 256 << 10) {
    self.chunkBytes = chunkBytes
    buffer = .allocate(byteCount: chunkBytes, alignment: 4096)
  }

  deinit {
    buffer.deallocate()
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
      buffer.deallocate()
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

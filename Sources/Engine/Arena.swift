import CMemory

/// The memory of one stripe's entries: chunks that are filled from the front and emptied by cleaning.
///
/// Log-structured memory (Rumble et al., "Log-structured Memory for DRAM-based Storage", FAST 2014):
/// entries of any size stand side by side, and a chunk of which less than half is alive is emptied by
/// moving what lives. So whatever sizes come and go, at most about twice the live bytes are held, and
/// freeing a byte costs copying at most one.
///
/// Belongs to a stripe, and is changed only under its lock.
struct Arena: ~Copyable {
  static let chunkBytes = 64 << 10
  /// References count units of this many bytes.
  private static let unitBytes = 8
  private static let chunkUnitBits: UInt32 = 13

  private struct Chunk {
    var base: UnsafeMutableRawPointer?
    var usedBytes: Int
    var liveBytes: Int
    var isToBeCleaned = false
  }

  // Invariants: chunk 0 does not exist, so that no reference is 0. `current` is the chunk that is
  // being filled, or 0. Every other chunk with a base is at least half alive, or in `toClean`.
  private var chunks: [Chunk] = [Chunk(base: nil, usedBytes: 0, liveBytes: 0)]
  private var unused: [Int] = []
  private var toClean: [Int] = []
  private var current = 0
  /// Bytes of the entries that are alive.
  private(set) var liveBytes = 0
  private let chunksMax: Int

  /// - Parameter bytesMax: from then on `isNearlyFull`. References last for 32 GiB.
  init(bytesMax: Int = 28 << 30) {
    chunksMax = bytesMax / Self.chunkBytes
  }

  deinit {
    for chunk in chunks {
      guard let base = chunk.base else { continue }
      Self.forEachLive(in: chunk) { _ = $0.takeLarge() }
      base.deallocate()
    }
  }

  @inline(__always)
  func entry(_ reference: UInt32) -> Entry {
    let chunk = Int(reference >> Self.chunkUnitBits)
    let unit = Int(reference & ((1 << Self.chunkUnitBits) - 1))
    return Entry(base: chunks[chunk].base! + unit * Self.unitBytes)
  }

  /// Has the processor fetch an entry's header and its key, if that is short.
  @inline(__always)
  func prefetch(_ reference: UInt32) {
    let base = entry(reference).base
    shiplog_memory_prefetch(base)
    shiplog_memory_prefetch(base + 48)
  }

  /// The same for where the next entry will be, most likely.
  @inline(__always)
  func prefetchEnd() {
    guard current != 0 else { return }
    let end = chunks[current].base! + chunks[current].usedBytes
    shiplog_memory_prefetch_for_write(end)
    shiplog_memory_prefetch_for_write(end + 64)
    shiplog_memory_prefetch_for_write(end + 128)
  }

  /// True when the references are about to be used up. The caller adds no more then.
  var isNearlyFull: Bool { chunksHeld > chunksMax }
  /// Bytes of all chunks.
  var heldBytes: Int { chunksHeld * Self.chunkBytes }
  private var chunksHeld: Int { chunks.count - 1 - unused.count }

  /// Room for an entry, to be written before anything else is done.
  mutating func allocate(_ bytes: Int) -> UInt32 {
    precondition(bytes % Self.unitBytes == 0 && bytes <= Self.chunkBytes)
    if current == 0 || chunks[current].usedBytes + bytes > Self.chunkBytes {
      beginChunk()
    }
    let offset = chunks[current].usedBytes
    chunks[current].usedBytes += bytes
    chunks[current].liveBytes += bytes
    liveBytes += bytes
    return UInt32(current) << Self.chunkUnitBits | UInt32(offset / Self.unitBytes)
  }

  private mutating func beginChunk() {
    precondition(
      !unused.isEmpty || chunks.count < 1 << (32 - Self.chunkUnitBits), "references used up")
    let full = current
    let chunk = Chunk(
      base: .allocate(byteCount: Self.chunkBytes, alignment: 16), usedBytes: 0, liveBytes: 0)
    if let number = unused.popLast() {
      chunks[number] = chunk
      current = number
    } else {
      current = chunks.count
      chunks.append(chunk)
    }
    if full != 0 { considerCleaning(full) }
  }

  private mutating func considerCleaning(_ number: Int) {
    guard number != current, chunks[number].liveBytes * 2 < chunks[number].usedBytes,
      !chunks[number].isToBeCleaned
    else { return }
    chunks[number].isToBeCleaned = true
    toClean.append(number)
  }

  /// Frees an entry. `clean` may have work to do then.
  ///
  /// - Returns: its large value, which is the caller's now.
  mutating func free(_ reference: UInt32) -> LargeValue? {
    let entry = entry(reference)
    let bytes = entry.bytes
    let large = entry.takeLarge()
    entry.flags.insert(.dead)
    liveBytes -= bytes
    let number = Int(reference >> Self.chunkUnitBits)
    chunks[number].liveBytes -= bytes
    considerCleaning(number)
    return large
  }

  var needsCleaning: Bool { !toClean.isEmpty }

  /// Moves what lives out of the chunks that are mostly dead, and gives them back.
  ///
  /// - Parameters:
  ///   - most: so many chunks at most.
  ///   - moved: called for each entry that was moved, with where it was and is; the references to it are
  ///     the caller's to change.
  @inline(__always)
  mutating func clean(chunks most: Int, moved: (Entry, _ old: UInt32, _ new: UInt32) -> Void) {
    var left = most
    while left > 0, let number = toClean.popLast() {
      left -= 1
      let chunk = chunks[number]
      Self.forEachLive(in: chunk) { entry in
        let bytes = entry.bytes
        let new = allocate(bytes)
        // The copy has been counted; the original goes.
        liveBytes -= bytes
        let target = self.entry(new)
        target.base.copyMemory(from: entry.base, byteCount: bytes)
        let unit = (entry.base - chunk.base!) / Self.unitBytes
        moved(target, UInt32(number) << Self.chunkUnitBits | UInt32(unit), new)
      }
      chunk.base!.deallocate()
      chunks[number] = Chunk(base: nil, usedBytes: 0, liveBytes: 0)
      unused.append(number)
    }
  }

  private static func forEachLive(in chunk: Chunk, _ body: (Entry) -> Void) {
    var offset = 0
    while offset < chunk.usedBytes {
      let entry = Entry(base: chunk.base! + offset)
      // Read first: `body` may give the entry away.
      offset += entry.bytes
      if !entry.flags.contains(.dead) { body(entry) }
    }
  }
}

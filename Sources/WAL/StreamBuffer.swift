/// The bytes of a stream that are needed still. Owns its memory.
struct StreamBuffer: ~Copyable {
  // Invariant: memory[start..<end] are the bytes of the stream from `offset`, and what was consumed
  // since the last append is right before them.
  private var memory: UnsafeMutableRawBufferPointer
  private var start = 0
  private var end = 0
  private(set) var offset: UInt64 = 0

  private static let keptBytesMax = 1 << 20

  init() {
    memory = .allocate(byteCount: 64 << 10, alignment: 16)
  }

  deinit {
    memory.deallocate()
  }

  var count: Int { end - start }

  mutating func append(_ bytes: UnsafeRawBufferPointer) {
    guard let source = bytes.baseAddress, bytes.count > 0 else { return }
    let needed = count + bytes.count
    let isTooLarge = memory.count > Self.keptBytesMax && needed <= Self.keptBytesMax
    if needed > memory.count || isTooLarge {
      let frameBytesMax = Format.frameHeaderBytes + Format.frameRecordsBytesMax
      let larger = UnsafeMutableRawBufferPointer.allocate(
        byteCount: isTooLarge ? needed : max(needed, min(2 * memory.count, frameBytesMax)),
        alignment: 16)
      larger.copyMemory(from: first(count))
      memory.deallocate()
      memory = larger
      (start, end) = (0, count)
    } else if end + bytes.count > memory.count {
      memory.copyMemory(from: first(count))
      (start, end) = (0, count)
    }
    (memory.baseAddress! + end).copyMemory(from: source, byteCount: bytes.count)
    end += bytes.count
  }

  func first(_ wanted: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: memory[start..<start + wanted])
  }

  /// The bytes right before `offset`.
  func consumed(_ wanted: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: memory[start - wanted..<start])
  }

  @inline(__always)
  func word(at index: Int) -> UInt64 {
    precondition(index >= 0 && index + 8 <= count)
    return UInt64(
      littleEndian: memory.loadUnaligned(fromByteOffset: start + index, as: UInt64.self))
  }

  mutating func consume(_ wanted: Int) {
    precondition(wanted >= 0 && wanted <= count)
    start += wanted
    offset += UInt64(wanted)
  }
}

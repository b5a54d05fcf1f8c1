/// Byte strings in ascending order, packed into one block of memory, as in a slotted page:
///
///     0          2 * count   where each string begins, in their order
///                            room
///     start      capacity    the strings, each behind its length (2 bytes), in any order
///
/// Strings that were removed leave gaps, which go when the block is written anew. It grows in small
/// steps, so that little of it is room.
///
/// Bound: less than 64 KiB in all, which is its owner's to see to.
struct KeyBlock: ~Copyable {
  private static let stepBytes = 256
  /// Room for some more strings, wherever the block is written anew for one.
  private static let roomBytes = 192
  /// What a string takes beside its bytes: its offset and its length.
  static let overheadBytes = 4

  private var base: UnsafeMutableRawPointer
  private(set) var capacity: Int
  private var start: Int
  private(set) var count = 0
  /// Bytes of the strings that are there, with their overhead.
  private(set) var liveBytes = 0

  /// - Parameter bytes: what is about to be added.
  init(forBytes bytes: Int = 0) {
    capacity = roundedUp(max(bytes, 1), to: Self.stepBytes)
    base = .allocate(byteCount: capacity, alignment: 16)
    start = capacity
  }

  deinit {
    base.deallocate()
  }

  @inline(__always)
  subscript(index: Int) -> UnsafeRawBufferPointer {
    let offset = Int(base.load(fromByteOffset: 2 * index, as: UInt16.self))
    let count = Int(base.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
    return UnsafeRawBufferPointer(start: base + offset + 2, count: count)
  }

  // MARK: - Searching

  /// The number of strings below `key`.
  @inline(__always)
  func lowerBound(_ key: UnsafeRawBufferPointer) -> Int {
    bound { order(self[$0], key) < 0 }
  }

  /// The number of strings up to `key`, itself included.
  @inline(__always)
  func upperBound(_ key: UnsafeRawBufferPointer) -> Int {
    bound { order(self[$0], key) <= 0 }
  }

  @inline(__always)
  private func bound(isBefore: (Int) -> Bool) -> Int {
    var (low, high) = (0, count)
    while low < high {
      let middle = (low + high) / 2
      if isBefore(middle) { low = middle + 1 } else { high = middle }
    }
    return low
  }

  // MARK: - Changing

  /// Adds a string, whose place is `index`.
  mutating func insert(_ key: UnsafeRawBufferPointer, at index: Int) {
    let bytes = key.count + Self.overheadBytes
    if start - 2 * count < bytes { rewrite(forBytes: liveBytes + bytes + Self.roomBytes) }
    write(key)
    let slot = base + 2 * index
    (slot + 2).copyMemory(from: slot, byteCount: 2 * (count - index))
    slot.storeBytes(of: UInt16(start), as: UInt16.self)
    count += 1
    liveBytes += bytes
  }

  mutating func append(_ key: UnsafeRawBufferPointer) { insert(key, at: count) }

  /// Adds all of another block, which are above those here.
  mutating func append(_ other: borrowing KeyBlock) {
    if start - 2 * count < other.liveBytes { rewrite(forBytes: liveBytes + other.liveBytes) }
    for index in 0..<other.count { append(other[index]) }
  }

  mutating func remove(at index: Int) {
    liveBytes -= self[index].count + Self.overheadBytes
    count -= 1
    let slot = base + 2 * index
    slot.copyMemory(from: slot + 2, byteCount: 2 * (count - index))
    if capacity > 2 * Self.stepBytes, 2 * liveBytes < capacity {
      rewrite(forBytes: liveBytes + Self.roomBytes)
    }
  }

  /// Cuts the block.
  ///
  /// - Returns: the strings from `index` on, which are not here any more.
  mutating func split(at index: Int) -> KeyBlock {
    var bytes = 0
    for moved in index..<count { bytes += self[moved].count + Self.overheadBytes }
    var upper = KeyBlock(forBytes: bytes)
    for moved in index..<count { upper.append(self[moved]) }
    count = index
    liveBytes -= bytes
    rewrite(forBytes: liveBytes)
    return upper
  }

  /// Where to cut it into halves of about equal bytes: from 1 to `last`.
  func middle(atMost last: Int) -> Int {
    var bytes = 0
    for index in 0..<last {
      bytes += self[index].count + Self.overheadBytes
      if 2 * bytes >= liveBytes { return index + 1 }
    }
    return last
  }

  private mutating func write(_ key: UnsafeRawBufferPointer) {
    start -= 2 + key.count
    let target = base + start
    target.storeBytes(of: UInt16(key.count), as: UInt16.self)
    if let source = key.baseAddress { (target + 2).copyMemory(from: source, byteCount: key.count) }
  }

  /// Writes the block anew, without gaps, with room for that much in all.
  private mutating func rewrite(forBytes bytes: Int) {
    var new = KeyBlock(forBytes: bytes)
    for index in 0..<count {
      new.write(self[index])
      new.base.storeBytes(of: UInt16(new.start), toByteOffset: 2 * index, as: UInt16.self)
    }
    swap(&base, &new.base)
    swap(&capacity, &new.capacity)
    start = new.start
  }
}

/// Below, at or above zero as `a` is below, equal to or above `b`, as bytes.
@inline(__always)
func order(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Int {
  let common = min(a.count, b.count)
  var offset = 0
  while offset + 8 <= common {
    let x = UInt64(bigEndian: a.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    let y = UInt64(bigEndian: b.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    if x != y { return x < y ? -1 : 1 }
    offset += 8
  }
  while offset < common {
    if a[offset] != b[offset] { return a[offset] < b[offset] ? -1 : 1 }
    offset += 1
  }
  return a.count - b.count
}

@inline(__always)
private func roundedUp(_ number: Int, to multiple: Int) -> Int {
  (number + multiple - 1) / multiple * multiple
}

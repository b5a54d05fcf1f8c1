/// Keys that were copied out of where they are kept, one behind the other.
package struct KeyRun {
  private struct Key {
    /// The key's first eight bytes as a number, zeros behind its end: most comparisons need no more.
    var start: UInt64
    var offset: Int
    var count: Int
  }

  private var keys: [Key] = []
  /// All the keys' bytes.
  private var memory: [UInt8] = []

  package init() {}

  package var count: Int { keys.count }
  package var isEmpty: Bool { keys.isEmpty }
  package var bytes: Int { memory.count }

  package mutating func reserveCapacity(keys count: Int, bytes: Int) {
    keys.reserveCapacity(count)
    memory.reserveCapacity(bytes)
  }

  package mutating func append(_ key: UnsafeRawBufferPointer) {
    keys.append(Key(start: Self.start(of: key), offset: memory.count, count: key.count))
    memory.append(contentsOf: key)
  }

  /// Keeps the memory.
  package mutating func removeAll() {
    keys.removeAll(keepingCapacity: true)
    memory.removeAll(keepingCapacity: true)
  }

  /// Calls `body` with the keys at those places.
  package func forEach(
    in range: Range<Int>, _ body: (UnsafeRawBufferPointer) -> Void
  ) {
    memory.withUnsafeBytes { memory in
      for key in keys[range] { body(Self.bytes(key, memory)) }
    }
  }

  package func withKey<R>(at index: Int, _ body: (UnsafeRawBufferPointer) -> R) -> R {
    memory.withUnsafeBytes { body(Self.bytes(keys[index], $0)) }
  }

  /// Puts the keys in ascending order.
  package mutating func sort() {
    let memory = memory
    memory.withUnsafeBytes { memory in
      keys.sort { a, b in
        guard a.start == b.start else { return a.start < b.start }
        return order(Self.bytes(a, memory), Self.bytes(b, memory)) < 0
      }
    }
  }

  @inline(__always)
  private static func bytes(_ key: Key, _ memory: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer
  {
    UnsafeRawBufferPointer(rebasing: memory[key.offset..<key.offset + key.count])
  }

  @inline(__always)
  private static func start(of key: UnsafeRawBufferPointer) -> UInt64 {
    guard key.count < 8 else {
      return UInt64(bigEndian: key.loadUnaligned(as: UInt64.self))
    }
    var start: UInt64 = 0
    for index in 0..<key.count { start |= UInt64(key[index]) << UInt64(56 - 8 * index) }
    return start
  }
}

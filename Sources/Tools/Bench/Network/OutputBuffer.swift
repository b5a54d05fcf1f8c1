#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Bytes that are to be sent: requests are appended at the end, and what is sent goes from the start.
/// Owns its memory, which grows to what was once needed.
struct OutputBuffer: ~Copyable {
  private var memory: UnsafeMutableRawPointer
  private var capacity: Int
  private var start = 0
  private var end = 0

  init() {
    capacity = 512
    memory = .allocate(byteCount: capacity, alignment: 1)
  }

  deinit { memory.deallocate() }

  var isEmpty: Bool { start == end }
  var unsent: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: memory + start, count: end - start)
  }

  mutating func clear() {
    start = 0
    end = 0
  }

  mutating func removeFirst(_ count: Int) {
    start += count
    if start == end { clear() }
  }

  mutating func reserve(_ count: Int) {
    guard capacity - end < count else { return }
    if capacity - (end - start) < count {
      capacity = max(2 * capacity, end - start + count)
      let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 1)
      larger.copyMemory(from: memory + start, byteCount: end - start)
      memory.deallocate()
      memory = larger
    } else {
      memmove(memory, memory + start, end - start)
    }
    end -= start
    start = 0
  }

  mutating func append(_ bytes: [UInt8]) {
    reserve(bytes.count)
    bytes.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { return }
      (memory + end).copyMemory(from: base, byteCount: bytes.count)
    }
    end += bytes.count
  }

  /// Appends decimal digits, with zeros in front of them up to `places`, 20 at most.
  mutating func append(_ number: UInt64, places: Int) {
    reserve(20)
    var rest = number
    var digits = 0
    let last = max(places, Self.digits(of: number))
    while digits < last {
      digits += 1
      (memory + end + last - digits).storeBytes(
        of: UInt8(ascii: "0") + UInt8(rest % 10), as: UInt8.self)
      rest /= 10
    }
    end += last
  }

  private static func digits(of number: UInt64) -> Int {
    var (rest, count) = (number, 1)
    while rest >= 10 {
      rest /= 10
      count += 1
    }
    return count
  }
}

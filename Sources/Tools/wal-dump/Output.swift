/// Bytes on their way out, gathered in one buffer. Owns the buffer.
///
/// Appending never fails: after an error everything is dropped, and `check()` says so.
struct Output: ~Copyable {
  // Invariant: 0 <= end <= buffer.count, and buffer[..<end] waits to be written.
  private let buffer: UnsafeMutableRawBufferPointer
  private var end = 0
  private let descriptor: Int32
  private var failure: Int32?

  init(descriptor: Int32 = System.standardOutput) {
    self.descriptor = descriptor
    buffer = .allocate(byteCount: 64 << 10, alignment: 16)
  }

  deinit {
    buffer.deallocate()
  }

  mutating func flush() {
    if failure == nil {
      failure = System.write(UnsafeRawBufferPointer(rebasing: buffer[..<end]), to: descriptor)
    }
    end = 0
  }

  /// - Throws: what went wrong with any earlier write. Ends the process when the reader has gone.
  func check() throws(DumpError) {
    guard let failure else { return }
    if System.isBrokenPipe(failure) { System.endByBrokenPipe() }
    throw .output(failure)
  }

  @inline(__always)
  private mutating func makeRoom(for count: Int) {
    if end + count > buffer.count { flush() }
  }

  @inline(__always)
  mutating func append(_ byte: UInt8) {
    makeRoom(for: 1)
    buffer[end] = byte
    end += 1
  }

  mutating func append(_ bytes: UnsafeRawBufferPointer) {
    var rest = bytes
    while let base = rest.baseAddress, rest.count > 0 {
      makeRoom(for: min(rest.count, buffer.count))
      let count = min(rest.count, buffer.count - end)
      (buffer.baseAddress! + end).copyMemory(from: base, byteCount: count)
      end += count
      rest = UnsafeRawBufferPointer(rebasing: rest[count...])
    }
  }

  @inline(__always)
  mutating func append(_ text: StaticString) {
    append(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  mutating func append(string: String) {
    var string = string
    string.withUTF8 { append(UnsafeRawBufferPointer($0)) }
  }

  mutating func append(spaces count: Int) {
    for _ in 0..<max(0, count) { append(UInt8(ascii: " ")) }
  }

  /// A number, with spaces before it up to `width`.
  mutating func append(decimal number: UInt64, width: Int = 0) {
    var digits = 1
    var rest = number
    while rest >= 10 {
      rest /= 10
      digits += 1
    }
    append(spaces: width - digits)
    makeRoom(for: digits)
    rest = number
    for index in stride(from: end + digits - 1, through: end, by: -1) {
      buffer[index] = UInt8(ascii: "0") + UInt8(rest % 10)
      rest /= 10
    }
    end += digits
  }

  /// All digits of a number.
  mutating func append<T: FixedWidthInteger & UnsignedInteger>(hexadecimal number: T) {
    for shift in stride(from: T.bitWidth - 4, through: 0, by: -4) {
      append(Self.hexadecimalDigit(UInt8(truncatingIfNeeded: number >> T(shift)) & 15))
    }
  }

  @inline(__always)
  static func hexadecimalDigit(_ value: UInt8) -> UInt8 {
    value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
  }
}

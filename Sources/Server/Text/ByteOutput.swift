import NIOCore

/// Memory that is filled from the front. How much is needed at most was settled before, so that
/// single bytes cost no look at a buffer's capacity.
struct ByteOutput: ~Copyable {
  private let memory: UnsafeMutableRawBufferPointer
  private(set) var count = 0

  /// The memory must outlive this.
  @inline(__always)
  init(_ memory: UnsafeMutableRawBufferPointer) { self.memory = memory }

  @inline(__always)
  mutating func append(_ byte: UInt8) {
    precondition(count < memory.count)
    memory[count] = byte
    count += 1
  }

  /// The bytes may lie in this memory, where they are appended or behind it.
  @inline(__always)
  mutating func append(_ bytes: UnsafeRawBufferPointer) {
    guard let source = bytes.baseAddress, let start = memory.baseAddress else { return }
    precondition(bytes.count <= memory.count - count)
    (start + count).copyMemory(from: source, byteCount: bytes.count)
    count += bytes.count
  }

  @inline(__always)
  mutating func append(_ text: StaticString) {
    append(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  @inline(__always)
  mutating func append(_ bytes: [UInt8]) {
    bytes.withUnsafeBytes { append($0) }
  }

  /// Appends that many bytes, which the body sets.
  @inline(__always)
  mutating func append(count added: Int, _ body: (UnsafeMutableRawBufferPointer) -> Void) {
    precondition(added <= memory.count - count)
    body(UnsafeMutableRawBufferPointer(rebasing: memory[count..<count + added]))
    count += added
  }
}

extension ByteBuffer {
  /// Appends what the body writes, which must be at most `countMax` bytes.
  @inline(__always)
  mutating func write(atMost countMax: Int, _ body: (inout ByteOutput) -> Void) {
    writeWithUnsafeMutableBytes(minimumWritableBytes: countMax) { memory in
      var output = ByteOutput(memory)
      body(&output)
      return output.count
    }
  }
}

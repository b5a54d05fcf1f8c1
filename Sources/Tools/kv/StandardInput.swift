#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

import WAL

enum StandardInput {
  /// No node takes a larger value: it would not fit into a frame of the log.
  private static let bytesMax = 32 << 20

  /// All of it, to its end.
  static func read() throws -> [UInt8] {
    var bytes: [UInt8] = []
    while let part = try next() {
      bytes += part
      guard bytes.count <= bytesMax else {
        throw Output.failure("standard input: more than \(bytesMax) bytes: no node takes that")
      }
    }
    return bytes
  }

  /// Sends this process SIGTERM when standard input ends, or cannot be read. What comes is not looked at.
  static func stopAtEnd() {
    _ = ThreadHandle {
      var room = [UInt8](repeating: 0, count: 4_096)
      while true {
        let count = room.withUnsafeMutableBytes {
          systemRead(STDIN_FILENO, $0.baseAddress, $0.count)
        }
        if count == 0 || count < 0 && errno != EINTR { break }
      }
      kill(getpid(), SIGTERM)
    }
  }

  private static func next() throws -> [UInt8]? {
    var code: Int32 = 0
    let part = [UInt8](unsafeUninitializedCapacity: 1 << 16) { room, count in
      var received: Int
      repeat {
        received = systemRead(STDIN_FILENO, room.baseAddress, room.count)
      } while received < 0 && errno == EINTR
      if received < 0 { code = errno }
      count = max(0, received)
    }
    guard code == 0 else {
      throw Output.failure("standard input: cannot read: \(String(cString: strerror(code)))")
    }
    return part.isEmpty ? nil : part
  }
}

/// The system's, beside the method of that name.
private func systemRead(
  _ descriptor: Int32, _ room: UnsafeMutableRawPointer?, _ count: Int
) -> Int {
  read(descriptor, room, count)
}

import ArgumentParser

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// What a command says.
enum Output {
  /// Writes bytes as they are.
  static func write(_ bytes: some Sequence<UInt8>) throws {
    if let code = write(Array(bytes), to: STDOUT_FILENO) {
      throw failure("standard output: cannot write: \(String(cString: strerror(code)))")
    }
  }

  static func writeLine(_ text: String) throws {
    try write((text + "\n").utf8)
  }

  /// Says an error in one line, and gives what ends the command with exit code 1.
  static func failure(_ message: String) -> ExitCode {
    let line = message.split(whereSeparator: \.isNewline).joined(separator: " ")
    // Nobody is left to be told when even this fails.
    _ = write(Array("error: \(line)\n".utf8), to: STDERR_FILENO)
    return ExitCode(1)
  }

  /// Says something beside what is printed.
  static func note(_ message: String) {
    // Nobody is left to be told when this fails.
    _ = write(Array("note: \(message)\n".utf8), to: STDERR_FILENO)
  }

  /// Writes everything.
  ///
  /// - Returns: the error number, or nil when all went well.
  private static func write(_ bytes: [UInt8], to descriptor: Int32) -> Int32? {
    var rest = bytes[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { systemWrite(descriptor, $0.baseAddress, $0.count) }
      if count > 0 {
        rest = rest.dropFirst(count)
      } else if errno == EAGAIN {
        var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        poll(&wait, 1, -1)
      } else if errno != EINTR {
        return errno
      }
    }
    return nil
  }

  /// Whether a person reads it who has not asked for no colours (https://no-color.org).
  static var hasColors: Bool { hasColors(on: STDOUT_FILENO) }

  static func hasColors(on descriptor: CInt) -> Bool {
    let refusal = ProcessInfo.processInfo.environment["NO_COLOR"] ?? ""
    return isatty(descriptor) == 1 && refusal.isEmpty
  }
}

/// The system's, beside the method of that name.
private func systemWrite(_ descriptor: Int32, _ bytes: UnsafeRawPointer?, _ count: Int) -> Int {
  write(descriptor, bytes, count)
}

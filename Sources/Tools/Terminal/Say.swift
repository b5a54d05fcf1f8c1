#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What a command says.
package enum Say {
  /// Writes a line to standard output.
  ///
  /// - Returns: the error number; nil when all went well.
  package static func result(_ text: String) -> Int32? { write(text, to: STDOUT_FILENO) }

  /// Writes a line to standard error.
  package static func error(_ text: String) {
    // Nobody is left to be told when even this fails.
    _ = write(text.split(whereSeparator: \.isNewline).joined(separator: " "), to: STDERR_FILENO)
  }

  package static func message(_ code: Int32) -> String { String(cString: strerror(code)) }

  private static func write(_ text: String, to descriptor: Int32) -> Int32? {
    var rest = Array((text + "\n").utf8)[...]
    while !rest.isEmpty {
      let count = rest.withUnsafeBytes { bytes in
        #if canImport(Glibc)
          Glibc.write(descriptor, bytes.baseAddress, bytes.count)
        #else
          Musl.write(descriptor, bytes.baseAddress, bytes.count)
        #endif
      }
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
}

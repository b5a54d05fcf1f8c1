#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

import Synchronization

/// What the command asks of the operating system beside the log's own files.
enum System {
  static let standardInput: Int32 = 0
  static let standardOutput: Int32 = 1
  static let standardError: Int32 = 2

  /// Writes everything.
  ///
  /// - Returns: the error number, or nil when all went well.
  static func write(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32) -> Int32? {
    var rest = bytes
    while let base = rest.baseAddress, rest.count > 0 {
      #if canImport(Glibc)
        let count = Glibc.write(descriptor, base, rest.count)
      #elseif canImport(Musl)
        let count = Musl.write(descriptor, base, rest.count)
      #else
        let count = Darwin.write(descriptor, base, rest.count)
      #endif
      if count > 0 {
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      } else if errno == EAGAIN {
        var wait = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        poll(&wait, 1, -1)
      } else if errno != EINTR {
        return errno
      }
    }
    return nil
  }

  static func writeLine(_ text: String, to descriptor: Int32 = standardError) {
    // Nobody is left to be told when even this fails.
    _ = Array((text + "\n").utf8).withUnsafeBytes { write($0, to: descriptor) }
  }

  /// Waits until there is something to read, or the end.
  ///
  /// - Returns: false when that took longer, or a signal came.
  static func waitForInput(_ descriptor: Int32, milliseconds: Int32) -> Bool {
    var wait = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&wait, 1, milliseconds) > 0
  }

  /// Reads some bytes; 0 at the end.
  static func read(
    _ descriptor: Int32, into target: UnsafeMutableRawBufferPointer
  ) throws(DumpError) -> Int {
    while true {
      #if canImport(Glibc)
        let count = Glibc.read(descriptor, target.baseAddress, target.count)
      #elseif canImport(Musl)
        let count = Musl.read(descriptor, target.baseAddress, target.count)
      #else
        let count = Darwin.read(descriptor, target.baseAddress, target.count)
      #endif
      if count >= 0 { return count }
      guard errno == EINTR else { throw .message("standard input: cannot read: \(message(errno))") }
    }
  }

  static func isTerminal(_ descriptor: Int32) -> Bool { isatty(descriptor) == 1 }

  /// The path without links and dots; the path itself when there is no such file.
  static func realPath(_ path: String) -> String {
    guard let real = realpath(path, nil) else { return path }
    defer { free(real) }
    return String(cString: real)
  }

  /// Returns early when a signal comes.
  static func sleep(milliseconds: UInt32) { usleep(milliseconds * 1_000) }

  static func message(_ code: Int32) -> String { String(cString: strerror(code)) }

  static func isBrokenPipe(_ code: Int32) -> Bool { code == EPIPE }

  /// Ends as a program does whose reader has gone, also where the parent has blocked that signal.
  static func endByBrokenPipe() -> Never {
    signal(SIGPIPE, SIG_DFL)
    raise(SIGPIPE)
    exit(1)
  }

  // MARK: - Signals

  private static let isStopRequested = Atomic<Bool>(false)

  /// From now on SIGINT and SIGTERM only set `shouldStop`.
  static func catchStopSignals() {
    // Read once, so that the handler finds the variable initialised.
    _ = shouldStop
    for number in [SIGINT, SIGTERM] {
      signal(number) { _ in System.isStopRequested.store(true, ordering: .relaxed) }
    }
  }

  static var shouldStop: Bool { isStopRequested.load(ordering: .relaxed) }
}

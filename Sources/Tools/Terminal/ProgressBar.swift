#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

import WAL

/// Shows a `ProgressLine` on standard error, again and again, on a thread of its own.
package final class ProgressBar: Sendable {
  private static let firstNanoseconds: UInt64 = 500_000_000
  private static let laterNanoseconds: UInt64 = 200_000_000

  private struct State {
    var isEnded = false
  }

  private let state: Monitor<State>
  private let thread: ThreadHandle

  /// - Parameter progress: called on that thread.
  /// - Returns: nil where standard error is no terminal: nobody looks.
  package init?(
    _ label: String, progress: @escaping @Sendable () -> (done: Int, total: Int)
  ) {
    guard isatty(STDERR_FILENO) == 1 else { return nil }
    let state = Monitor(State())
    self.state = state
    let line = ProgressLine(label)
    thread = ThreadHandle {
      let clock = LogClock.system
      let start = clock.monotonicNanoseconds()
      var next = start + Self.firstNanoseconds
      var wasShown = false
      while state.wait(untilNanoseconds: next, { $0.isEnded ? true : nil }) == nil {
        let now = clock.monotonicNanoseconds()
        let (done, total) = progress()
        Self.write("\r" + line.text(done: done, total: total, seconds: Double(now - start) / 1e9))
        wasShown = true
        next = now + Self.laterNanoseconds
      }
      if wasShown { Self.write("\r") }
    }
  }

  /// Takes the line away.
  package func end() {
    state.signal { $0.isEnded = true }
    thread.join()
  }

  /// What is written replaces the line. That it cannot be shown is no reason to stop.
  private static func write(_ text: String) {
    let bytes = Array((text + "\u{1B}[K").utf8)
    _ = bytes.withUnsafeBytes { bytes in
      #if canImport(Glibc)
        Glibc.write(STDERR_FILENO, bytes.baseAddress, bytes.count)
      #else
        Musl.write(STDERR_FILENO, bytes.baseAddress, bytes.count)
      #endif
    }
  }
}

import WAL

/// Says a `ProgressLine` now and then, a line each time, where nobody looks at a `ProgressBar`: for
/// logs. What is done sooner than the first of them says nothing.
package final class ProgressLog: Sendable {
  private struct State {
    var isEnded = false
  }

  private let state: Monitor<State>
  private let thread: ThreadHandle

  /// - Parameters:
  ///   - seconds: between two lines.
  ///   - say: called on that thread, as `progress` is.
  package init(
    _ label: String, everySeconds seconds: Double = 5,
    say: @escaping @Sendable (String) -> Void = { Say.error($0) },
    progress: @escaping @Sendable () -> (done: Int, total: Int)
  ) {
    let state = Monitor(State())
    self.state = state
    let line = ProgressLine(label)
    thread = ThreadHandle {
      let clock = LogClock.system
      let start = clock.monotonicNanoseconds()
      let interval = UInt64(seconds * 1e9)
      var next = start + interval
      while state.wait(untilNanoseconds: next, { $0.isEnded ? true : nil }) == nil {
        let now = clock.monotonicNanoseconds()
        let (done, total) = progress()
        say(line.text(done: done, total: total, seconds: Double(now - start) / 1e9))
        next = now + interval
      }
    }
  }

  /// Says nothing from here on.
  package func end() {
    state.signal { $0.isEnded = true }
    thread.join()
  }
}

import NIOCore
import WAL

/// A few threads that read the log's files for all feeds that are behind, a piece at a time and in
/// turn. They are started when they are first needed.
///
/// Each feed has one piece of work here at most, so their number bounds the queue.
final class FeedReaders: Sendable {
  private struct State {
    /// First in, first out; those before `start` are done.
    var jobs: [(@Sendable () -> Void)?] = []
    var start = 0
    var idle = 0
    var threads: [ThreadHandle] = []
    var isStopped = false

    var waiting: Int { jobs.count - start }

    mutating func takeFirst() -> (@Sendable () -> Void)? {
      guard start < jobs.count else { return nil }
      defer {
        jobs[start] = nil
        start += 1
        if 2 * start > jobs.count {
          jobs.removeFirst(start)
          start = 0
        }
      }
      return jobs[start]
    }
  }

  private let state = Monitor(State())
  private let threadsMax: Int

  /// - Parameter threadsMax: 0 where all is done on the event loop that asks: a loop that somebody
  ///   steps through.
  init(threadsMax: Int = 2) {
    self.threadsMax = threadsMax
  }

  /// Has `work` done, and `done` called with what came of it, on the event loop. After `stop` neither
  /// may happen.
  func run<Value: Sendable>(
    on eventLoop: any EventLoop, _ work: @escaping @Sendable () -> Value,
    then done: @escaping @Sendable (Value) -> Void
  ) {
    guard threadsMax > 0 else { return eventLoop.execute { done(work()) } }
    state.signal { state in
      guard !state.isStopped else { return }
      state.jobs.append {
        let value = work()
        eventLoop.execute { done(value) }
      }
      if state.idle < state.waiting, state.threads.count < threadsMax {
        state.threads.append(ThreadHandle { self.runJobs() })
      }
    }
  }

  private func runJobs() {
    while true {
      state.withLock { $0.idle += 1 }
      let job = state.wait { state -> (@Sendable () -> Void)?? in
        if state.isStopped { return .some(nil) }
        return state.takeFirst().map { .some($0) }
      }
      state.withLock { $0.idle -= 1 }
      guard let job else { return }
      job()
    }
  }

  /// Ends the threads, once they have done what they are at.
  func stop() {
    var threads: [ThreadHandle] = []
    state.signal { state in
      state.isStopped = true
      state.jobs = []
      state.start = 0
      swap(&threads, &state.threads)
    }
    for thread in threads { thread.join() }
  }
}

import NIOCore
import Synchronization
import WAL

/// A few threads that read the log's files for all feeds that are behind, a piece at a time and in
/// turn. They are started when they are first needed.
///
/// Each feed has one piece of work here at most, so their number bounds the queue.
package final class FeedReaders: Sendable {
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

  /// So many pieces' memory is kept for the next ones: the oldest of them has been sent by then, most likely.
  private static let keptPiecesMax = 3

  private let state = Monitor(State())
  private let pieces = Mutex<[ByteBuffer]>([])
  private let threadsMax: Int

  /// - Parameter threadsMax: 0 where all is done on the event loop that asks: a loop that somebody
  ///   steps through.
  package init(threadsMax: Int = 2) {
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

  /// An empty buffer for a piece: with the memory of one that was sent, if there is any.
  package func emptyPiece() -> ByteBuffer {
    guard var piece = pieces.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) else {
      return ByteBuffer()
    }
    // As long as somebody has the bytes this takes memory of its own.
    piece.clear()
    return piece
  }

  /// A piece is on its way.
  package func keep(_ sent: ByteBuffer) {
    guard sent.capacity > 0 else { return }
    pieces.withLock { if $0.count < Self.keptPiecesMax { $0.append(sent) } }
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
  package func stop() {
    var threads: [ThreadHandle] = []
    state.signal { state in
      state.isStopped = true
      state.jobs = []
      state.start = 0
      swap(&threads, &state.threads)
    }
    pieces.withLock { $0 = [] }
    for thread in threads { thread.join() }
  }
}

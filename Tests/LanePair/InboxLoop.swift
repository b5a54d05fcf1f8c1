import Dispatch
import Glibc
import NIOCore
import NIOEmbedded
import Synchronization

/// An embedded event loop that also takes work from other threads: theirs waits in an inbox until the
/// loop's own thread looks.
///
/// `@unchecked Sendable`: everything but the inbox belongs to the thread that made it.
final class InboxLoop: EventLoop, @unchecked Sendable {
  let embedded = EmbeddedEventLoop()
  private let thread = pthread_self()
  private let inbox = Mutex<[@Sendable () -> Void]>([])

  var inEventLoop: Bool { pthread_equal(thread, pthread_self()) != 0 }

  func execute(_ task: @escaping @Sendable () -> Void) {
    if inEventLoop {
      embedded.execute(task)
    } else {
      inbox.withLock { $0.append(task) }
    }
  }

  /// Does what is due, and what came from elsewhere.
  ///
  /// - Returns: whether anything did come.
  func run() -> Bool {
    let tasks = inbox.withLock { inbox in
      defer { inbox = [] }
      return inbox
    }
    for task in tasks { task() }
    embedded.run()
    return !tasks.isEmpty
  }

  func submit<T>(_ task: @escaping @Sendable () throws -> T) -> EventLoopFuture<T> {
    embedded.submit(task)
  }

  func scheduleTask<T>(
    deadline: NIODeadline, _ task: @escaping @Sendable () throws -> T
  ) -> Scheduled<T> {
    embedded.scheduleTask(deadline: deadline, task)
  }

  func scheduleTask<T>(
    in delay: TimeAmount, _ task: @escaping @Sendable () throws -> T
  ) -> Scheduled<T> {
    embedded.scheduleTask(in: delay, task)
  }

  func shutdownGracefully(
    queue: DispatchQueue, _ callback: @escaping @Sendable ((any Error)?) -> Void
  ) {
    embedded.shutdownGracefully(queue: queue, callback)
  }
}

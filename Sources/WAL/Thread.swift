#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// State behind a lock, with a way to sleep until it changes.
///
/// Not `Mutex`, because that has no condition variable. `@unchecked Sendable`: the state is only
/// touched with the lock held.
package final class Monitor<State>: @unchecked Sendable {
  private let mutex: UnsafeMutablePointer<pthread_mutex_t>
  private let condition: UnsafeMutablePointer<pthread_cond_t>
  private var state: State

  package init(_ state: sending State) {
    self.state = state
    mutex = .allocate(capacity: 1)
    condition = .allocate(capacity: 1)
    precondition(pthread_mutex_init(mutex, nil) == 0)
    #if canImport(Darwin)
      precondition(pthread_cond_init(condition, nil) == 0)
    #else
      // Deadlines are on the monotonic clock: nobody oversleeps because somebody set the time.
      var attributes = pthread_condattr_t()
      precondition(
        pthread_condattr_init(&attributes) == 0
          && pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC) == 0
          && pthread_cond_init(condition, &attributes) == 0)
      pthread_condattr_destroy(&attributes)
    #endif
  }

  deinit {
    pthread_cond_destroy(condition)
    pthread_mutex_destroy(mutex)
    condition.deallocate()
    mutex.deallocate()
  }

  /// Runs `body` with the lock held. Never hold it across a system call on a file.
  package func withLock<R, E: Error>(_ body: (inout State) throws(E) -> R) throws(E) -> R {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return try body(&state)
  }

  /// Changes the state and wakes everybody who waits.
  package func signal(_ body: (inout State) -> Void) {
    pthread_mutex_lock(mutex)
    body(&state)
    pthread_cond_broadcast(condition)
    pthread_mutex_unlock(mutex)
  }

  /// Sleeps until `body`, called with the lock held now and after every signal, returns a value.
  package func wait<R>(_ body: (inout State) -> R?) -> R {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    while true {
      if let result = body(&state) { return result }
      pthread_cond_wait(condition, mutex)
    }
  }

  #if !canImport(Darwin)
    /// The same, but not beyond a time of the monotonic clock.
    ///
    /// - Returns: nil when that time has come first.
    package func wait<R>(untilNanoseconds deadline: UInt64, _ body: (inout State) -> R?) -> R? {
      var time = timespec(
        tv_sec: Int(deadline / 1_000_000_000), tv_nsec: Int(deadline % 1_000_000_000))
      pthread_mutex_lock(mutex)
      defer { pthread_mutex_unlock(mutex) }
      while true {
        if let result = body(&state) { return result }
        if pthread_cond_timedwait(condition, mutex, &time) == ETIMEDOUT { return body(&state) }
      }
    }
  #endif
}

/// Looks at a condition again and again instead of sleeping, and lets other threads run meanwhile.
/// Waking a thread that sleeps costs more than the wait where that is short.
///
/// - Returns: when the condition holds, or that time has passed.
package func spin(forNanoseconds limit: UInt64, until holds: () -> Bool) {
  let clock = LogClock.system
  let start = clock.monotonicNanoseconds()
  while !holds(), clock.monotonicNanoseconds() - start < limit { sched_yield() }
}

/// A thread that runs one closure.
package struct ThreadHandle: Sendable {
  private final class Body: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }

  // Written once before the handle is shared; pthread_join is the only use.
  #if canImport(Darwin)
    private nonisolated(unsafe) let thread: pthread_t
  #else
    private let thread: pthread_t
  #endif

  package init(_ run: @escaping @Sendable () -> Void) {
    switch Self.start(run) {
    case .success(let started): self = started
    case .failure(let error):
      preconditionFailure("cannot start a thread: \(systemMessage(error.code))")
    }
  }

  /// The same, for a thread that can be done without.
  ///
  /// - Returns: nil when the system has none to give.
  package static func started(_ run: @escaping @Sendable () -> Void) -> ThreadHandle? {
    switch start(run) {
    case .success(let started): started
    case .failure: nil
    }
  }

  private struct Refusal: Error {
    let code: CInt
  }

  private init(_ thread: pthread_t) { self.thread = thread }

  private static func start(
    _ run: @escaping @Sendable () -> Void
  ) -> Result<ThreadHandle, Refusal> {
    #if canImport(Darwin)
      var thread: pthread_t?
    #else
      var thread = pthread_t()
    #endif
    let argument = Unmanaged.passRetained(Body(run)).toOpaque()
    let result = pthread_create(
      &thread, nil,
      { argument in
        #if canImport(Darwin)
          Unmanaged<Body>.fromOpaque(argument).takeRetainedValue().run()
        #else
          Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue().run()
        #endif
        return nil
      }, argument)
    guard result == 0 else {
      Unmanaged<Body>.fromOpaque(argument).release()
      return .failure(Refusal(code: result))
    }
    #if canImport(Darwin)
      return .success(ThreadHandle(thread!))
    #else
      return .success(ThreadHandle(thread))
    #endif
  }

  /// Waits until the thread has ended.
  package func join() {
    pthread_join(thread, nil)
  }
}

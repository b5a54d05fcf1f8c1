import CEpoll

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Waits until sockets are ready, or until a time to the nanosecond: epoll with a timer among its
/// descriptors, because its own time-out counts in milliseconds.
struct Poller: ~Copyable {
  struct Readiness {
    /// What `add` was given.
    var number: Int
    var isReadable: Bool
    var isWritable: Bool
  }

  private static let eventsMax = 512
  private static let timerNumber = UInt64.max

  private let epoll: Int32
  private let timer: Int32
  private let events: UnsafeMutablePointer<epoll_event>
  /// What the timer is set to.
  private var alarm: UInt64 = 0

  init() throws(BenchError) {
    epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
    timer = timerfd_create(CLOCK_MONOTONIC, Int32(TFD_NONBLOCK | TFD_CLOEXEC))
    events = .allocate(capacity: Self.eventsMax)
    guard epoll >= 0, timer >= 0 else {
      throw .system("cannot wait for sockets: \(String(cString: strerror(errno)))")
    }
    change(EPOLL_CTL_ADD, timer, Self.timerNumber, EPOLLIN.rawValue)
  }

  deinit {
    close(epoll)
    close(timer)
    events.deallocate()
  }

  /// The caller takes it out by closing it.
  func add(_ descriptor: Int32, number: Int, awaitsRoom: Bool) {
    change(EPOLL_CTL_ADD, descriptor, UInt64(number), interest(awaitsRoom))
  }

  /// - Parameter awaitsRoom: whether it is to be said when it can be written to.
  func update(_ descriptor: Int32, number: Int, awaitsRoom: Bool) {
    change(EPOLL_CTL_MOD, descriptor, UInt64(number), interest(awaitsRoom))
  }

  private func interest(_ awaitsRoom: Bool) -> UInt32 {
    awaitsRoom ? EPOLLIN.rawValue | EPOLLOUT.rawValue : EPOLLIN.rawValue
  }

  private func change(_ operation: Int32, _ descriptor: Int32, _ number: UInt64, _ mask: UInt32) {
    var event = epoll_event()
    event.events = mask
    event.data.u64 = number
    epoll_ctl(epoll, operation, descriptor, &event)
  }

  /// Waits until something is ready, or until that time of the monotonic clock at the latest.
  ///
  /// - Returns: how many of `readiness(at:)` there are.
  mutating func wait(until deadline: UInt64, now: UInt64) -> Int {
    var timeout: Int32 = -1
    if deadline <= now {
      timeout = 0
    } else if alarm != deadline {
      alarm = deadline
      var setting = itimerspec()
      setting.it_value.tv_sec = Int(deadline / 1_000_000_000)
      setting.it_value.tv_nsec = Int(deadline % 1_000_000_000)
      timerfd_settime(timer, Int32(TFD_TIMER_ABSTIME), &setting, nil)
    }
    return max(0, Int(epoll_wait(epoll, events, Int32(Self.eventsMax), timeout)))
  }

  /// - Returns: nil for the timer.
  mutating func readiness(at index: Int) -> Readiness? {
    let event = events[index]
    guard event.data.u64 != Self.timerNumber else {
      var count: UInt64 = 0
      _ = read(timer, &count, 8)
      alarm = 0
      return nil
    }
    let ended = EPOLLERR.rawValue | EPOLLHUP.rawValue
    return Readiness(
      number: Int(event.data.u64), isReadable: event.events & (EPOLLIN.rawValue | ended) != 0,
      isWritable: event.events & (EPOLLOUT.rawValue | ended) != 0)
  }
}

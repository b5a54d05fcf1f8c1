#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The clocks of a measurement, in nanoseconds.
enum Clock {
  /// Never goes back, whatever is set.
  @inline(__always)
  static func monotonic() -> UInt64 { nanoseconds(CLOCK_MONOTONIC) }

  /// Processor time of the calling thread, that of the system for it included.
  static func threadProcessor() -> UInt64 { nanoseconds(CLOCK_THREAD_CPUTIME_ID) }

  @inline(__always)
  private static func nanoseconds(_ clock: clockid_t) -> UInt64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
  }
}

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The metrics of the process that every Prometheus client has, under the names that they all use.
package enum ProcessMetrics {
  /// Adds them to a registry. What cannot be read is NaN.
  package static func register(in registry: MetricsRegistry) {
    let ticksPerSecond = Double(sysconf(Int32(_SC_CLK_TCK)))
    let bytesPerPage = Double(sysconf(Int32(_SC_PAGESIZE)))

    registry.gauge("process_resident_memory_bytes", help: "Memory in use, in bytes.") {
      ProcessStatistics.now().map { Double($0.residentPages) * bytesPerPage } ?? .nan
    }
    registry.gauge("process_open_fds", help: "Open file descriptors.") {
      ProcessStatistics.openFiles().map(Double.init) ?? .nan
    }
    registry.floatingPointCounter(
      "process_cpu_seconds_total", help: "Processor time used, in user and system mode."
    ) {
      ProcessStatistics.now().map { Double($0.cpuTicks) / ticksPerSecond } ?? .nan
    }

    // Once: a value that jitters would look like a process that starts again and again.
    let start = startTime(ticksPerSecond)
    registry.gauge("process_start_time_seconds", help: "Start of the process, in Unix time.") {
      start
    }
  }

  /// In seconds since 1970, of the process.
  private static func startTime(_ ticksPerSecond: Double) -> Double {
    guard let start = ProcessStatistics.now()?.startTicks else { return .nan }
    let age = seconds(CLOCK_BOOTTIME) - Double(start) / ticksPerSecond
    return seconds(CLOCK_REALTIME) - age
  }

  private static func seconds(_ clock: clockid_t) -> Double {
    var time = timespec()
    clock_gettime(clock, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }
}

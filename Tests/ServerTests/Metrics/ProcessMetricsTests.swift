import Foundation
import Server
import Testing

@Suite("Metrics of the process")
struct ProcessMetricsTests {
  private func value(_ registry: MetricsRegistry, _ name: String) throws -> Double {
    let line = try #require(registry.lines(name).first)
    return try #require(Double(line.split(separator: " ").last!))
  }

  @Test("are plausible")
  func plausible() throws {
    let registry = MetricsRegistry()
    ProcessMetrics.register(in: registry)
    let resident = try value(registry, "process_resident_memory_bytes")
    #expect(resident > 1e6 && resident < 1e12)
    let cpu = try value(registry, "process_cpu_seconds_total")
    #expect(cpu >= 0 && cpu < 1e6)
    let start = try value(registry, "process_start_time_seconds")
    let now = Date().timeIntervalSince1970
    #expect(start <= now + 1 && start > now - 86400)
    #expect(registry.text.contains("# TYPE process_cpu_seconds_total counter\n"))
    #expect(try value(registry, "process_start_time_seconds") == start)
  }

  @Test("count the files that are open")
  func openFiles() throws {
    let registry = MetricsRegistry()
    ProcessMetrics.register(in: registry)
    // Other tests open and close files at the same time, but not that many.
    let files = (0..<200).map { _ in open("/dev/null", O_RDONLY) }
    let during = try value(registry, "process_open_fds")
    for file in files { close(file) }
    #expect(during >= 203 && during < 100_000)
    #expect(try value(registry, "process_open_fds") <= during - 100)
  }

  @Test("are found behind a program's name that has blanks and parentheses")
  func oddNames() throws {
    let line = """
      4242 (a) R 1 (b) S 1 4242 4242 0 -1 4194304 1500 0 3 0 70 30 5 6 20 0 9 0 123456 98765432 \
      2048 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0

      """
    let statistics = try #require(ProcessStatistics(stat: Array(line.utf8)))
    #expect(statistics.cpuTicks == 100)
    #expect(statistics.startTicks == 123456)
    #expect(statistics.residentPages == 2048)
  }

  @Test("are not known when the line is cut off")
  func cutOff() {
    for line in [
      "", "4242", "4242 (name)", "4242 (name) R 1 2 3 0 -1 4 1 0 3 0 70 30 5 6 20 0 9 0 12 98",
    ] {
      #expect(ProcessStatistics(stat: Array(line.utf8)) == nil)
    }
  }
}

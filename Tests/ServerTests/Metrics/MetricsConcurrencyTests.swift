import Metrics
import Server
import Testing

@Suite("Metrics from several threads")
struct MetricsConcurrencyTests {
  private let tasks = 4
  private let rounds = 20_000

  @Test("lose no update, whoever asks for the instrument first and renders meanwhile")
  func updates() async {
    let registry = MetricsRegistry()
    await withTaskGroup(of: Void.self) { group in
      for _ in 0..<tasks {
        group.addTask { self.update(registry) }
      }
      group.addTask {
        for _ in 0..<50 { self.expectConsistent(registry) }
      }
    }
    let total = tasks * rounds
    #expect(registry.lines("c") == ["c \(total)"])
    #expect(registry.lines("f") == ["f \(total / 2)"])
    #expect(registry.lines("m") == ["m 0"])
    #expect(
      registry.lines("r_sum") == ["r_sum \(Double(total) * 1.5 + Double(total))".dropLastZero])
    #expect(registry.lines("r_count") == ["r_count \(2 * total)"])
    #expect(registry.lines("t_sum") == ["t_sum \(Double(total) / 1000)".dropLastZero])
    #expect(registry.lines("t_count") == ["t_count \(total)"])
  }

  private func update(_ registry: MetricsRegistry) {
    let counter = Counter(label: "c", factory: registry)
    let parts = FloatingPointCounter(label: "f", factory: registry)
    let meter = Meter(label: "m", factory: registry)
    let recorder = Recorder(label: "r", factory: registry)
    let timer = Timer(label: "t", factory: registry)
    for _ in 0..<rounds {
      counter.increment()
      parts.increment(by: 0.5)
      meter.increment(by: 2.0)
      recorder.record(1)
      recorder.record(1.5)
      timer.recordMilliseconds(1)
      meter.decrement(by: 2.0)
    }
  }

  /// The buckets never go down from one to the next, and the last of them is the count.
  private func expectConsistent(_ registry: MetricsRegistry) {
    let lines = registry.text.split(separator: "\n").filter { $0.hasPrefix("t_") }
    let counts = lines.filter { $0.hasPrefix("t_bucket") }
      .map { Int($0.split(separator: " ").last!)! }
    #expect(counts == counts.sorted())
    let count = lines.first { $0.hasPrefix("t_count") }
    #expect(count.map { Int($0.split(separator: " ").last!)! } == counts.last)
  }
}

extension String {
  fileprivate var dropLastZero: String { hasSuffix(".0") ? String(dropLast(2)) : self }
}

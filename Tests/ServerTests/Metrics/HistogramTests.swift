import Metrics
import Server
import Testing

@Suite("Histograms")
struct HistogramTests {
  /// The bounds of a histogram's buckets and how many values are at most that large.
  private func buckets(_ registry: MetricsRegistry, _ name: String) -> [(bound: Double, count: Int)]
  {
    registry.lines("\(name)_bucket").map { line in
      let bound = line.split(separator: "\"")[1]
      let count = line.split(separator: " ").last!
      return (bound == "+Inf" ? .infinity : Double(bound)!, Int(count)!)
    }
  }

  @Test("of durations have 1, 2.5 and 5 of every decade from 10 µs to 10 s")
  func durationBounds() {
    let registry = MetricsRegistry()
    _ = Timer(label: "t", factory: registry)
    let expected = [
      1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
      1, 2.5, 5, 10, .infinity,
    ]
    #expect(buckets(registry, "t").map(\.bound) == expected)
  }

  @Test("of sizes have the powers of two from 1 to 2^24")
  func sizeBounds() {
    let registry = MetricsRegistry()
    _ = Recorder(label: "r", factory: registry)
    let expected = (0...24).map { Double(1 << $0) } + [.infinity]
    #expect(buckets(registry, "r").map(\.bound) == expected)
  }

  @Test("put a duration into the first bucket whose bound it does not exceed")
  func durationEdges() {
    var bounds: [Int64] = []
    for decade: Int64 in [10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000] {
      bounds += [decade, decade / 2 * 5, decade * 5]
    }
    bounds.append(10_000_000_000)
    var durations: [Int64] = [.min, -1, 0, 1, .max]
    for bound in bounds { durations += [bound - 1, bound, bound + 1] }
    for bits: Int64 in 0..<63 { durations += [1 << bits - 1, 1 << bits] }
    for duration in durations {
      let registry = MetricsRegistry()
      Timer(label: "t", factory: registry).recordNanoseconds(duration)
      let below = bounds.count { $0 < duration }
      let counts = (0...bounds.count).map { $0 < below ? 0 : 1 }
      #expect(buckets(registry, "t").map(\.count) == counts, "\(duration) ns")
      #expect(registry.lines("t_count") == ["t_count 1"])
    }
  }

  @Test("put a size into the first bucket whose bound it does not exceed, a fraction too")
  func sizeEdges() {
    let bounds = (0...24).map { Double(1 << $0) }
    var sizes: [Double] = [-1e300, -1, 0, 0.5, 1e-300, 1e18, 2e19, 1e300]
    for bound in bounds { sizes += [bound - 1, bound - 0.25, bound, bound.nextUp, bound + 1] }
    for size in sizes {
      let counts = (bounds + [.infinity]).map { size <= $0 ? 1 : 0 }
      let registry = MetricsRegistry()
      Recorder(label: "r", factory: registry).record(size)
      #expect(buckets(registry, "r").map(\.count) == counts, "\(size)")
      guard let whole = Int64(exactly: size) else { continue }
      Recorder(label: "whole", factory: registry).record(whole)
      #expect(buckets(registry, "whole").map(\.count) == counts, "\(size)")
    }
  }

  @Test("sum up whole numbers and fractions, and pass over what is not finite")
  func sums() {
    let registry = MetricsRegistry()
    let recorder = Recorder(label: "r", factory: registry)
    for value in [1.5, .nan, .infinity, -.infinity] as [Double] { recorder.record(value) }
    for value in [4, -2, 1 << 40] as [Int64] { recorder.record(value) }
    #expect(registry.lines("r_sum") == ["r_sum 1099511627779.5"])
    #expect(registry.lines("r_count") == ["r_count 4"])
  }
}

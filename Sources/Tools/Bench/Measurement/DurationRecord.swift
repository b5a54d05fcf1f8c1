import Histogram

/// Durations of one kind: all of them in a histogram of three significant digits, some of them raw.
/// Count, sum, minimum and maximum are exact.
package struct DurationRecord: Sendable {
  /// A day. Longer ones count as that in the histogram.
  private static let nanosecondsMax: UInt64 = 86_400_000_000_000

  package private(set) var histogram = Histogram<UInt64>(highestTrackableValue: nanosecondsMax)
  package private(set) var sample: SampleReservoir
  package private(set) var count: UInt64 = 0
  private var sum: UInt64 = 0
  private var smallest = UInt64.max
  private var largest: UInt64 = 0

  package init(seed: UInt64 = 0) { sample = SampleReservoir(seed: seed) }

  package mutating func record(_ nanoseconds: UInt64) {
    count += 1
    sum &+= nanoseconds
    smallest = min(smallest, nanoseconds)
    largest = max(largest, nanoseconds)
    histogram.record(min(nanoseconds, Self.nanosecondsMax))
    sample.offer(nanoseconds)
  }

  package mutating func add(_ other: DurationRecord) {
    count += other.count
    sum &+= other.sum
    smallest = min(smallest, other.smallest)
    largest = max(largest, other.largest)
    histogram.add(other.histogram)
    sample.add(other.sample)
  }

  /// Nanoseconds, 0 when there are none. min ≤ mean ≤ max.
  package var minimum: UInt64 { count > 0 ? smallest : 0 }
  package var maximum: UInt64 { largest }
  package var mean: Double {
    guard count > 0 else { return 0 }
    return min(max(Double(sum) / Double(count), Double(smallest)), Double(largest))
  }

  /// The smallest nanoseconds that so many percent of all do not exceed, to three significant digits;
  /// 0 when there are none.
  package func percentile(_ percent: Double) -> UInt64 {
    min(max(histogram.valueAtPercentile(percent), minimum), maximum)
  }
}

import CoreMetrics
import NIOCore
import Synchronization

/// How long something took, in seconds: buckets up to 10 µs, 25 µs, 50 µs, 100 µs and so on to 10 s.
/// A duration below zero counts as zero.
final class DurationHistogram: TimerHandler, Instrument {
  private static let boundsInNanoseconds: [UInt64] = {
    let decades: [UInt64] = [10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000]
    return decades.flatMap { [$0, $0 / 2 * 5, $0 * 5] } + [10_000_000_000]
  }()

  private let buckets = HistogramBuckets(bounds: boundsInNanoseconds)
  private let sumInNanoseconds = Atomic<UInt64>(0)

  var kind: MetricKind { .durationHistogram }

  func recordNanoseconds(_ nanoseconds: Int64) {
    let nanoseconds = UInt64(max(0, nanoseconds))
    buckets.add(nanoseconds)
    sumInNanoseconds.wrappingAdd(nanoseconds, ordering: .relaxed)
  }

  func write(_ series: Series, into buffer: inout ByteBuffer) {
    let sum = Double(sumInNanoseconds.load(ordering: .relaxed)) / 1e9
    buckets.write(series, sum: sum, unit: 1e9, into: &buffer)
  }
}

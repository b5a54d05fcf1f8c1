import CoreMetrics
import NIOCore
import Synchronization

/// How large something was, in bytes or pieces: buckets up to 1, 2, 4 and so on to 2^24, which is
/// the largest value of a key by default. What is below zero is in the first bucket; NaN and
/// infinity are not counted, as they would spoil the sum for good.
final class SizeHistogram: RecorderHandler, Instrument {
  private let buckets = HistogramBuckets(bounds: (0...24).map { 1 << $0 })
  private let sumOfIntegers = Atomic<Int64>(0)
  private let sumOfFractions = Atomic<Double>(0)

  var kind: MetricKind { .sizeHistogram }

  func record(_ value: Int64) {
    buckets.add(UInt64(max(0, value)))
    sumOfIntegers.wrappingAdd(value, ordering: .relaxed)
  }

  func record(_ value: Double) {
    guard value.isFinite else { return }
    // The bounds are whole numbers: a value is at most a bound when the next whole number is.
    buckets.add(value <= 0 ? 0 : UInt64(exactly: value.rounded(.up)) ?? .max)
    sumOfFractions.add(value)
  }

  func write(_ series: Series, into buffer: inout ByteBuffer) {
    let sum =
      Double(sumOfIntegers.load(ordering: .relaxed)) + sumOfFractions.load(ordering: .relaxed)
    buckets.write(series, sum: sum, unit: 1, into: &buffer)
  }
}

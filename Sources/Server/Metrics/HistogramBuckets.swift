import NIOCore
import Synchronization

/// The counts of a histogram: how many values were at most a bound and above the one before it.
///
/// The bounds are whole numbers that at least double from one to the next, so that the length of a
/// value in bits leaves two buckets to choose from, and no floating point is needed.
struct HistogramBuckets: ~Copyable, Sendable {
  /// The bucket behind the last bound included.
  static let countMax = 32

  private let bucketCount: Int
  /// Ascending; the rest is filled with the largest number.
  private let bounds: InlineArray<32, UInt64>
  /// For each length in bits the first bucket that a value of that length can be in.
  private let firstBuckets: InlineArray<65, UInt8>
  private let counts: InlineArray<32, Atomic<UInt64>>

  /// - Parameter bounds: ascending whole numbers, each at least twice the one before.
  init(bounds: [UInt64]) {
    precondition(bounds.count < Self.countMax)
    precondition(zip(bounds, bounds.dropFirst()).allSatisfy { 2 * $0 <= $1 })
    bucketCount = bounds.count + 1
    self.bounds = InlineArray { $0 < bounds.count ? bounds[$0] : .max }
    firstBuckets = InlineArray { bits in
      let least: UInt64 = bits == 0 ? 0 : 1 << UInt64(bits - 1)
      return UInt8(bounds.firstIndex { least <= $0 } ?? bounds.count)
    }
    counts = InlineArray { _ in Atomic(0) }
  }

  /// Counts one value.
  func add(_ value: UInt64) {
    let first = Int(firstBuckets[UInt64.bitWidth - value.leadingZeroBitCount])
    let bucket = value > bounds[first] ? first + 1 : first
    counts[bucket].wrappingAdd(1, ordering: .relaxed)
  }

  /// Writes the buckets, the sum and the count. The count is that of the buckets; the sum may be
  /// ahead of them, or behind, by what is being added just now.
  ///
  /// - Parameter unit: how many of the bounds' units make one of the metric's.
  func write(_ series: Series, sum: Double, unit: Double, into buffer: inout ByteBuffer) {
    var total: UInt64 = 0
    for bucket in 0..<bucketCount {
      total &+= counts[bucket].load(ordering: .relaxed)
      let bound = bucket == bucketCount - 1 ? .infinity : Double(bounds[bucket]) / unit
      series.write(total, suffix: "_bucket", bound: bound, into: &buffer)
    }
    series.write(sum, suffix: "_sum", into: &buffer)
    series.write(total, suffix: "_count", into: &buffer)
  }
}

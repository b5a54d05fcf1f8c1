import CoreMetrics
import NIOCore
import Synchronization

/// A count that only grows. An increment below zero is a bug and stops the process.
final class CounterInstrument: CounterHandler, Instrument {
  private let count = Atomic<UInt64>(0)

  var kind: MetricKind { .counter }

  func increment(by amount: Int64) {
    precondition(amount >= 0, "a counter only grows")
    count.wrappingAdd(UInt64(amount), ordering: .relaxed)
  }

  /// Starts again from zero, which Prometheus takes for a restart.
  func reset() { count.store(0, ordering: .relaxed) }

  func write(_ series: Series, into buffer: inout ByteBuffer) {
    series.write(count.load(ordering: .relaxed), into: &buffer)
  }
}

/// A sum that only grows, as of seconds. An increment below zero, or by NaN, is a bug and stops the
/// process.
final class FloatingPointCounterInstrument: FloatingPointCounterHandler, Instrument {
  private let sum = Atomic<Double>(0)

  var kind: MetricKind { .counter }

  func increment(by amount: Double) {
    precondition(amount >= 0, "a counter only grows")
    sum.add(amount)
  }

  func reset() { sum.store(0, ordering: .relaxed) }

  func write(_ series: Series, into buffer: inout ByteBuffer) {
    series.write(sum.load(ordering: .relaxed), into: &buffer)
  }
}

extension Atomic<Double> {
  func add(_ amount: Double) {
    var old = load(ordering: .relaxed)
    while true {
      let (exchanged, found) = weakCompareExchange(
        expected: old, desired: old + amount, ordering: .relaxed)
      guard !exchanged else { return }
      old = found
    }
  }
}

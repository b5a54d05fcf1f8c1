import CoreMetrics
import NIOCore
import Synchronization

/// A value that goes up and down; the last one set is the one that is read. Whole numbers above
/// 2^53 lose their last digits, as everywhere in Prometheus.
final class GaugeInstrument: MeterHandler, RecorderHandler, Instrument {
  private let value = Atomic<Double>(0)

  var kind: MetricKind { .gauge }

  func set(_ value: Int64) { set(Double(value)) }
  func set(_ value: Double) { self.value.store(value, ordering: .relaxed) }
  func increment(by amount: Double) { value.add(amount) }
  func decrement(by amount: Double) { value.add(-amount) }
  func record(_ value: Int64) { set(value) }
  func record(_ value: Double) { set(value) }

  func write(_ series: Series, into buffer: inout ByteBuffer) {
    series.write(value.load(ordering: .relaxed), into: &buffer)
  }
}

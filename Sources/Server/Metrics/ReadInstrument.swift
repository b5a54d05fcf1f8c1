import NIOCore
import Synchronization

/// A value that somebody else keeps and that is read when metrics are asked for.
final class ReadInstrument<Value: SampleValue>: Instrument {
  let kind: MetricKind
  private let read: Mutex<@Sendable () -> Value>

  init(_ kind: MetricKind, _ read: @escaping @Sendable () -> Value) {
    self.kind = kind
    self.read = Mutex(read)
  }

  func replace(_ read: @escaping @Sendable () -> Value) {
    self.read.withLock { $0 = read }
  }

  func write(_ series: Series, into buffer: inout ByteBuffer) {
    let read = read.withLock { $0 }
    series.write(read(), into: &buffer)
  }
}

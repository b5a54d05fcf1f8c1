import NIOCore

/// What one series of a metric counts or measures with.
protocol Instrument: AnyObject, Sendable {
  var kind: MetricKind { get }
  /// Appends the samples of this instrument, a line each.
  func write(_ series: Series, into buffer: inout ByteBuffer)
}

/// What the series of one name have in common.
enum MetricKind: String {
  case counter
  case gauge
  case sizeHistogram = "histogram of sizes"
  case durationHistogram = "histogram of durations"

  /// The word behind `# TYPE`.
  var type: String {
    switch self {
    case .counter, .gauge: rawValue
    case .sizeHistogram, .durationHistogram: "histogram"
    }
  }
}

import NIOCore

/// The labels of one series, as they are written: `node="a",shard="3"`, sorted by name. They are
/// kept as bytes because two spellings of é are two values.
struct MetricLabels: Hashable, Comparable {
  let bytes: [UInt8]

  /// Two dimensions of one name are a bug, and so is one named `le`, which histograms use.
  init(_ dimensions: [(String, String)]) {
    let sorted = dimensions.map { (name: MetricName.valid($0.0), value: $0.1) }
      .sorted { $0.name < $1.name }
    var buffer = ByteBuffer()
    for (index, label) in sorted.enumerated() {
      precondition(label.name != "le", "a metric must not have a dimension named le")
      precondition(
        index == 0 || sorted[index - 1].name != label.name,
        "a metric has two dimensions named \(label.name)")
      buffer.writeString("\(index == 0 ? "" : ",")\(label.name)=\"")
      MetricName.write(label.value, escapesQuotes: true, into: &buffer)
      buffer.writeString("\"")
    }
    bytes = Array(buffer.readableBytesView)
  }

  static func < (one: Self, other: Self) -> Bool {
    one.bytes.lexicographicallyPrecedes(other.bytes)
  }
}

import NIOCore
import Synchronization

/// The metrics of one node, as swift-metrics makes them and Prometheus reads them.
///
/// It is not installed for the whole process: `Counter(label:dimensions:factory:)` names it, so that
/// several nodes can live in one process. Making an instrument takes a lock; updating one is a few
/// atomic operations, without a lock or an allocation. Asking twice for the same label and
/// dimensions, in whatever order, gives the same instrument. A label belongs to one kind of metric:
/// asking for another kind is a bug and stops the process.
package final class MetricsRegistry: Sendable {
  /// What to answer as `Content-Type`.
  package static let contentType = "text/plain; version=0.0.4; charset=utf-8"

  private struct Family {
    let kind: MetricKind
    var instruments: [MetricLabels: any Instrument] = [:]
  }

  private struct State {
    var families: [MetricName: Family] = [:]
    var helps: [MetricName: String] = [:]
  }

  private let state = Mutex(State())

  package init() {}

  /// Sets the text that explains a metric, before or after the metric is made; the last one holds.
  package func describe(_ label: String, _ help: String) {
    state.withLock { $0.helps[MetricName(label)] = help }
  }

  /// A gauge that is read when metrics are asked for; NaN says that the value is not known. Asking
  /// again replaces what is read.
  ///
  /// - Parameter read: called on the thread that renders, without a lock of the registry.
  package func gauge(
    _ label: String, _ dimensions: [(String, String)] = [], help: String? = nil,
    read: @escaping @Sendable () -> Double
  ) {
    if let help { describe(label, help) }
    instrument(label, dimensions, ReadInstrument(.gauge, read)).replace(read)
  }

  /// A counter that is read when metrics are asked for. Asking again replaces what is read.
  ///
  /// - Parameter read: never less than before; called on the thread that renders, without a lock of
  ///   the registry.
  package func counter(
    _ label: String, _ dimensions: [(String, String)] = [], help: String? = nil,
    read: @escaping @Sendable () -> UInt64
  ) {
    if let help { describe(label, help) }
    instrument(label, dimensions, ReadInstrument(.counter, read)).replace(read)
  }

  /// A counter of fractions, as of seconds, that is read when metrics are asked for. Asking again
  /// replaces what is read.
  ///
  /// - Parameter read: never less than before; called on the thread that renders, without a lock of
  ///   the registry.
  package func floatingPointCounter(
    _ label: String, _ dimensions: [(String, String)] = [], help: String? = nil,
    read: @escaping @Sendable () -> Double
  ) {
    if let help { describe(label, help) }
    instrument(label, dimensions, ReadInstrument(.counter, read)).replace(read)
  }

  /// Forgets one metric, as of a replica that has left. Whoever still holds the instrument updates
  /// it unseen.
  package func remove(_ label: String, _ dimensions: [(String, String)] = []) {
    let (name, labels) = (MetricName(label), MetricLabels(dimensions))
    remove { present, its, _ in present == name && its == labels }
  }

  /// Appends all metrics in Prometheus' text format 0.0.4, sorted by name and labels.
  package func render(into buffer: inout ByteBuffer) {
    // What is read may take locks of its own, or ask for a metric: not while this one is held.
    let state = state.withLock { $0 }
    for (name, family) in state.families.sorted(by: { $0.key < $1.key }) {
      name.writeHeader(help: state.helps[name], family.kind, into: &buffer)
      for (labels, instrument) in family.instruments.sorted(by: { $0.key < $1.key }) {
        instrument.write(Series(name: name, labels: labels), into: &buffer)
      }
    }
  }

  /// The instrument of that label and those dimensions: the one that is there, else the new one.
  func instrument<I: Instrument>(
    _ label: String, _ dimensions: [(String, String)], _ new: I
  ) -> I {
    let (name, labels) = (MetricName(label), MetricLabels(dimensions))
    return state.withLock { state in
      let kind = state.families[name]?.kind ?? new.kind
      precondition(
        kind == new.kind,
        "the metric \(name.text) is a \(kind.rawValue), not a \(new.kind.rawValue)")
      guard let present = state.families[name]?.instruments[labels] else {
        state.families[name, default: Family(kind: kind)].instruments[labels] = new
        return new
      }
      guard let same = present as? I else {
        preconditionFailure("the metric \(name.text) is a \(type(of: present)), not a \(I.self)")
      }
      return same
    }
  }

  /// Forgets that instrument, if it is one of this registry.
  func remove(_ handler: AnyObject) {
    remove { $2 === handler }
  }

  private func remove(where matches: (MetricName, MetricLabels, any Instrument) -> Bool) {
    state.withLock { state in
      for (name, family) in state.families {
        let kept = family.instruments.filter { !matches(name, $0.key, $0.value) }
        state.families[name] = kept.isEmpty ? nil : Family(kind: family.kind, instruments: kept)
      }
    }
  }
}

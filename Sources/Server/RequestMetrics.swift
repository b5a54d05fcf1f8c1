import Metrics
import NIOCore

/// Requests by route and status, and how long they took: one event loop's handles, made when they are
/// first needed, so that what never happens is not listed.
struct RequestMetrics {
  private let registry: MetricsRegistry
  private var counters = [Counter?](repeating: nil, count: Route.allCases.count << 9)
  private var timers = [Timer?](repeating: nil, count: Route.allCases.count)

  init(_ registry: MetricsRegistry) {
    self.registry = registry
  }

  /// A request was answered.
  mutating func answered(_ route: Route, _ status: Status, since start: NIODeadline) {
    let index = Int(route.rawValue) << 9 | Int(status.code & 511)
    if let counter = counters[index] {
      counter.increment()
    } else {
      let counter = Counter(
        label: "shiplog_requests_total",
        dimensions: [("route", route.name), ("status", String(status.code))], factory: registry)
      counter.increment()
      counters[index] = counter
    }
    let nanoseconds = (NIODeadline.now() - start).nanoseconds
    if let timer = timers[Int(route.rawValue)] {
      timer.recordNanoseconds(nanoseconds)
    } else {
      let timer = Timer(
        label: "shiplog_request_seconds", dimensions: [("route", route.name)],
        preferredDisplayUnit: .seconds, factory: registry)
      timer.recordNanoseconds(nanoseconds)
      timers[Int(route.rawValue)] = timer
    }
  }
}

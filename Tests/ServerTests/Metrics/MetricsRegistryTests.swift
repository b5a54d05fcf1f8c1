import Metrics
import NIOCore
import Server
import Testing

@Suite("Metrics")
struct MetricsRegistryTests {
  private let registry = MetricsRegistry()

  @Test("are written in the text format, sorted by name and labels")
  func wholeText() {
    registry.describe("kv_requests_total", "Requests answered.")
    for (kind, count) in [("set", 2), ("get", 40)] {
      Counter(
        label: "kv_requests_total", dimensions: [("kind", kind), ("code", "200")], factory: registry
      )
      .increment(by: count)
    }
    FloatingPointCounter(label: "kv_busy_seconds_total", factory: registry).increment(by: 1.25)
    Gauge(label: "kv_connections", factory: registry).record(3)
    registry.gauge("kv_replica_lag_seconds", [("replica", "b")], help: "NaN: not known.") { .nan }
    registry.counter("kv_keys_total", help: "Keys.") { .max }
    let timer = Timer(label: "kv_sync_seconds", factory: registry)
    timer.recordNanoseconds(10_000)
    timer.recordNanoseconds(10_001)
    timer.recordSeconds(20)
    #expect(
      registry.text == """
        # TYPE kv_busy_seconds_total counter
        kv_busy_seconds_total 1.25
        # TYPE kv_connections gauge
        kv_connections 3
        # HELP kv_keys_total Keys.
        # TYPE kv_keys_total counter
        kv_keys_total 18446744073709551615
        # HELP kv_replica_lag_seconds NaN: not known.
        # TYPE kv_replica_lag_seconds gauge
        kv_replica_lag_seconds{replica="b"} NaN
        # HELP kv_requests_total Requests answered.
        # TYPE kv_requests_total counter
        kv_requests_total{code="200",kind="get"} 40
        kv_requests_total{code="200",kind="set"} 2
        # TYPE kv_sync_seconds histogram
        kv_sync_seconds_bucket{le="1e-05"} 1
        kv_sync_seconds_bucket{le="2.5e-05"} 2
        kv_sync_seconds_bucket{le="5e-05"} 2
        kv_sync_seconds_bucket{le="0.0001"} 2
        kv_sync_seconds_bucket{le="0.00025"} 2
        kv_sync_seconds_bucket{le="0.0005"} 2
        kv_sync_seconds_bucket{le="0.001"} 2
        kv_sync_seconds_bucket{le="0.0025"} 2
        kv_sync_seconds_bucket{le="0.005"} 2
        kv_sync_seconds_bucket{le="0.01"} 2
        kv_sync_seconds_bucket{le="0.025"} 2
        kv_sync_seconds_bucket{le="0.05"} 2
        kv_sync_seconds_bucket{le="0.1"} 2
        kv_sync_seconds_bucket{le="0.25"} 2
        kv_sync_seconds_bucket{le="0.5"} 2
        kv_sync_seconds_bucket{le="1"} 2
        kv_sync_seconds_bucket{le="2.5"} 2
        kv_sync_seconds_bucket{le="5"} 2
        kv_sync_seconds_bucket{le="10"} 2
        kv_sync_seconds_bucket{le="+Inf"} 3
        kv_sync_seconds_sum 20.000020001
        kv_sync_seconds_count 3

        """)
  }

  @Test("are nothing when there are none")
  func empty() {
    registry.describe("kv_nothing", "Of which there is none.")
    #expect(registry.text == "")
  }

  @Test("are appended to what is in the buffer")
  func appended() {
    Gauge(label: "g", factory: registry).record(1)
    var buffer = ByteBuffer(string: "before ")
    registry.render(into: &buffer)
    #expect(String(buffer: buffer) == "before # TYPE g gauge\ng 1\n")
  }

  @Test("escape the values of labels and the texts of help")
  func escaping() {
    registry.describe("kv_odd", "a \\ b\nc \"d\"")
    Counter(label: "kv_odd", dimensions: [("value", "a \\ b\nc \"d\" é")], factory: registry)
      .increment()
    #expect(
      registry.text == #"""
        # HELP kv_odd a \\ b\nc "d"
        # TYPE kv_odd counter
        kv_odd{value="a \\ b\nc \"d\" é"} 1

        """#)
  }

  @Test(
    "have names of the characters that Prometheus allows",
    arguments: [
      ("wal.sync", "wal_sync"), ("a-b c/d", "a_b_c_d"), ("ns:name", "ns:name"), ("2xx", "_2xx"),
      ("é", "_"), ("", "_"), ("A_z9", "A_z9"),
    ])
  func names(label: String, name: String) {
    Gauge(label: label, factory: registry).record(1)
    #expect(registry.lines(name) == ["\(name) 1"])
  }

  @Test("have labels of the characters that Prometheus allows")
  func labelNames() {
    Gauge(label: "g", dimensions: [("a.b:c", "x"), ("0", "y")], factory: registry).record(1)
    #expect(registry.lines("g") == [#"g{_0="y",a_b_c="x"} 1"#])
  }

  @Test("of the same label and dimensions are one, in whatever order and spelling")
  func sameInstrument() {
    let one = Counter(label: "c.d", dimensions: [("a", "1"), ("b", "2")], factory: registry)
    let same = Counter(label: "c_d", dimensions: [("b", "2"), ("a", "1")], factory: registry)
    let other = Counter(label: "c_d", dimensions: [("a", "1")], factory: registry)
    one.increment()
    same.increment(by: 2)
    other.increment(by: 10)
    #expect(registry.lines("c_d") == [#"c_d{a="1"} 10"#, #"c_d{a="1",b="2"} 3"#])
  }

  @Test("keep apart label values that look the same but differ in their bytes")
  func bytesOfValues() {
    Counter(label: "c", dimensions: [("v", "\u{E9}")], factory: registry).increment()
    Counter(label: "c", dimensions: [("v", "e\u{301}")], factory: registry).increment()
    #expect(registry.lines("c").count == 2)
  }

  @Test("of two registries have nothing to do with each other")
  func twoRegistries() {
    let other = MetricsRegistry()
    Counter(label: "c", factory: registry).increment()
    Counter(label: "c", factory: other).increment(by: 5)
    #expect(registry.lines("c") == ["c 1"])
    #expect(other.lines("c") == ["c 5"])
  }

  @Test("set, go up and go down as meters")
  func meters() {
    let meter = Meter(label: "m", factory: registry)
    meter.set(10)
    meter.increment(by: 2.5)
    meter.decrement()
    #expect(registry.lines("m") == ["m 11.5"])
    meter.set(-Double.infinity)
    #expect(registry.lines("m") == ["m -Inf"])
  }

  @Test("start again when a counter is reset")
  func reset() {
    let (whole, parts) = (
      Counter(label: "c", factory: registry), FloatingPointCounter(label: "f", factory: registry)
    )
    whole.increment(by: 3)
    parts.increment(by: 0.5)
    whole.reset()
    parts.reset()
    parts.increment(by: 0.25)
    #expect(registry.lines("c") + registry.lines("f") == ["c 0", "f 0.25"])
  }

  @Test("that are read are read anew each time, and what is read can be replaced")
  func reads() {
    let connections = Gauge(label: "own", factory: registry)
    registry.gauge("g", [("node", "a")]) { 1 }
    registry.gauge("g", [("node", "b")]) { 2 }
    registry.gauge("g", [("node", "a")]) {
      connections.record(7)
      return 3
    }
    registry.floatingPointCounter("s_total") { 0.5 }
    #expect(registry.lines("g") == [#"g{node="a"} 3"#, #"g{node="b"} 2"#])
    #expect(registry.lines("s_total") == ["s_total 0.5"])
    #expect(registry.lines("own") == ["own 7"])
  }

  @Test("may ask for a metric while they are read")
  func readsThatRegister() {
    let registry = registry
    registry.gauge("g") {
      Counter(label: "scrapes_total", factory: registry).increment()
      return 1
    }
    #expect(registry.lines("g") == ["g 1"])
    #expect(registry.lines("scrapes_total") == ["scrapes_total 2"])
  }

  @Test("are gone once destroyed or removed, the others stay")
  func removed() {
    let counter = Counter(label: "c", dimensions: [("n", "1")], factory: registry)
    Counter(label: "c", dimensions: [("n", "2")], factory: registry).increment()
    let timer = Timer(label: "t", factory: registry)
    registry.gauge("g", [("replica", "a")]) { 1 }
    registry.gauge("g", [("replica", "b")]) { 1 }
    counter.destroy()
    timer.destroy()
    registry.remove("g", [("replica", "a")])
    registry.remove("g", [("replica", "c")])
    registry.remove("no_such_metric")
    #expect(
      registry.text == """
        # TYPE c counter
        c{n="2"} 1
        # TYPE g gauge
        g{replica="b"} 1

        """)
  }

  @Test("stop the process when a label is asked for as two kinds of metric")
  func conflicts() async {
    await #expect(processExitsWith: .failure) {
      let registry = MetricsRegistry()
      _ = Counter(label: "x", factory: registry)
      _ = Gauge(label: "x", dimensions: [("a", "b")], factory: registry)
    }
    await #expect(processExitsWith: .failure) {
      let registry = MetricsRegistry()
      _ = Timer(label: "x", factory: registry)
      _ = Recorder(label: "x", dimensions: [("a", "b")], factory: registry)
    }
    await #expect(processExitsWith: .failure) {
      let registry = MetricsRegistry()
      _ = Counter(label: "x", factory: registry)
      registry.counter("x") { 1 }
    }
  }

  @Test("stop the process when a counter goes down or dimensions are ambiguous")
  func bugs() async {
    await #expect(processExitsWith: .failure) {
      Counter(label: "x", factory: MetricsRegistry()).increment(by: -1)
    }
    await #expect(processExitsWith: .failure) {
      FloatingPointCounter(label: "x", factory: MetricsRegistry()).increment(by: Double.nan)
    }
    await #expect(processExitsWith: .failure) {
      _ = Counter(label: "x", dimensions: [("a", "1"), ("a", "2")], factory: MetricsRegistry())
    }
    await #expect(processExitsWith: .failure) {
      _ = Timer(label: "x", dimensions: [("le", "1")], factory: MetricsRegistry())
    }
  }
}

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A run for programs; `docs/bench.md` describes it. Arrays are never null.
public struct JSONReport {
  /// Of the members and what they mean.
  public static let version = 1

  private static let percents: [(name: String, percent: Double)] = [
    ("p50", 50), ("p75", 75), ("p90", 90), ("p95", 95), ("p99", 99), ("p99.9", 99.9),
    ("p99.99", 99.99),
  ]
  /// Buckets grow by so much, from that many nanoseconds on.
  private static let bucketGrowth = 1.05
  private static let bucketFirst = 1_000.0

  private let result: BenchResult

  public init(_ result: BenchResult) { self.result = result }

  /// One line.
  public var text: String {
    let measured = result.measured
    var report = JSONObject()
    report.add("version", Self.version)
    report.add("mode", result.targets.mode.rawValue)
    report.add("started", result.startSeconds)
    report.add("parameters", parameters)
    report.add("targets", result.descriptions.map { Self.target($0).text })
    report.add("statistics", statistics)
    report.add("write_latencies", Self.sample(measured.writes))
    report.add("read_latencies", Self.sample(measured.reads))
    report.add("scan_latencies", Self.sample(measured.scans))
    report.add("read_write_intervals", Self.sample(measured.intervals))
    report.add("sample_size_max", SampleReservoir.countMaxByDefault)
    report.add("stale_reads", staleReads)
    report.add("failures", failures)
    report.add("throughput_over_time", timeline)
    report.add("client", client)
    return report.text
  }

  private static func sample(_ record: DurationRecord) -> [String] {
    record.sample.values.map { JSONObject.seconds($0) }
  }

  private var parameters: JSONObject {
    let parameters = result.parameters
    var object = JSONObject()
    object.add("workload", parameters.workload ?? "write-ratio")
    var mix = JSONObject()
    mix.add("reads", parameters.mix.reads)
    mix.add("updates", parameters.mix.updates)
    mix.add("inserts", parameters.mix.inserts)
    mix.add("scans", parameters.mix.scans)
    mix.add("read_modify_writes", parameters.mix.readModifyWrites)
    object.add("mix", mix)
    object.add("loop", parameters.operationsPerSecond == nil ? "closed" : "open")
    object.add("operations_per_second", parameters.operationsPerSecond ?? 0)
    object.add("arrivals", parameters.arrivals.rawValue)
    object.add("connections", parameters.connections)
    object.add("pipeline", parameters.pipeline)
    object.add("threads", parameters.threads)
    object.add("keys", parameters.keys)
    object.add("key_prefix", parameters.keyPrefix)
    object.add("distribution", parameters.distribution.rawValue)
    object.add("value_bytes", parameters.valueBytes)
    object.add("duration_seconds", parameters.durationSeconds ?? 0)
    object.add("requests", parameters.operations ?? 0)
    object.add("warmup_seconds", parameters.warmupSeconds)
    object.add("timeout_seconds", parameters.timeoutSeconds)
    object.add("read_from", parameters.readFrom.rawValue)
    object.add("route", parameters.route.rawValue)
    object.add("w", parameters.writeQuorum ?? 0)
    object.add("r", parameters.readQuorum ?? 0)
    object.add("stale_check", parameters.checksStaleness)
    object.add("seed", parameters.seed)
    return object
  }

  private static func target(_ description: NodeDescription) -> JSONObject {
    var object = JSONObject()
    object.add("address", "\(description.address)")
    object.add("node", description.node)
    object.add("role", description.role)
    object.add("version", description.version)
    object.add("shard", description.shard)
    object.add("shards", description.shardCount)
    object.add("keys", description.keys)
    return object
  }

  private var statistics: JSONObject {
    let measured = result.measured
    var object = JSONObject()
    object.add("duration_seconds", result.seconds)
    object.add("interrupted", result.isInterrupted)
    object.add("requests", measured.answered)
    object.add("failures", measured.failed)
    object.add("never_sent", measured.unsent)
    object.add("absent_reads", measured.absentReads)
    object.add("siblings", measured.siblingReads)
    let rates = result.throughput
    var throughput = JSONObject()
    throughput.add("total", rates.reads + rates.writes + rates.scans)
    throughput.add("reads", rates.reads)
    throughput.add("writes", rates.writes)
    throughput.add("scans", rates.scans)
    object.add("throughput", throughput)
    object.add("reads", Self.summary(measured.reads))
    object.add("writes", Self.summary(measured.writes))
    object.add("scans", Self.summary(measured.scans))
    object.add("read_modify_writes", Self.summary(measured.readModifyWrites))
    object.add("read_write_intervals", Self.summary(measured.intervals))
    object.add("failed", Self.summary(measured.failures))
    if let loading = result.loading {
      var load = JSONObject()
      load.add("keys", loading.keys)
      load.add("seconds", loading.seconds)
      object.add("load", load)
    }
    return object
  }

  /// Seconds.
  private static func summary(_ record: DurationRecord) -> JSONObject {
    var object = JSONObject()
    object.add("count", record.count)
    object.add("mean", record.mean / 1e9)
    object.add("min", json: JSONObject.seconds(record.minimum))
    object.add("max", json: JSONObject.seconds(record.maximum))
    var percentiles = JSONObject()
    for (name, percent) in percents {
      percentiles.add(name, json: JSONObject.seconds(record.percentile(percent)))
    }
    object.add("percentiles", percentiles)
    object.add("distribution", distribution(record))
    object.add("buckets", buckets(record))
    return object
  }

  /// `[seconds, part of all that is not above]`, finer towards the end, as HdrHistogram prints it.
  private static func distribution(_ record: DurationRecord) -> [String] {
    guard record.count > 0 else { return [] }
    return record.histogram.percentiles(ticksPerHalfDistance: 5).map { step in
      let value = min(max(step.value, record.minimum), record.maximum)
      return "[\(JSONObject.seconds(value)),\(JSONObject.number(step.percentile / 100))]"
    }
  }

  /// `[from, to, count]`, from and to in seconds; without those that are empty.
  private static func buckets(_ record: DurationRecord) -> [String] {
    // Of the histogram's own steps, which are far finer.
    var counts: [Int: UInt64] = [:]
    for step in record.histogram.recordedValues() {
      let value = Double(record.histogram.medianEquivalentForValue(step.value))
      let index =
        value < bucketFirst ? -1 : Int(log(value / bucketFirst) / log(bucketGrowth))
      counts[index, default: 0] += step.count
    }
    return counts.sorted { $0.key < $1.key }.map { index, count in
      let from = index < 0 ? 0 : bucketFirst * pow(bucketGrowth, Double(index))
      let to = bucketFirst * pow(bucketGrowth, Double(index + 1))
      return "[\(JSONObject.number(from / 1e9)),\(JSONObject.number(to / 1e9)),\(count)]"
    }
  }

  private var staleReads: JSONObject {
    let measured = result.measured
    var object = JSONObject()
    object.add("checked", result.parameters.checksStaleness)
    object.add("reads", measured.judgedReads)
    object.add("stale", measured.staleReads)
    object.add(
      "percent",
      measured.judgedReads > 0
        ? Double(measured.staleReads) / Double(measured.judgedReads) * 100 : 0)
    object.add("concurrent", measured.concurrentReads)
    return object
  }

  private var failures: JSONObject {
    var object = JSONObject()
    object.add("total", result.measured.failed)
    var kinds = JSONObject()
    for (kind, count) in result.measured.failureCounts.sorted(by: { $0.key < $1.key }) {
      kinds.add(kind.name, count)
    }
    object.add("by_kind", kinds)
    return object
  }

  private var timeline: JSONObject {
    let timeline = result.measured.timeline
    let seconds = Double(timeline.intervalNanoseconds) / 1e9
    var object = JSONObject()
    object.add("interval_seconds", seconds)
    object.add(
      "points",
      timeline.points.enumerated().map { index, point in
        var object = JSONObject()
        object.add("time", Double(index) * seconds)
        object.add("reads", point.reads)
        object.add("writes", point.writes)
        object.add("failures", point.failures)
        object.add("latency_max", json: JSONObject.seconds(point.latencyMax))
        return object.text
      })
    return object
  }

  private var client: JSONObject {
    let measured = result.measured
    var object = JSONObject()
    object.add("processor_seconds", json: JSONObject.seconds(measured.processorNanoseconds))
    object.add("processor_seconds_per_request", result.processorNanosecondsPerRequest / 1e9)
    object.add("busy", result.busyPart)
    object.add("connections_opened", measured.connectionsOpened)
    object.add("connections_lost", measured.connectionsLost)
    object.add("behind_max_seconds", json: JSONObject.seconds(measured.behindMaxNanoseconds))
    object.add("send_delays", Self.summary(measured.sendDelays))
    return object
  }
}

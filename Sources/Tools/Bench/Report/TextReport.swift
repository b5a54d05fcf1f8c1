/// A run for a person.
public struct TextReport {
  private let result: BenchResult
  private var lines: [String] = []

  public init(_ result: BenchResult) { self.result = result }

  /// Lines, each with its end.
  public var text: String {
    var report = self
    report.addHead()
    report.addLatencies()
    report.addFailures()
    report.addStaleness()
    report.addClient()
    return report.lines.map { $0 + "\n" }.joined()
  }

  private mutating func add(_ name: String, _ text: String) {
    lines.append(FixedText.left(name, 24) + text)
  }

  private mutating func addHead() {
    let parameters = result.parameters
    let nodes = result.descriptions.map { node in
      let shard = node.shardCount > 1 ? " of shard \(node.shard)" : ""
      return "\(node.address) (\(node.role)\(shard), \(node.version))"
    }
    add("target", nodes.joined(separator: ", "))
    if result.targets.isCluster {
      add(
        "route",
        result.targets.routesByKey
          ? "direct: each request to a node of its key's shard"
          : "entry: every request to a target, which hands on what is another's")
    }
    let name = parameters.workload.map { "YCSB \($0): " } ?? ""
    add(
      "workload",
      "\(name)\(parameters.mix.text); \(FixedText.count(parameters.keys)) keys, "
        + "\(parameters.distribution.rawValue), "
        + "values of \(FixedText.count(UInt64(parameters.valueBytes))) bytes"
    )
    var load: String
    if let rate = parameters.operationsPerSecond {
      load = "open loop, \(FixedText.trimmed(rate)) operations/s, "
      load += "\(parameters.arrivals.rawValue) arrivals"
    } else {
      load = "closed loop"
    }
    load += ", \(FixedText.count(UInt64(parameters.connections))) connections"
    if parameters.pipeline > 1 { load += ", \(parameters.pipeline) requests at a time on each" }
    add("load", load)
    if let loading = result.loading {
      add(
        "stored before",
        "\(FixedText.count(loading.keys)) keys in "
          + "\(FixedText.fixed(loading.seconds, places: 1)) s, not measured")
    }
    add(
      "measured",
      "\(FixedText.fixed(result.seconds, places: 2)) s "
        + "behind a warm-up of \(FixedText.trimmed(parameters.warmupSeconds)) s"
        + (result.isInterrupted ? "; interrupted" : ""))
    lines.append("")
  }

  private mutating func addLatencies() {
    let titles = ["count", "a second", "mean", "P50", "P95", "P99", "P99.9", "max"]
    lines.append(FixedText.left("", 16) + titles.map { FixedText.right($0, 11) }.joined())
    let measured = result.measured
    let throughput = result.throughput
    addRow("reads", measured.reads, throughput.reads)
    addRow("writes", measured.writes, throughput.writes)
    if measured.scans.count > 0 { addRow("scans", measured.scans, throughput.scans) }
    if measured.readModifyWrites.count > 0 {
      addRow("  both, read & write", measured.readModifyWrites, nil)
    }
    let total = throughput.reads + throughput.writes + throughput.scans
    lines.append(
      FixedText.left("all", 16) + FixedText.right(FixedText.count(measured.answered), 11)
        + FixedText.right(FixedText.fixed(total, places: total < 100 ? 1 : 0), 11))
    lines.append("")
  }

  private mutating func addRow(_ name: String, _ record: DurationRecord, _ rate: Double?) {
    var cells = [FixedText.count(record.count)]
    cells.append(rate.map { FixedText.fixed($0, places: $0 < 100 ? 1 : 0) } ?? "")
    if record.count > 0 {
      cells.append(FixedText.duration(record.mean))
      for percent in [50, 95, 99, 99.9] {
        cells.append(FixedText.duration(Double(record.percentile(percent))))
      }
      cells.append(FixedText.duration(Double(record.maximum)))
    } else {
      cells += Array(repeating: "–", count: 6)
    }
    let width = max(11, 27 - name.count)
    lines.append(
      FixedText.left(name, 16) + FixedText.right(cells[0], name.count > 16 ? width : 11)
        + cells.dropFirst().map { FixedText.right($0, 11) }.joined())
  }

  private mutating func addFailures() {
    let measured = result.measured
    var text = FixedText.count(measured.failed)
    if measured.failed > 0 {
      let kinds = measured.failureCounts.sorted { $0.key < $1.key }.map {
        "\($0.key.name) \(FixedText.count($0.value))"
      }
      text +=
        " (\(kinds.joined(separator: ", "))), not in the latencies; the longest took "
        + FixedText.duration(Double(measured.failures.maximum))
    }
    add("failures", text)
    if measured.leaderMoves > 0 {
      let times = measured.leaderMoves == 1 ? "once" : "\(measured.leaderMoves) times"
      add("leaders", "another node was found to lead a shard \(times), and asked from then on")
    }
    if measured.absentReads > 0 {
      add("absent", "\(FixedText.count(measured.absentReads)) reads found no such key")
    }
    if measured.siblingReads > 0 {
      add("siblings", "\(FixedText.count(measured.siblingReads)) reads found more than one version")
    }
    if measured.unsent > 0 {
      add(
        "never sent",
        "\(FixedText.count(measured.unsent)) requests that were due: "
          + "their latency is in no figure above")
    }
    if let rate = result.parameters.operationsPerSecond {
      let delays = measured.sendDelays
      let waiting = UInt64(Double(measured.behindMaxNanoseconds) / 1e9 * rate)
      add(
        "sent behind schedule",
        "P50 \(FixedText.duration(Double(delays.percentile(50)))), "
          + "P99 \(FixedText.duration(Double(delays.percentile(99)))), "
          + "max \(FixedText.duration(Double(delays.maximum))), part of the latencies; "
          + "at most \(FixedText.count(waiting)) were due and not sent")
    }
  }

  private mutating func addStaleness() {
    let measured = result.measured
    if result.parameters.checksStaleness {
      let part =
        measured.judgedReads > 0
        ? Double(measured.staleReads) / Double(measured.judgedReads) * 100 : 0
      add(
        "stale reads",
        "\(FixedText.count(measured.staleReads)) of \(FixedText.count(measured.judgedReads)) "
          + "(\(FixedText.fixed(part, places: 3)) %); apart from them "
          + "\(FixedText.count(measured.concurrentReads)) that a write of the key overlapped")
    } else {
      add("stale reads", "not checked (--stale-check)")
    }
    let intervals = measured.intervals
    if intervals.count > 0 {
      add(
        "read-write intervals",
        "\(FixedText.count(intervals.count)) reads of keys written before: "
          + "mean \(FixedText.duration(intervals.mean)), "
          + "P50 \(FixedText.duration(Double(intervals.percentile(50)))), "
          + "P95 \(FixedText.duration(Double(intervals.percentile(95)))), "
          + "max \(FixedText.duration(Double(intervals.maximum)))")
    } else {
      add("read-write intervals", "none: no key was read behind a write of it")
    }
  }

  private mutating func addClient() {
    let each = result.processorNanosecondsPerRequest
    guard each > 0 else { return }
    let threads = result.parameters.threads
    add(
      "client",
      "\(FixedText.duration(each)) of processor time a request, system calls included; "
        + "\(threads) thread\(threads == 1 ? "" : "s"), "
        + "busy \(FixedText.fixed(result.busyPart * 100, places: 0)) % of the time"
    )
    if result.busyPart > 0.95 {
      add("", "it is at its limit, and latencies are its own, too: give it --threads, or less load")
    }
  }
}

import Engine
import Logging
import Metrics
import Synchronization
import WAL

/// What a node counts and measures, by way of swift-metrics.
final class ServerMetrics: CommitterObserver, Sendable {
  let registry = MetricsRegistry()
  private let logger: Logger
  private let isDiskFull = Atomic(false)
  /// Called once, when the log has failed.
  private let onFailure: @Sendable (WALError) -> Void

  private let frameRecords: Recorder
  private let frameBytes: Recorder
  private let gather: Timer
  private let write: Timer
  private let sync: Timer
  private let apply: Timer
  let connections = Atomic(0)
  let connectionsAccepted: Counter
  let connectionsRefused: Counter

  init(logger: Logger, onFailure: @escaping @Sendable (WALError) -> Void) {
    self.logger = logger
    self.onFailure = onFailure
    let registry = registry
    func stage(_ name: String) -> Timer {
      Timer(
        label: "shiplog_commit_stage_seconds", dimensions: [("stage", name)],
        preferredDisplayUnit: .seconds, factory: registry)
    }
    frameRecords = Recorder(label: "shiplog_frame_records", aggregate: true, factory: registry)
    frameBytes = Recorder(label: "shiplog_frame_bytes", aggregate: true, factory: registry)
    gather = stage("gather")
    write = stage("write")
    sync = stage("sync")
    apply = stage("apply")
    connectionsAccepted = Counter(label: "shiplog_connections_accepted_total", factory: registry)
    connectionsRefused = Counter(label: "shiplog_connections_refused_total", factory: registry)
    describe()
    ProcessMetrics.register(in: registry)
  }

  private func describe() {
    registry.describe("shiplog_requests_total", "Requests answered, by route and status.")
    registry.describe(
      "shiplog_request_seconds",
      "From a request's head, or the read that brought it, to its answer, by route.")
    registry.describe("shiplog_frame_records", "Records that shared one commit.")
    registry.describe("shiplog_frame_bytes", "Bytes of the records that shared one commit.")
    registry.describe(
      "shiplog_commit_stage_seconds",
      "A commit's stages: gather (judge and copy), write (to the file, the sync included), "
        + "sync (that alone), apply (to the index).")
    registry.describe("shiplog_connections_accepted_total", "Connections taken.")
    registry.describe("shiplog_connections_refused_total", "Connections over the bound.")
  }

  /// Registers what is read when somebody asks.
  func register(_ node: NodeState) {
    let store = node.store
    let index = store.index
    let progress = store.progress
    registry.gauge("shiplog_keys", help: "Keys.") { Double(index.count) }
    registry.gauge(
      "shiplog_memory_bytes", help: "What keys and values take, and what it takes to find them."
    ) { Double(index.memoryBytes) }
    registry.gauge("shiplog_in_flight_bytes", help: "Writes that wait or are being committed.") {
      Double(store.committer.inFlightBytes)
    }
    registry.gauge("shiplog_body_bytes", help: "Bodies that are being received.") {
      Double(node.bodyBytes)
    }
    registry.gauge("shiplog_answer_bytes", help: "Large answers that are being sent.") {
      Double(node.answerBytes)
    }
    registry.gauge("shiplog_watchers", help: "Change feeds that are being sent.") {
      Double(node.watcherCount)
    }
    registry.gauge("shiplog_connections", help: "Open connections.") {
      Double(self.connections.load(ordering: .relaxed))
    }
    for (stage, read) in [
      ("appended", { @Sendable in progress.appended }),
      ("durable", { @Sendable in progress.durable }),
      ("applied", { @Sendable in index.appliedSequence }),
    ] {
      registry.gauge(
        "shiplog_sequence", [("stage", stage)], help: "The last sequence number that is so far."
      ) { Double(read()) }
    }
    registry.gauge(
      "shiplog_disk_full", help: "1 while writes are refused because the disk is full."
    ) {
      self.isDiskFull.load(ordering: .relaxed) ? 1 : 0
    }
    registry.gauge("shiplog_epoch", help: "The number of the epoch.") {
      Double(store.epochs.last?.epoch.number ?? 0)
    }
  }

  func committed(_ report: CommitReport) {
    frameRecords.record(report.records)
    frameBytes.record(report.bytes)
    gather.recordNanoseconds(report.gatherNanoseconds)
    write.recordNanoseconds(report.writeNanoseconds)
    if report.syncNanoseconds > 0 { sync.recordNanoseconds(report.syncNanoseconds) }
    apply.recordNanoseconds(report.applyNanoseconds)
  }

  func diskFull(_ reason: WALError?) {
    isDiskFull.store(reason != nil, ordering: .relaxed)
    if let reason {
      logger.error("writes are refused until there is room: \(reason)")
    } else {
      logger.notice("no write was refused for 10 s: the disk has room again")
    }
  }

  func failed(_ error: WALError) {
    onFailure(error)
  }
}

import Engine
import Logging
import Metrics
import Synchronization
import WAL

/// What a node counts and measures, by way of swift-metrics.
final class ServerMetrics: CommitterObserver, SnapshotObserver, Sendable {
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
  private let snapshotTime: Timer
  let connections = Atomic(0)
  let connectionsAccepted: Counter
  let connectionsRefused: Counter
  /// Those that have sent something that the fast lane does not answer.
  let connectionsStandard: Counter
  /// Requests that were handed on to another node, and those that it gave no answer to.
  let forwarded: Counter
  let forwardFailures: Counter
  private let stateMismatches: Counter

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
    snapshotTime = Timer(
      label: "shiplog_snapshot_seconds", preferredDisplayUnit: .seconds, factory: registry)
    connectionsAccepted = Counter(label: "shiplog_connections_accepted_total", factory: registry)
    forwarded = Counter(label: "shiplog_forwarded_requests_total", factory: registry)
    forwardFailures = Counter(label: "shiplog_forward_failures_total", factory: registry)
    stateMismatches = Counter(label: "shiplog_state_mismatches_total", factory: registry)
    connectionsRefused = Counter(label: "shiplog_connections_refused_total", factory: registry)
    connectionsStandard = Counter(label: "shiplog_connections_standard_total", factory: registry)
    describe()
    ProcessMetrics.register(in: registry)
  }

  private func describe() {
    registry.describe("shiplog_requests_total", "Requests answered, by route and status.")
    registry.describe(
      "shiplog_request_seconds",
      "From a request's head, or the read that brought it, to its answer, by route.")
    registry.describe(
      "shiplog_forwarded_requests_total", "Requests handed on to nodes of other shards.")
    registry.describe(
      "shiplog_forward_failures_total",
      "Of these, how often a node gave no answer. Some were answered by the next one.")
    registry.describe("shiplog_frame_records", "Records that shared one commit.")
    registry.describe("shiplog_frame_bytes", "Bytes of the records that shared one commit.")
    registry.describe(
      "shiplog_commit_stage_seconds",
      "A commit's stages: gather (judge and copy), write (to the file, the sync included), "
        + "sync (that alone), apply (to the index).")
    registry.describe("shiplog_snapshot_seconds", "How long a snapshot took to make.")
    registry.describe("shiplog_connections_accepted_total", "Connections taken.")
    registry.describe("shiplog_connections_refused_total", "Connections over the bound.")
    registry.describe(
      "shiplog_connections_standard_total",
      "Connections that are served by the standard pipeline, from the first request on that needs it."
    )
  }

  /// Registers what is read when somebody asks.
  func register(_ node: NodeState) {
    let store = node.store
    let index = store.index
    let progress = store.progress
    registry.gauge("shiplog_keys", help: "Keys.") { Double(index.count) }
    registry.gauge("shiplog_expiring_keys", help: "Keys that have an expiry.") {
      Double(index.expiringCount)
    }
    registry.counter(
      "shiplog_expired_keys_total", help: "Keys that expired and were removed."
    ) { UInt64(index.expiredCount) }
    registry.gauge(
      "shiplog_memory_bytes", help: "What keys and values take, and what it takes to find them."
    ) { Double(index.memoryBytes) }
    registry.gauge(
      "shiplog_directory_bytes",
      help: "What the keys take in order; 0 until a page is asked for. Not in shiplog_memory_bytes."
    ) { Double(index.directory.memoryBytes) }
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
    register(node.followers)
    registry.gauge("shiplog_log_streams", help: "Followers that the log is being sent to.") {
      Double(node.logStreamCount)
    }
    let feed = store.feed
    registry.counter(
      "shiplog_wal_bytes_total", help: "Bytes of frames that were written since the start."
    ) { feed.writtenBytes }
    registry.gauge(
      "shiplog_wal_held_bytes", help: "Log that is kept only for those who copy or follow it."
    ) { Double(store.snapshots.heldLogBytes) }
    let directory = store.options.dataDirectory
    registry.gauge(
      "shiplog_disk_free_bytes", help: "What is left of the data directory's disk."
    ) { DiskSpace.freeBytes(directory).map { Double($0) } ?? .nan }
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
    registerSnapshots(store.snapshots)
    let diverged = store.report.diverged
    registry.gauge(
      "shiplog_diverged_tails", help: "Ends of the log that another history has replaced, kept."
    ) { Double(diverged.tails) }
    registry.gauge(
      "shiplog_diverged_records", help: "The puts and deletes in them."
    ) { Double(diverged.records) }
    registry.gauge(
      "shiplog_config_version",
      help: "The version of the cluster's configuration; 0 for a node alone."
    ) { Double(node.configVersion ?? 0) }
    if let merged = node.merged { register(merged, node) }
    registry.gauge("shiplog_epoch", help: "The number of the epoch.") {
      Double(store.epochs.last?.epoch.number ?? 0)
    }
  }

  /// Of a leaderless shard.
  private func register(_ merged: MergedStore, _ node: NodeState) {
    registry.gauge(
      "shiplog_logs", help: "Logs whose merge the state is, this node's own among them."
    ) {
      Double(merged.state.applied.entries.count)
    }
    registry.gauge(
      "shiplog_lacked_records",
      help: "Records that another member was heard to have, of all logs, and this node has not."
    ) { [weak node] in Double(node?.originFollowing?.lackedRecords ?? 0) }
    registry.gauge(
      "shiplog_pending_deletions", help: "Deletions of what may still come from another log."
    ) { Double(merged.state.deletionCount) }
  }

  private func registerSnapshots(_ snapshots: Snapshotter) {
    registry.gauge(
      "shiplog_snapshot_sequence", help: "What the newest snapshot covers; 0 without one."
    ) { Double(snapshots.newest?.sequence ?? 0) }
    registry.gauge("shiplog_snapshot_bytes", help: "The newest snapshot's file.") {
      Double(snapshots.newest?.bytes ?? 0)
    }
    registry.gauge(
      "shiplog_snapshot_time_seconds", help: "When the newest snapshot was made, since 1970."
    ) { Double(snapshots.newest?.timeMilliseconds ?? 0) / 1_000 }
    registry.gauge(
      "shiplog_snapshot_progress", help: "How much of the snapshot that is being made is done."
    ) {
      guard let progress = snapshots.progress, progress.totalBytes > 0 else { return 0 }
      return min(1, Double(progress.doneBytes) / Double(progress.totalBytes))
    }
    registry.counter("shiplog_snapshots_total", help: "Snapshots made.") {
      UInt64(snapshots.counts.made)
    }
    registry.counter("shiplog_snapshot_failures_total", help: "Snapshots that failed.") {
      UInt64(snapshots.counts.failed)
    }
  }

  /// A replica's metrics are there as long as it is known.
  private func register(_ followers: Followers) {
    typealias Row = LeaderProgress.Row
    var gauges:
      [(
        name: String, dimensions: [(String, String)], help: String, read: @Sendable (Row) -> Double
      )] =
        [
          (
            "shiplog_replica_lag_records", [], "Records that a replica has not acknowledged.",
            { $0.lag.records.map { Double($0) } ?? .nan }
          ),
          (
            "shiplog_replica_lag_bytes", [], "Bytes of log that a replica has not acknowledged.",
            { $0.lag.bytes.map { Double($0) } ?? .nan }
          ),
          (
            "shiplog_replica_lag_seconds", [],
            "Age of the oldest record that a replica has not acknowledged.",
            { $0.lag.seconds ?? .nan }
          ),
        ]
    for state in LeaderProgress.State.allCases {
      gauges.append(
        (
          "shiplog_replica_state", [("state", state.rawValue)], "1 for the state that it is in.",
          { $0.state == state ? 1 : 0 }
        ))
    }
    let registry = registry
    let all = gauges
    followers.onChange { [weak followers] joined, left in
      for gauge in all {
        for id in left { registry.remove(gauge.name, [("replica", id)] + gauge.dimensions) }
        for id in joined {
          let read = gauge.read
          registry.gauge(
            gauge.name, [("replica", id)] + gauge.dimensions, help: gauge.help
          ) { [weak followers] in followers?.row(id).map(read) ?? .nan }
        }
      }
    }
  }

  func snapshotMade(_ report: SnapshotReport) {
    snapshotTime.recordNanoseconds(Int64(report.seconds * 1e9))
    let info = report.info
    let source = report.isFromIndex ? ", written from memory because the log is damaged" : ""
    logger.info(
      """
      snapshot up to \(info.sequence): \(info.keys) keys, \(info.dataBytes) bytes of keys and values in \
      a file of \(info.bytes), in \((report.seconds * 1_000).rounded() / 1_000) s\(source)
      """)
  }

  func snapshotFailed(_ error: WALError) {
    logger.error("no snapshot was made; it is tried again: \(error)")
  }

  func quarantined(_ paths: [String], because error: WALError) {
    logger.warning(
      "damaged, but covered by a snapshot, so nothing is lost; moved to \(paths.joined(separator: ", ")): \(error)"
    )
  }

  func healed(_ log: RepairedLog) {
    logger.warning("the log was damaged, and is whole again: \(log)")
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

  func segmentsDelayed(_ reason: WALError?) {
    if let reason {
      logger.error(
        "the log's next segment is not ready, or an old one not gone; it is tried again: \(reason)")
    } else {
      logger.notice("the log's next segment is ready again")
    }
  }

  func stateDiffers(at sequence: UInt64) {
    stateMismatches.increment()
    logger.critical(
      "the state at the mark \(sequence) has another digest than its original had there: please report this"
    )
  }

  func failed(_ error: WALError) {
    onFailure(error)
  }
}

/// What is asked for: the routes that the metrics tell apart.
package enum Route: UInt8, CaseIterable, Sendable {
  case classicGet, classicSet, classicDelete, purge
  case jsonGet, localRead, jsonSet
  case restGet, restPut, restDelete, multiGet, page, batch, watch, logStream, acknowledgement
  case status, position, health, ready, metrics, snapshot, snapshotFile, promote, announce, repair
  case diverged, history, config, positions, versions
  case other

  /// Of the routes for one key: whether it changes nothing.
  var isRead: Bool {
    switch self {
    case .classicGet, .jsonGet, .localRead, .restGet: true
    default: false
    }
  }

  /// In metrics and logs.
  package var name: String {
    switch self {
    case .classicGet: "get"
    case .classicSet: "set"
    case .classicDelete: "delete"
    case .purge: "purge"
    case .jsonGet: "json_get"
    case .localRead: "local_read"
    case .jsonSet: "json_set"
    case .restGet: "kv_get"
    case .restPut: "kv_put"
    case .restDelete: "kv_delete"
    case .multiGet: "kv_multi_get"
    case .page: "kv_page"
    case .batch: "batch"
    case .watch: "watch"
    case .logStream: "wal_stream"
    case .acknowledgement: "wal_ack"
    case .status: "status"
    case .position: "wal_position"
    case .health: "health"
    case .ready: "ready"
    case .metrics: "metrics"
    case .snapshot: "snapshot"
    case .snapshotFile: "snapshot_file"
    case .promote: "promote"
    case .announce: "announce"
    case .repair: "repair"
    case .diverged: "diverged"
    case .history: "history"
    case .config: "config"
    case .positions: "wal_positions"
    case .versions: "wal_versions"
    case .other: "other"
    }
  }
}

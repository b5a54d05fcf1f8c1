import Client
import Engine
import Logging
import NIOCore
import NIOPosix
import Sharding
import WAL

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// One node: a store, and a listener in front of it.
public final class Node: Sendable {
  private let life: any NodeLifetime
  private let listener: Listener
  private let configuration: Configuration
  private let forwarder: Forwarder

  /// The address to reach it at.
  public var address: String { configuration.address }

  /// Takes the address, recovers the store, and serves. Who connects before that is told how far it is.
  ///
  /// A replica without data returns as soon as it has begun to wait for its leader.
  ///
  /// - Parameters:
  ///   - progress: how far it is; ends the start with `WALError.cancelled` when it is cancelled.
  ///   - prepare: called when the address is the node's, before anything is done in the data directory.
  ///     Gets the port.
  ///   - onFailure: called, on one of the node's threads, when the log takes no more writes, which means
  ///     that nothing is acknowledged from then on, or when no connection is taken any more. The
  ///     process had better end.
  /// - Throws: `WALError` about the data, `NodeError` about the address, what `prepare` throws. The
  ///   address is free again then.
  public static func start(
    _ configuration: Configuration, logger: Logger, progress: StartProgress = StartProgress(),
    prepare: (_ port: Int?) async throws -> Void = { _ in },
    onFailure: @escaping @Sendable (any Error) -> Void
  ) async throws -> Node {
    let listener = try await listen(configuration, progress, onFailure)
    do {
      try await prepare(listener.port)
      let forwarder = Forwarder(
        address: configuration.address, linkDelay: configuration.linkDelay)
      let life: any NodeLifetime
      if configuration.isLeaderless {
        life = try LeaderlessLife(
          configuration, listener, progress, logger: logger, onFailure: onFailure
        ) { othersHave in
          try await openMerged(
            configuration, progress, othersHave, forwarder, logger: logger, onFailure: onFailure)
        }
      } else {
        life = try NodeLife(
          configuration, listener, progress, logger: logger, onFailure: onFailure
        ) { opening in
          try await open(
            configuration, progress, opening, forwarder, logger: logger, onFailure: onFailure)
        }
      }
      try await life.start()
      return Node(life, listener, configuration, forwarder)
    } catch {
      try await listener.abandon()
      throw error
    }
  }

  static func listen(
    _ configuration: Configuration, _ progress: StartProgress,
    _ onFailure: @escaping @Sendable (any Error) -> Void
  ) async throws -> Listener {
    do {
      return try await Listener.bind(configuration, progress: progress) {
        onFailure(NodeError.listenerLost(address: configuration.address))
      }
    } catch {
      throw NodeError.cannotListen(address: configuration.address, reason: reason(error))
    }
  }

  private static func open(
    _ configuration: Configuration, _ progress: StartProgress, _ opening: NodeLife.Opening,
    _ forwarder: Forwarder, logger: Logger, onFailure: @escaping @Sendable (any Error) -> Void
  ) async throws -> NodeState {
    let metrics = ServerMetrics(logger: logger, onFailure: onFailure)
    var options = configuration.storeOptions(progress)
    if case .copy(let origin) = opening {
      options.isCopy = true
      options.origin = origin
    }
    // It takes as long as there is data: the threads of tasks have signals to handle meanwhile.
    let store = try await DamageRepair.open(configuration, options, logger) { [options] in
      try Store.open(options, observer: metrics, snapshotObserver: metrics)
    }
    log(store.report, store, logger)
    let state = NodeState(
      configuration: configuration, address: configuration.address, store: store,
      metrics: metrics, logger: logger,
      peers: try configuration.otherMembers.map { try NodeAddress(parsing: $0.address) },
      forwarder: forwarder, lacksSomething: try LackNote(configuration.dataDirectory).isThere())
    configuration.keeper?.serve(state)
    metrics.register(state)
    ProcessMemory.giveBack()
    return state
  }

  /// The same for a node of a leaderless shard.
  private static func openMerged(
    _ configuration: Configuration, _ progress: StartProgress, _ othersHave: VersionVector,
    _ forwarder: Forwarder, logger: Logger, onFailure: @escaping @Sendable (any Error) -> Void
  ) async throws -> NodeState {
    let metrics = ServerMetrics(logger: logger, onFailure: onFailure)
    let options = configuration.storeOptions(progress)
    let note = LackNote(configuration.dataDirectory)
    let merged = try await NIOSingletons.posixBlockingThreadPool.runIfActive {
      try MergedStore.open(
        options, address: configuration.address, othersHave: othersHave, observer: metrics)
    }
    log(merged, logger)
    let state = NodeState(
      configuration: configuration, address: configuration.address, store: merged.own,
      metrics: metrics, logger: logger,
      peers: try configuration.otherMembers.map { try NodeAddress(parsing: $0.address) },
      forwarder: forwarder, lacksSomething: try note.isThere(), merged: merged)
    configuration.keeper?.serve(state)
    metrics.register(state)
    ProcessMemory.giveBack()
    return state
  }

  private static func log(_ merged: MergedStore, _ logger: Logger) {
    let report = merged.report
    let records = report.logs.reduce(0) { $0 + Int($1.report.records) }
    logger.info(
      """
      recovered: \(merged.state.index.count) keys from \(records) records of \(report.logs.count) logs, in \
      \(rounded(report.seconds)) s; its own is \(hexadecimal(merged.own.origin)), at sequence number \
      \(merged.own.progress.durable)
      """)
    if let reason = report.renewed {
      logger.warning("this node writes to a new log from now on: \(reason)")
    }
    for (origin, log) in report.logs {
      if let cut = log.cut {
        logger.warning(
          "log \(hexadecimal(origin)): \(cut.damage); its bytes are in \(cut.saved.joined(separator: ", "))"
        )
      }
    }
  }

  private init(
    _ life: any NodeLifetime, _ listener: Listener, _ configuration: Configuration,
    _ forwarder: Forwarder
  ) {
    self.forwarder = forwarder
    self.life = life
    self.listener = listener
    self.configuration = configuration
  }

  /// What the start found in the data directory; nil on a replica that has nothing yet.
  public var report: StoreReport? { state?.store.report }

  private var state: NodeState? { life.state }

  /// The port, where the system chose it.
  public var port: Int? { listener.port }

  /// Accepts nothing more, ends what is in progress, syncs, and closes the log in order.
  public func stop() async throws {
    // A leader's clients come first; a replica first ends what could open its store anew.
    let isLeading = state?.isLeading ?? false
    if !isLeading { try await life.stop() }
    let drained: Result<Void, any Error>
    do {
      drained = .success(try await listener.drain(configuration.limits))
    } catch {
      drained = .failure(error)
    }
    if isLeading { try await life.stop() }
    // Whatever became of the connections: the log is closed in order.
    let state = state
    if let merged = state?.merged { try merged.close() } else { try state?.store.close() }
    // Every client is answered: what is under way is for nobody.
    await forwarder.close(within: 1)
    try drained.get()
    state?.feedReaders.stop()
    try await listener.stop()
  }

  private static func log(_ report: StoreReport, _ store: Store, _ logger: Logger) {
    let log = report.log
    let rate = report.seconds > 0 ? Double(log.records) / report.seconds : 0
    logger.info(
      """
      \(log.isNew ? "began a new log" : "recovered"): \(store.index.count) keys from \
      \(log.records) records, \(log.bytes) bytes of log, in \(rounded(report.seconds)) s \
      (\(Int(rate)) records/s); at sequence number \(store.progress.durable), epoch \
      \(store.epoch.number)\(log.isNew || log.wasClean ? "" : "; the last stop was unclean")
      """)
    if let snapshot = report.snapshot {
      let info = snapshot.info
      logger.info(
        """
        of these, \(info.keys) keys from the snapshot up to \(info.sequence), \(info.bytes) bytes, in \
        \(rounded(snapshot.seconds)) s (\(Int(Double(info.keys) / max(snapshot.seconds, 1e-6))) keys/s)
        """)
    }
    for bad in report.badSnapshots {
      logger.warning(
        "\(bad.error); an older state and the log behind it served; moved to \(bad.path)")
    }
    for damage in log.covered {
      logger.warning("covered by a snapshot, so nothing is lost: \(damage)")
    }
    if !log.quarantined.isEmpty {
      logger.warning(
        "the log ended before the snapshot that covers it; moved to \(log.quarantined.joined(separator: ", "))"
      )
    }
    if let tail = report.rewound {
      logger.warning(
        "a rewind to \(tail.fork.sequence) was interrupted, and is finished; what was behind is in \(store.options.dataDirectory)/diverged/\(tail.name)"
      )
    }
    if let cut = log.cut {
      logger.warning("\(cut.damage); its bytes are in \(cut.saved.joined(separator: ", "))")
    }
    for sequence in report.digestMismatches {
      logger.critical(
        "the state replayed up to the mark \(sequence) has another digest than it had when that was written: please report this"
      )
    }
  }

  private static func reason(_ error: any Error) -> String {
    guard let error = error as? IOError else { return "\(error)" }
    return String(cString: strerror(error.errnoCode))
  }

  private static func rounded(_ seconds: Double) -> Double { (seconds * 1_000).rounded() / 1_000 }
}

/// Why a node did not start, where it is not the data.
public enum NodeError: Error, CustomStringConvertible {
  case cannotListen(address: String, reason: String)
  case listenerLost(address: String)
  case leaderUnknown(address: String)
  case historyLost(address: String, peer: String, reason: String)
  case logReused(address: String, peer: String, origin: String)

  public var description: String {
    switch self {
    case .cannotListen(let address, let reason):
      "cannot listen on \(address): \(reason). Is another process there? Choose another --http-addr"
    case .listenerLost(let address):
      "\(address) takes no more connections: the system refused one with an error. Restart the process"
    case .leaderUnknown(let address):
      "\(address) is a replica, and nothing says of whom: name its leader in the configuration"
    case .logReused(let address, let peer, let origin):
      "\(peer) has more of the log \(origin) than \(address), which writes it: its directory was put back to what it once was, and nobody could be asked when it started. Start it again: it begins a new log then"
    case .historyLost(let address, let peer, let reason):
      "\(peer) has more of the log than \(address), which led last, and it cannot be had: \(reason). Move this node's data directory away and start it again: it takes all of it from there"
    }
  }
}

/// A node's number in epochs: the FNV-1 hash of its name.
enum NodeNumber {
  static func of(_ name: String) -> UInt64 {
    Array(name.utf8).withUnsafeBytes { ShardHash.fnv1Mixed($0) }
  }
}

/// What keeps a node's store up, from its start to its stop.
protocol NodeLifetime: Sendable {
  /// What is being served; nil while there is nothing.
  var state: NodeState? { get }
  func start() async throws
  /// Ends what opens and follows. What is served goes on.
  func stop() async throws
}

extension NodeLife: NodeLifetime {}

extension Configuration {
  func storeOptions(_ progress: StartProgress) -> StoreOptions {
    var options = StoreOptions(dataDirectory: dataDirectory, node: NodeNumber.of(id))
    options.hash = hash
    options.shardIndex = shardIndex
    options.shardCount = shardCount
    options.syncPolicy = syncPolicy
    options.segmentBytes = segmentBytes
    options.memoryBytesMax = memoryBytesMax
    options.snapshotLogBytes = snapshotLogBytes
    options.snapshotBytesPerSecond = snapshotBytesPerSecond
    options.retainBytes = retainBytes
    options.progress = progress
    return options
  }
}

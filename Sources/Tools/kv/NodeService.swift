import Logging
import Server
import ServiceLifecycle
import UnixSignals
import WAL

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

/// Starts a node, waits for the signal to stop, and stops it.
///
/// Where leaders say what a node is for (`join`), it waits for one first, and begins anew when the shard
/// becomes another. Where a configuration says it (`keeper`), it begins anew when its place in that does.
struct NodeService: Service {
  let configuration: Configuration
  let join: (@Sendable (Announcement) throws -> Configuration)?
  let keeper: ConfigurationKeeper?
  /// The configuration is newer than the one in the data directory.
  let storesConfiguration: Bool
  let handler: LineLogHandler
  let logger: Logger
  let onFailure: @Sendable (any Error) -> Void

  func run() async throws {
    // Not before the group of services gets signals: one that came in between would be nobody's.
    let secondSignal = Task { await Self.leaveAtSecondSignal() }
    defer { secondSignal.cancel() }
    guard let join else { return try await serveAsConfigured() }
    let note = AnnouncementNote(configuration.dataDirectory)
    var told = try note.read()
    var isFirst = true
    // And not as the note says, which nothing but this node's own settings can contradict.
    var isTold = false
    while true {
      if told == nil {
        told = try await waitForLeader()
        (isFirst, isTold) = (false, true)
      }
      guard let known = told else { return logger.info("stopped") }
      let joined: Configuration
      do {
        joined = try join(known)
      } catch  where isTold {
        logger.error("the announcement is not taken: \(error)")
        told = nil
        continue
      }
      try note.write(known)
      guard case .announced(let next) = try await serve(joined, isFirst: isFirst) else { return }
      (told, isFirst) = (next, false)
    }
  }

  /// With what a node begins anew.
  private enum Change: Sendable {
    case announced(Announcement)
    case configured(Configuration)
  }

  private func serveAsConfigured() async throws {
    let poll = keeper.map { keeper in Task { await ConfigurationPoll(keeper).run() } }
    defer {
      poll?.cancel()
      keeper?.close()
    }
    var (configuration, isFirst) = (configuration, true)
    while case .configured(let next) = try await serve(configuration, isFirst: isFirst) {
      (configuration, isFirst) = (next, false)
    }
  }

  /// - Returns: what a leader has announced; nil when the process is to stop.
  private func waitForLeader() async throws -> Announcement? {
    let node = try await WaitingNode.start(
      configuration, logger: logger,
      prepare: { try DataDirectory.make(configuration.dataDirectory) }, onFailure: onFailure)
    handler.announce("listening on \(configuration.address)")
    let told = await withGracefulShutdownHandler {
      await node.announcement()
    } onGracefulShutdown: {
      node.cancel()
    }
    try await node.stop()
    return told
  }

  /// - Parameter isFirst: nobody was told yet that it listens.
  /// - Returns: with what it is to begin anew; nil when the process is to stop.
  private func serve(_ configuration: Configuration, isFirst: Bool) async throws -> Change? {
    let (changes, changed) = AsyncStream.makeStream(
      of: Change.self, bufferingPolicy: .bufferingNewest(1))
    var configuration = configuration
    if let join {
      configuration.onAnnouncement = { [logger] told in
        do {
          _ = try join(told)
          changed.yield(.announced(told))
        } catch {
          logger.error("the announcement is not taken: \(error)")
        }
      }
    }
    keeper?.begin(configuration) { changed.yield(.configured($0)) }
    guard let node = try await start(configuration) else { return nil }
    if isFirst { handler.announce("listening on \(node.address)") }
    // It ends when the task is cancelled, which is a reason to stop as well.
    let next = await withGracefulShutdownHandler {
      await changes.first { _ in true }
    } onGracefulShutdown: {
      changed.finish()
    }
    logger.info("stopping")
    try await node.stop()
    logger.info("stopped")
    return next
  }

  /// - Returns: nil when it was called off.
  private func start(_ configuration: Configuration) async throws -> Node? {
    let progress = StartProgress()
    let started: Result<Node, any Error>
    do {
      started = .success(
        try await withGracefulShutdownHandler {
          try await Node.start(
            configuration, logger: logger, progress: progress,
            prepare: { _ in
              try DataDirectory.make(configuration.dataDirectory)
              if storesConfiguration { try keeper?.store() }
            },
            onFailure: onFailure)
        } onGracefulShutdown: {
          progress.cancel()
        })
    } catch {
      started = .failure(error)
    }
    if case .failure(let error) = started, error as? WALError == .cancelled {
      logger.info("stopped before it had read its data; the next start begins anew")
      return nil
    }
    return try started.get()
  }

  private static func leaveAtSecondSignal() async {
    var count = 0
    for await _ in await UnixSignalsSequence(trapping: .sigterm, .sigint) {
      count += 1
      if count == 2 { _exit(1) }
    }
  }
}

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
/// becomes another.
struct NodeService: Service {
  let configuration: Configuration
  let join: (@Sendable (Announcement) throws -> Configuration)?
  let handler: LineLogHandler
  let logger: Logger
  let onFailure: @Sendable (any Error) -> Void

  func run() async throws {
    // Not before the group of services gets signals: one that came in between would be nobody's.
    let secondSignal = Task { await Self.leaveAtSecondSignal() }
    defer { secondSignal.cancel() }
    guard let join else {
      _ = try await serve(configuration, isFirst: true)
      return
    }
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
      guard let next = try await serve(joined, isFirst: isFirst) else { return }
      (told, isFirst) = (next, false)
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
  /// - Returns: the announcement with which it is to begin anew; nil when the process is to stop.
  private func serve(_ configuration: Configuration, isFirst: Bool) async throws -> Announcement? {
    let (announcements, changed) = AsyncStream.makeStream(
      of: Announcement.self, bufferingPolicy: .bufferingNewest(1))
    var configuration = configuration
    if let join {
      configuration.onAnnouncement = { [logger] told in
        do {
          _ = try join(told)
          changed.yield(told)
        } catch {
          logger.error("the announcement is not taken: \(error)")
        }
      }
    }
    guard let node = try await start(configuration) else { return nil }
    if isFirst { handler.announce("listening on \(node.address)") }
    // It ends when the task is cancelled, which is a reason to stop as well.
    let next = await withGracefulShutdownHandler {
      await announcements.first { _ in true }
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
            prepare: { _ in try DataDirectory.make(configuration.dataDirectory) },
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

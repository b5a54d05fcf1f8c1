import Engine
import Logging
import Synchronization
import WAL

/// A replica that nobody has told its leader: it answers what a node answers that starts, until a leader
/// announces itself.
public final class WaitingNode: Sendable {
  private let listener: Listener
  private let announcements: AsyncStream<Announcement>
  private let end: @Sendable () -> Void

  /// Takes the address, and waits.
  ///
  /// - Parameters:
  ///   - prepare: called when the address is the node's, before anything is done in the data directory.
  ///   - onFailure: called when no connection is taken any more.
  /// - Throws: `NodeError` about the address, `WALError` about the data, what `prepare` throws. The
  ///   address is free again then.
  public static func start(
    _ configuration: Configuration, logger: Logger,
    prepare: () async throws -> Void,
    onFailure: @escaping @Sendable (any Error) -> Void
  ) async throws -> WaitingNode {
    let progress = StartProgress()
    progress.begin(.waiting)
    let listener = try await Node.listen(configuration, progress, onFailure)
    do {
      try await prepare()
      let isEmpty = try CopyDirectory(configuration.dataDirectory).isEmpty()
      logger.notice(
        "waiting for a leader that has \(configuration.address) among its followers to announce itself"
      )
      return WaitingNode(listener, isEmpty: isEmpty)
    } catch {
      try await listener.abandon()
      throw error
    }
  }

  private init(_ listener: Listener, isEmpty: Bool) {
    self.listener = listener
    let (stream, continuation) = AsyncStream.makeStream(
      of: Announcement.self, bufferingPolicy: .bufferingOldest(1))
    announcements = stream
    end = { continuation.finish() }
    if isEmpty { listener.entrance.standing = .nothing }
    listener.entrance.announcements = { continuation.yield($0) }
  }

  /// Waits for the first one; nil when `cancel` was called before.
  public func announcement() async -> Announcement? {
    await announcements.first { _ in true }
  }

  /// Has nobody wait any more.
  public func cancel() { end() }

  /// Frees the address.
  public func stop() async throws {
    end()
    try await listener.abandon()
  }
}

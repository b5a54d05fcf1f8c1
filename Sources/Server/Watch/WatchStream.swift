import Engine
import NIOCore
import WAL

/// The endless answer to a `/watch`: a line of JSON for each change.
final class WatchStream: FeedStream<ChangeEncoder>, @unchecked Sendable {
  private var awaited: VersionWaiters.ID?

  /// Counts as a watcher and follows the log, until it is closed.
  ///
  /// - Returns: nil when there are too many.
  static func open(
    _ loop: LoopState, _ lane: StandardLane, of store: Store, from: UInt64, encoder: ChangeEncoder
  ) -> WatchStream? {
    guard loop.node.chargeWatcher(limit: loop.limits.watchersMax) else { return nil }
    return WatchStream(
      loop, lane, of: store, from: LogCursor(next: from), encoder: encoder,
      stallSeconds: loop.limits.watchStallSeconds)
  }

  /// Finds the first change, and has the answer begun.
  func begin(_ answer: Answer) -> Handling {
    if feed.recentFrame(at: cursor) != nil || cursor.next > feed.appliedSequence {
      return .stream(answer, self)
    }
    read { error in
      guard self.lane.isOpen else { return self.close() }
      if let error {
        self.close()
        self.lane.deliver(.now(self.loop.refuseWatch(error)))
      } else {
        self.lane.deliver(.stream(answer, self))
      }
    }
    return .later
  }

  override func released() { loop.node.releaseWatcher() }

  /// What a failover can take back is no change yet.
  override var limit: UInt64 { loop.hidesUnconfirmed ? loop.node.followers.confirmed : .max }

  override func awaitLimit(_ sequence: UInt64, _ action: @escaping () -> Void) {
    awaited = loop.confirmations.add(sequence) { isConfirmed in
      self.awaited = nil
      if isConfirmed { action() }
    }
  }

  override func stopAwaitingLimit() {
    if let awaited { loop.confirmations.remove(awaited) }
    awaited = nil
  }

  override var idleDeadline: NIODeadline {
    lastSent + .seconds(Int64(loop.limits.watchIdleSeconds))
  }

  override func writeSignOfLife() {
    piece.writeStaticString("\n")
  }

  /// The last line says it.
  override func writeFailure(_ error: WALError) {
    WatchError(error).write(into: &piece)
    piece.writeStaticString("\n")
  }
}

/// What a client is told when the log cannot be read from where it wants it.
struct WatchError {
  let message: String
  /// The first sequence number that the log still has, where it goes back not far enough.
  let oldest: UInt64?

  init(_ error: WALError) {
    if case .notRetained(_, let oldest) = error { self.oldest = oldest } else { oldest = nil }
    message = "\(error)"
  }

  /// `{"error":…,"oldest":…}`.
  func write(into buffer: inout ByteBuffer) {
    buffer.writeStaticString("{\"error\":")
    var message = message
    message.withUTF8 { JSONText.writeString(UnsafeRawBufferPointer($0), into: &buffer) }
    if let oldest {
      buffer.writeStaticString(",\"oldest\":")
      DecimalText.write(oldest, into: &buffer)
    }
    buffer.writeStaticString("}")
  }
}

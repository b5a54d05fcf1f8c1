import Engine
import NIOCore
import WAL

/// The endless answer to a `/watch`: takes changes from the log as fast as the client takes them.
///
/// Frames in memory are turned into lines on the event loop, a turn at a time; older ones by a reader
/// thread, a piece at a time. What it holds for a client that is slow is what the connection has not
/// taken, and one piece at most: together less than 1 MiB.
///
/// `@unchecked Sendable`: touched on the event loop only; reader threads get copies of the cursor and
/// the encoder.
final class WatchStream: AnswerStream, @unchecked Sendable {
  /// A piece has at most so much, and the encoder's last step.
  private static let pieceBytes = 384 << 10
  /// Frames that one stream looks at before others have their turn: on the loop, on a reader thread.
  private static let turnBytes = 1 << 20
  private static let readBytes = 4 << 20

  private let loop: LoopState
  private let lane: StandardLane
  private let feed: LogFeed
  private var cursor: LogCursor
  private var encoder: ChangeEncoder
  /// Lines that are to be sent next.
  private var piece = ByteBuffer()
  private var lastSent = NIODeadline.now()
  private var waiter: VersionWaiters.ID?
  private var isPumping = false
  private var isReading = false
  /// Ends with the line that it is in.
  private var isEnding = false
  /// Ends once it is up to date: nobody can tell a client that has nothing more to say from one that
  /// is gone.
  private var hasClientEnded = false
  private var isClosed = false

  /// What was read from the files.
  private struct Reading: Sendable {
    var cursor: LogCursor
    var encoder: ChangeEncoder
    var piece = ByteBuffer()
    var error: WALError?
  }

  /// Counts as a watcher and follows the log, until it is closed.
  ///
  /// - Returns: nil when there are too many.
  init?(_ loop: LoopState, _ lane: StandardLane, from: UInt64, encoder: ChangeEncoder) {
    guard loop.node.chargeWatcher(limit: loop.limits.watchersMax) else { return nil }
    self.loop = loop
    self.lane = lane
    self.encoder = encoder
    feed = loop.store.feed
    cursor = LogCursor(next: from)
    feed.subscribe()
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

  // MARK: - The lane's

  /// The answer's head is sent, or the client has taken something.
  func goOn() {
    guard !isClosed, !isReading, !isPumping else { return }
    isPumping = true
    pump()
    isPumping = false
  }

  /// Ends in order, behind the line that it is in.
  func end() {
    isEnding = true
    encoder.beginsNothing = true
    goOn()
  }

  /// The client has ended its side. It gets what there is.
  func clientEnded() {
    hasClientEnded = true
    goOn()
  }

  /// Nothing was sent for a while, or nothing was taken.
  func timeOut() {
    guard lane.isWritable else { return lane.abort() }
    // Shows that the node is there, and finds out whether the client is.
    if encoder.isBetweenLines, piece.readableBytes == 0 { piece.writeStaticString("\n") }
    if piece.readableBytes > 0 { send() }
    setIdleDeadline()
  }

  /// Gives up everything that it holds; the connection is gone, or about to go.
  func close() {
    guard !isClosed else { return }
    isClosed = true
    piece = ByteBuffer()
    stopWaiting()
    feed.unsubscribe()
    loop.node.releaseWatcher()
  }

  // MARK: - Changes

  private func pump() {
    stopWaiting()
    var turnBytes = 0
    while !isClosed, lane.isWritable {
      let isLast = isEnding && encoder.isBetweenLines
      if !isLast, piece.readableBytes < Self.pieceBytes, turnBytes < Self.turnBytes,
        let frame = feed.recentFrame(at: cursor)
      {
        turnBytes += frame.bytes.count
        if encoder.encode(frame.header, frame.records, into: &piece, bytesMax: Self.pieceBytes) {
          cursor.pass(frame)
        }
      } else if piece.readableBytes > 0 {
        send()
      } else if isLast {
        return lane.endStream()
      } else if turnBytes >= Self.turnBytes {
        return loop.eventLoop.execute { self.goOn() }
      } else if cursor.next <= feed.appliedSequence {
        return readOn()
      } else {
        return wait()
      }
    }
    if !isClosed { lane.deadline = .now() + .seconds(Int64(loop.limits.watchStallSeconds)) }
  }

  private func send() {
    var bytes = ByteBuffer()
    swap(&bytes, &piece)
    lastSent = .now()
    setIdleDeadline()
    lane.send(bytes)
  }

  private func setIdleDeadline() {
    lane.deadline = .now() + .seconds(Int64(loop.limits.watchIdleSeconds))
  }

  private func wait() {
    guard !hasClientEnded else { return lane.endStream() }
    lane.deadline = lastSent + .seconds(Int64(loop.limits.watchIdleSeconds))
    waiter = loop.waiters.add(cursor.next) { _ in
      self.waiter = nil
      self.goOn()
    }
  }

  private func stopWaiting() {
    if let waiter { loop.waiters.remove(waiter) }
    waiter = nil
  }

  // MARK: - The files

  private func readOn() {
    lane.deadline = lastSent + .seconds(Int64(loop.limits.watchIdleSeconds))
    read { error in
      guard !self.isClosed else { return }
      if let error { self.fail(error) }
      self.goOn()
    }
  }

  private func read(then done: @escaping (WALError?) -> Void) {
    isReading = true
    let feed = feed
    let start = Reading(cursor: cursor, encoder: encoder)
    // Called on the loop.
    nonisolated(unsafe) let done = done
    loop.node.feedReaders.run(on: loop.eventLoop) {
      Self.read(start, feed)
    } then: { reading in
      self.isReading = false
      guard !self.isClosed else { return done(nil) }
      self.cursor = reading.cursor
      self.encoder = reading.encoder
      self.encoder.beginsNothing = self.isEnding
      self.piece = reading.piece
      done(reading.error)
    }
  }

  private static func read(_ start: Reading, _ feed: LogFeed) -> Reading {
    var reading = start
    do {
      try feed.read(&reading.cursor, bytesMax: readBytes) { header, records in
        reading.encoder.encode(header, records, into: &reading.piece, bytesMax: pieceBytes)
      }
    } catch {
      reading.error = error
    }
    return reading
  }

  /// The log is not there any more, or cannot be read: the last line says so.
  private func fail(_ error: WALError) {
    loop.logFailedWatch(error)
    // In the middle of a line nothing can be said. The client sees that the answer was cut off.
    guard encoder.isBetweenLines else { return lane.abort() }
    WatchError(error).write(into: &piece)
    piece.writeStaticString("\n")
    isEnding = true
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

import Engine
import NIOCore
import WAL

/// An endless answer that follows the log: takes frames as fast as the client takes what becomes of
/// them.
///
/// Frames in memory are encoded on the event loop, a turn at a time; older ones by a reader thread, a
/// piece at a time. What it holds for a client that is slow is what the connection has not taken, and
/// one piece at most: together less than 1 MiB.
///
/// `@unchecked Sendable`: touched on the event loop only; reader threads get copies of the cursor and
/// the encoder.
class FeedStream<Encoder: FrameEncoder>: AnswerStream, @unchecked Sendable {
  /// A piece has at most so much, and the encoder's last step.
  private static var pieceBytes: Int { 384 << 10 }
  /// Frames that one stream looks at before others have their turn: on the loop, on a reader thread.
  private static var turnBytes: Int { 1 << 20 }
  private static var readBytes: Int { 4 << 20 }

  let loop: LoopState
  let lane: StandardLane
  let feed: LogFeed
  private(set) var cursor: LogCursor
  var encoder: Encoder
  /// What is to be sent next.
  var piece = ByteBuffer()
  /// It was read from the files.
  private var isPieceRead = false
  private(set) var lastSent = NIODeadline.now()
  private var waiter: VersionWaiters.ID?
  /// Those of the loop, where it is the node's own log.
  private let waiters: VersionWaiters
  private let hasOwnWaiters: Bool
  private var isPumping = false
  private(set) var isReading = false
  /// The limit at which the files had nothing to tell.
  private var readInVain: UInt64?
  /// Ends with what is half there.
  private(set) var isEnding = false
  /// Ends once it is up to date: nobody can tell a client that has nothing more to say from one that
  /// is gone.
  private var hasClientEnded = false
  private(set) var isClosed = false
  /// A client that takes nothing is given up after that.
  private let stallSeconds: Int

  /// What was read from the files.
  private struct Reading: Sendable {
    var cursor: LogCursor
    var encoder: Encoder
    var limit: UInt64
    var piece = ByteBuffer()
    var error: WALError?
  }

  /// Follows the log, until it is closed.
  init(
    _ loop: LoopState, _ lane: StandardLane, of store: Store, from cursor: LogCursor,
    encoder: Encoder, stallSeconds: Int
  ) {
    self.loop = loop
    self.lane = lane
    self.encoder = encoder
    self.cursor = cursor
    self.stallSeconds = stallSeconds
    let feed = store.feed
    self.feed = feed
    hasOwnWaiters = store !== loop.store
    waiters =
      hasOwnWaiters
      ? VersionWaiters(eventLoop: loop.eventLoop, signal: feed.signal) { feed.appliedSequence }
      : loop.waiters
    feed.subscribe()
  }

  // MARK: - What kinds of streams do in their own way

  /// It was closed: gives up what it holds on top.
  func released() {}

  /// The log is not there any more, or cannot be read, and the stream is where it can end: puts the
  /// last words into `piece`.
  func writeFailure(_ error: WALError) {}

  /// Nothing was sent for a while: puts what shows that the node is there into `piece`.
  func writeSignOfLife() {}

  /// There is no frame to send. Whatever this puts into `piece` goes first.
  func upToDate() {}

  /// Frames come from memory, or from the files.
  func takesFrames(fromMemory: Bool) {}

  /// Nothing behind this number is told yet.
  var limit: UInt64 { .max }

  /// Calls `action` once the limit has come as far.
  func awaitLimit(_ sequence: UInt64, _ action: @escaping () -> Void) {}

  /// Gives that up.
  func stopAwaitingLimit() {}

  /// When `timeOut` is called though the client takes what it is sent.
  var idleDeadline: NIODeadline { .distantFuture }

  // MARK: - The lane's

  /// The answer's head is sent, or the client has taken something.
  func goOn() {
    guard !isClosed, !isReading, !isPumping else { return }
    isPumping = true
    pump()
    isPumping = false
  }

  /// Ends in order, behind what is half there.
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
    showLife()
  }

  /// Shows that the node is there, and finds out whether the client is.
  func showLife() {
    guard !isClosed, lane.isWritable else { return }
    if encoder.isBetween, piece.readableBytes == 0 { writeSignOfLife() }
    if piece.readableBytes > 0 { send() }
    lane.deadline = idleDeadline
  }

  /// Gives up everything that it holds; the connection is gone, or about to go.
  func close() {
    guard !isClosed else { return }
    isClosed = true
    piece = ByteBuffer()
    stopWaiting()
    if hasOwnWaiters { waiters.stop() }
    feed.unsubscribe()
    released()
  }

  // MARK: - Frames

  private func pump() {
    stopWaiting()
    var turnBytes = 0
    while !isClosed, lane.isWritable {
      let isLast = isEnding && encoder.isBetween
      if !isLast, piece.readableBytes < Self.pieceBytes, turnBytes < Self.turnBytes,
        let frame = feed.recentFrame(at: cursor), frame.header.lastSequence <= limit
      {
        takesFrames(fromMemory: true)
        turnBytes += frame.bytes.count
        if encoder.encode(frame.header, frame.bytes, into: &piece, bytesMax: Self.pieceBytes) {
          cursor.pass(frame)
        }
      } else if piece.readableBytes > 0 {
        send()
      } else if isLast {
        return lane.endStream()
      } else if turnBytes >= Self.turnBytes {
        return loop.eventLoop.execute { self.goOn() }
      } else if cursor.next <= min(feed.appliedSequence, limit), readInVain != limit {
        return readOn()
      } else {
        takesFrames(fromMemory: true)
        upToDate()
        guard piece.readableBytes == 0 else { continue }
        return wait()
      }
    }
    if !isClosed { lane.deadline = .now() + .seconds(Int64(stallSeconds)) }
  }

  private func send() {
    var bytes = ByteBuffer()
    swap(&bytes, &piece)
    lastSent = .now()
    lane.deadline = idleDeadline
    lane.send(bytes)
    if isPieceRead { loop.node.feedReaders.keep(bytes) }
    isPieceRead = false
  }

  private func wait() {
    guard !hasClientEnded else { return lane.endStream() }
    lane.deadline = idleDeadline
    guard limit >= feed.appliedSequence else {
      // A frame is told as a whole.
      return awaitLimit(max(cursor.next, limit + 1)) { self.goOn() }
    }
    waiter = waiters.add(cursor.next) { _ in
      self.waiter = nil
      self.goOn()
    }
  }

  private func stopWaiting() {
    if let waiter { waiters.remove(waiter) }
    waiter = nil
    stopAwaitingLimit()
  }

  // MARK: - The files

  private func readOn() {
    takesFrames(fromMemory: false)
    lane.deadline = idleDeadline
    read { error in
      guard !self.isClosed else { return }
      if let error { self.fail(error) }
      self.goOn()
    }
  }

  /// Reads a piece; then calls back, on the loop.
  func read(then done: @escaping (WALError?) -> Void) {
    isReading = true
    let feed = feed
    var begun = Reading(cursor: cursor, encoder: encoder, limit: limit)
    swap(&begun.piece, &piece)
    let start = begun
    // Called on the loop.
    nonisolated(unsafe) let done = done
    let readers = loop.node.feedReaders
    readers.run(on: loop.eventLoop) {
      Self.read(start, feed, readers)
    } then: { reading in
      self.isReading = false
      guard !self.isClosed else { return done(nil) }
      let isStuck = reading.cursor.next == start.cursor.next && reading.piece.readableBytes == 0
      self.readInVain = isStuck && start.limit < .max ? start.limit : nil
      self.cursor = reading.cursor
      self.encoder = reading.encoder
      self.encoder.beginsNothing = self.isEnding
      self.piece = reading.piece
      self.isPieceRead = reading.piece.readableBytes > 0
      done(reading.error)
    }
  }

  private static func read(
    _ start: Reading, _ feed: LogFeed, _ readers: FeedReaders
  ) -> Reading {
    var reading = start
    // Nobody else has these: otherwise they would be copied.
    if reading.piece.readableBytes == 0 { reading.piece = readers.emptyPiece() }
    do {
      try feed.read(&reading.cursor, bytesMax: readBytes) { header, frame in
        header.lastSequence <= start.limit
          && reading.encoder.encode(header, frame, into: &reading.piece, bytesMax: pieceBytes)
      }
    } catch {
      reading.error = error
    }
    if reading.piece.readableBytes == 0 {
      readers.keep(reading.piece)
      reading.piece = ByteBuffer()
    }
    return reading
  }

  private func fail(_ error: WALError) {
    loop.logFailedFeed(error)
    // In the middle of something nothing can be said. The client sees that the answer was cut off.
    guard encoder.isBetween else { return lane.abort() }
    writeFailure(error)
    isEnding = true
  }
}

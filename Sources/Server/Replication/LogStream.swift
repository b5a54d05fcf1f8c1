import Engine
import NIOCore
import WAL

/// The endless answer to a `/wal/stream`: a segment header, frames as they are on the disk, heartbeats.
final class LogStream: FeedStream<FrameShipper>, AppliedListener, @unchecked Sendable {
  /// What the node knows its reader by; nil for one without a name.
  private let replica: LeaderProgress.StreamID?
  private let followers: Followers
  private let store: Store
  private var isOwn: Bool { store === loop.store }
  private var isFromMemory = false
  /// Nothing has been said yet of how far the node is.
  private var isSilent = true
  private var beat: Scheduled<Void>?
  /// A heartbeat goes before the next frame.
  private var isBeatDue = false
  /// Waits for the next frame, which says what is confirmed, while one is on its way to the disk.
  private var frameWait: Scheduled<Void>?
  private static let frameWaitMilliseconds: Int64 = 2
  /// There was none.
  private var hasWaited = false
  /// The last pair of a digest and its number that was had: right, if not the newest.
  private var state = (digest: Digest(), sequence: UInt64(0))

  /// Counts as a stream and follows the log, until it is closed.
  ///
  /// - Parameters:
  ///   - previous: the position before the first frame.
  ///   - replica: a name; nil for none.
  /// - Returns: nil when there are too many.
  static func open(
    _ loop: LoopState, _ lane: StandardLane, of store: Store, from cursor: LogCursor,
    behind previous: LogPosition,
    replica: String?
  ) -> LogStream? {
    let node = loop.node
    guard node.chargeLogStream(limit: loop.limits.logStreamsMax) else { return nil }
    var id: LeaderProgress.StreamID?
    // Whose log it is counts who has it.
    if let replica, store === loop.store {
      id = node.followers.streamOpened(replica, from: cursor.next)
      guard id != nil else {
        node.releaseLogStream()
        return nil
      }
    }
    return LogStream(loop, lane, of: store, from: cursor, behind: previous, id)
  }

  private init(
    _ loop: LoopState, _ lane: StandardLane, of store: Store, from cursor: LogCursor,
    behind previous: LogPosition,
    _ replica: LeaderProgress.StreamID?
  ) {
    self.replica = replica
    self.store = store
    followers = loop.node.followers
    super.init(
      loop, lane, of: store, from: cursor, encoder: FrameShipper(behind: previous),
      stallSeconds: loop.limits.logStreamStallSeconds)
    let header = SegmentHeader(
      origin: store.origin, previous: previous, durableSequence: previous.sequence,
      isShipped: true)
    piece.writeBytes(header.encoded)
    lane.endSilence(after: loop.limits.logStreamStallSeconds)
    scheduleBeat(in: loop.limits.heartbeatMilliseconds)
  }

  override func released() {
    beat?.cancel()
    frameWait?.cancel()
    followers.confirmations.disarm(self)
    if let replica { followers.streamClosed(replica) }
    loop.node.releaseLogStream()
  }

  override func takesFrames(fromMemory: Bool) {
    if isBeatDue, encoder.isBetween { writeSignOfLife() }
    guard let replica, fromMemory != isFromMemory else { return }
    isFromMemory = fromMemory
    if fromMemory { followers.caughtUp(replica) } else { followers.fellBehind(replica) }
  }

  // MARK: - Heartbeats

  private func scheduleBeat(in milliseconds: Int) {
    beat = loop.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(Int64(milliseconds))) {
      self.sendBeat()
    }
  }

  /// Sends a heartbeat, or has one sent before the next frame of a stream that is busy: who is behind
  /// learns by how much.
  private func sendBeat() {
    guard !isClosed else { return }
    // Another one may have taken its place.
    guard isOwn || !store.isClosed else { return lane.abort() }
    let most = loop.limits.heartbeatMilliseconds
    let silence = Int((NIODeadline.now() - lastSent).nanoseconds / 1_000_000)
    if silence >= most { showLife() } else { isBeatDue = true }
    scheduleBeat(in: most)
  }

  override func writeSignOfLife() {
    // Before the first frame of a log there is no epoch to say it in.
    guard encoder.position.sequence > 0, !isEnding else { return }
    isSilent = false
    isBeatDue = false
    if store.isMerged {
      // No log has a digest of its own there.
      state.sequence = store.feed.end.sequence
    } else if let now = store.index.appliedDigest() {
      state = now
    }
    encoder.writeHeartbeat(
      LeaderSign(
        durable: store.progress.durable, confirmed: isOwn ? followers.confirmed : 0,
        timeMilliseconds: store.options.clock.wallMilliseconds(), digest: state.digest,
        digestSequence: state.sequence),
      origin: store.origin, into: &piece)
  }

  override func upToDate() {
    guard isOwn else {
      if isSilent, !isEnding { writeSignOfLife() }
      return
    }
    guard frameWait == nil else { return }
    // Asked for before it is looked at: it may move in between.
    followers.armConfirmed(self, at: encoder.toldConfirmed + 1)
    let confirmed = min(followers.confirmedByOthers, encoder.position.sequence)
    guard isSilent || confirmed > encoder.toldConfirmed, !isEnding else { return }
    guard isSilent || hasWaited || store.committer.inFlightBytes == 0 else { return awaitFrame() }
    writeSignOfLife()
  }

  private func awaitFrame() {
    frameWait = loop.eventLoop.assumeIsolated().scheduleTask(
      in: .milliseconds(Self.frameWaitMilliseconds)
    ) {
      self.frameWait = nil
      self.hasWaited = true
      if self.lane.isWritable { self.goOn() }
      self.hasWaited = false
    }
  }

  /// The confirmed number has moved. On another thread.
  func numberApplied() {
    loop.eventLoop.execute {
      // Otherwise there is more to say than that.
      if self.lane.isWritable { self.goOn() }
    }
  }
}

import Synchronization
import WAL

/// A follower's place in the log.
public struct LogCursor: Sendable {
  /// The next sequence number that it wants. The frame that holds it comes next, as a whole.
  public private(set) var next: UInt64
  /// Where in the files that is, once something was taken.
  private(set) var bookmark: LogBookmark?

  /// - Parameter next: at least 1.
  public init(next: UInt64) {
    precondition(next >= 1)
    self.next = next
  }

  /// That frame was taken.
  public mutating func pass(_ frame: RecentFrame) {
    pass(frame.header, frame.next)
  }

  /// Before that frame, at a known place.
  init(before header: FrameHeader, _ bookmark: LogBookmark?) {
    next = header.firstSequence
    self.bookmark = bookmark
  }

  mutating func pass(_ header: FrameHeader, _ bookmark: LogBookmark?) {
    next = header.lastSequence + 1
    self.bookmark = bookmark
  }
}

/// The log as those who follow it see it: every frame that is durable and applied, in order, none left
/// out and none twice. New ones come from memory (`RecentFrames`), older ones from the files; a cursor
/// may go from one to the other and back at any frame.
///
/// What a follower holds between two calls is its cursor: no frame, no file.
///
/// "Durable" is what the sync policy makes it: under `interval` and `none` a frame is shown when its
/// writes are acknowledged.
public final class LogFeed: Sendable {
  package let recent: RecentFrames
  private let positions: RecentPositions
  /// Fires with every number that is applied.
  package let signal = AppliedSignal()
  /// What the quorum has confirmed; `.max` where what is durable here is confirmed.
  private let confirmed = Atomic<UInt64>(.max)
  private let index: Index
  private let epochs: EpochHistory
  private let directory: String
  private let fileSystem: any FileSystem

  /// - Parameters:
  ///   - end: where the log ends now; everything up to it is applied.
  ///   - directory: the segments' own.
  package init(
    index: Index, epochs: EpochHistory, end: LogPosition, directory: String,
    fileSystem: any FileSystem, recentBytesMax: Int = RecentFrames.bytesMaxDefault
  ) {
    self.index = index
    self.epochs = epochs
    positions = RecentPositions(end: end)
    self.directory = directory
    self.fileSystem = fileSystem
    recent = RecentFrames(bytesMax: recentBytesMax)
  }

  /// The last sequence number that followers may see.
  public var appliedSequence: UInt64 { index.appliedSequence }

  /// Where what followers may see ends; for a moment it is behind `appliedSequence`.
  public var end: LogPosition { positions.end }

  /// Bytes of all frames that were written and applied in this life of the process.
  public var writtenBytes: UInt64 { positions.bytes }

  /// How far somebody is behind who has everything up to there.
  ///
  /// - Parameter now: milliseconds since 1970.
  public func lag(behind sequence: UInt64, now: UInt64) -> ReplicaLag {
    positions.lag(behind: sequence, now: now)
  }

  // MARK: - Followers

  /// Somebody follows from now on, until `unsubscribe`: new frames are kept in memory for a while.
  public func subscribe() { recent.subscribe() }

  public func unsubscribe() { recent.unsubscribe() }

  /// The frame at the cursor, if it is in memory. The cursor passes it once it was taken.
  public func recentFrame(at cursor: LogCursor) -> RecentFrame? {
    recent.frame(holding: cursor.next)
  }

  /// Has the listener called, once, when that number is applied, in place of an earlier one that it
  /// waits for. Look at `appliedSequence` afterwards: it may have come to that before.
  public func arm(_ listener: any AppliedListener, at sequence: UInt64) {
    signal.arm(listener, at: sequence)
  }

  public func disarm(_ listener: any AppliedListener) { signal.disarm(listener) }

  /// Reads frames at the cursor from the files, until they are in memory again, or until that many
  /// bytes were read.
  ///
  /// - Parameter take: gets a frame's header and the whole frame, as it is on the disk, for the time of
  ///   the call; false when it has not taken the whole frame: then the cursor stays there, and the reading
  ///   ends.
  /// - Throws: `notRetained` when the log begins behind the cursor; `damaged`; that of a system call.
  ///   The cursor is behind the last frame that was taken.
  public func read(
    _ cursor: inout LogCursor, bytesMax: Int,
    _ take: (FrameHeader, UnsafeRawBufferPointer) -> Bool
  ) throws(WALError) {
    // Not `appliedSequence`: what was read may be acknowledged, and is known by its position then.
    let limit = end.sequence
    guard cursor.next <= limit else { return }
    var reader: LogReader
    if let bookmark = cursor.bookmark {
      reader = try LogReader(directory: directory, from: bookmark, fileSystem: fileSystem)
    } else {
      reader = try LogReader(directory: directory, from: cursor.next, fileSystem: fileSystem)
    }
    reader.searchesBehindEnd = false
    reader.limit = limit
    reader.knownDurable = limit
    var bytes = 0
    while cursor.next <= limit, bytes < bytesMax, recent.frame(holding: cursor.next) == nil {
      switch try reader.next() {
      case .frame(let header):
        let isTaken = reader.withFrame { frame in
          frame.withUnsafeBytes { take(header, $0) }
        }
        guard isTaken else { return }
        cursor.pass(header, reader.bookmark)
        bytes += header.frameBytes
      case .damage(let damage):
        throw .damaged(damage)
      case .end:
        throw .damaged(
          Damage(
            corrupt: directory, sequence: cursor.next, finding: .ends(beforeDurable: limit)))
      }
    }
  }

  // MARK: - Positions

  /// The position that a frame goes on from.
  public func position(before header: FrameHeader) -> LogPosition {
    let sequence = header.firstSequence - 1
    return LogPosition(
      epoch: epochs.epoch(of: sequence) ?? LogPosition.start.epoch, sequence: sequence,
      crc: header.previousCRC)
  }

  /// Finds the frame that holds a sequence number which has been applied. May read a segment.
  ///
  /// - Returns: its header, and the cursor before it.
  /// - Throws: as `read`.
  public func find(
    _ sequence: UInt64
  ) throws(WALError) -> (header: FrameHeader, cursor: LogCursor) {
    if let frame = recent.frame(holding: sequence) {
      return (frame.header, LogCursor(before: frame.header, nil))
    }
    let limit = end.sequence
    var reader = try LogReader(directory: directory, from: sequence, fileSystem: fileSystem)
    reader.searchesBehindEnd = false
    reader.limit = limit
    reader.knownDurable = limit
    switch try reader.next() {
    case .frame(let header):
      let segment = reader.segmentHeader!
      let bookmark = LogBookmark(
        origin: segment.origin, segment: segment.firstSequence, offset: reader.frameOffset,
        position: position(before: header))
      return (header, LogCursor(before: header, bookmark))
    case .damage(let damage):
      throw .damaged(damage)
    case .end:
      throw .damaged(
        Damage(corrupt: directory, sequence: sequence, finding: .ends(beforeDurable: limit)))
    }
  }

  /// Whether a position is one of this history, as far as memory tells; nil when it takes a look at
  /// the files.
  public func recentlyHolds(_ position: LogPosition) -> Bool? {
    let end = end
    guard position.sequence < end.sequence else { return position == end }
    guard let entry = positions.entry(at: position.sequence) else { return nil }
    return entry.crc == position.crc
      && epochs.epoch(of: position.sequence) ?? LogPosition.start.epoch == position.epoch
  }

  /// Whether a position is one of this history. May read a segment.
  ///
  /// - Throws: as `read`; `notRetained` when the log begins behind it.
  public func holds(_ position: LogPosition) throws(WALError) -> Bool {
    if let known = recentlyHolds(position) { return known }
    let next = try find(position.sequence + 1).header
    return self.position(before: next) == position
  }

  // MARK: - What the quorum has

  /// What frames are to say that the quorum has confirmed; nil where what is durable here is confirmed.
  package var confirmedSequence: UInt64? {
    let sequence = confirmed.load(ordering: .relaxed)
    return sequence == .max ? nil : sequence
  }

  /// Says what the quorum has confirmed, where it takes more than this node.
  public func setConfirmed(_ sequence: UInt64) { confirmed.store(sequence, ordering: .relaxed) }

  // MARK: - The committer

  /// Everything up to there is durable and applied.
  ///
  /// - Parameters:
  ///   - bytes: of all frames that were written in this life of the process.
  ///   - timeMilliseconds: of the last frame.
  package func applied(_ end: LogPosition, bytes: UInt64, timeMilliseconds: UInt64) {
    positions.append(end, bytes: bytes, timeMilliseconds: timeMilliseconds)
    recent.show(through: end.sequence)
    signal.fire(end.sequence)
  }
}

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
  private let signal = AppliedSignal()
  private let index: Index
  private let directory: String
  private let fileSystem: any FileSystem

  /// - Parameter directory: the segments' own.
  package init(
    index: Index, directory: String, fileSystem: any FileSystem,
    recentBytesMax: Int = RecentFrames.bytesMaxDefault
  ) {
    self.index = index
    self.directory = directory
    self.fileSystem = fileSystem
    recent = RecentFrames(bytesMax: recentBytesMax)
  }

  /// The last sequence number that followers may see.
  public var appliedSequence: UInt64 { index.appliedSequence }

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
  /// - Parameter take: gets a frame's header and its records with their padding, for the time of the
  ///   call; false when it has not taken the whole frame: then the cursor stays there, and the reading
  ///   ends.
  /// - Throws: `notRetained` when the log begins behind the cursor; `damaged`; that of a system call.
  ///   The cursor is behind the last frame that was taken.
  public func read(
    _ cursor: inout LogCursor, bytesMax: Int,
    _ take: (FrameHeader, UnsafeRawBufferPointer) -> Bool
  ) throws(WALError) {
    let limit = index.appliedSequence
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
        let isTaken = reader.withRecords { records in
          records.withUnsafeBytes { take(header, $0) }
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

  // MARK: - The committer

  /// Everything up to that number is durable and applied.
  package func applied(_ sequence: UInt64) {
    recent.show(through: sequence)
    signal.fire(sequence)
  }
}

import Engine
import WAL

/// Where a stream begins for somebody who says where it is.
enum StreamStart: Sendable {
  /// With the frame at the cursor, which goes on from that position.
  case found(LogCursor, behind: LogPosition)
  case refused(HistoryRefusal)

  /// May read a segment: off the event loop.
  ///
  /// - Parameter from: the first sequence number that is wanted.
  static func find(_ from: UInt64, _ asked: FollowerQuery, in store: Store) -> StreamStart {
    func diverged(_ message: String) -> StreamStart {
      .refused(HistoryRefusal(.diverged, message, store))
    }
    if let origin = asked.origin, origin != store.origin {
      return diverged(
        "this log's origin is \(hexadecimal(store.origin)), not \(hexadecimal(origin))")
    }
    let end = store.feed.end
    guard from - 1 <= end.sequence else {
      return diverged("this node's history ends at \(end.sequence), before \(from)")
    }
    if let epoch = asked.epoch, !isKnown(epoch, through: from - 1, store) {
      return diverged("up to \(from - 1) the history of epoch \(epoch.text) is not this one")
    }
    let previous: LogPosition
    let cursor: LogCursor
    do {
      (cursor, previous) = try place(from, end, store.feed)
    } catch {
      return .refused(HistoryRefusal(error, store))
    }
    if let crc = asked.crc {
      let isSame =
        previous.sequence == from - 1 && previous.crc == crc
        && (asked.epoch.map { $0 == previous.epoch || previous == .start } ?? true)
      guard isSame else {
        return diverged(
          "this history has no frame with crc \(hexadecimal(crc)) that ends at \(from - 1)")
      }
    }
    return .found(cursor, behind: previous)
  }

  private static func isKnown(_ epoch: Epoch, through sequence: UInt64, _ store: Store) -> Bool {
    if sequence == 0, epoch == LogPosition.start.epoch { return true }
    return store.epochs.agrees(with: epoch, through: sequence)
  }

  private static func place(
    _ from: UInt64, _ end: LogPosition, _ feed: LogFeed
  ) throws(WALError) -> (LogCursor, LogPosition) {
    guard from <= end.sequence else { return (LogCursor(next: from), end) }
    let found = try feed.find(from)
    return (found.cursor, feed.position(before: found.header))
  }
}

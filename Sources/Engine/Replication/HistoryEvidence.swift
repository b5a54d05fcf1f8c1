import WAL

/// Whether a point is in a log's history, and what says so.
public enum HistoryEvidence: String, Sendable, CaseIterable {
  /// A frame of the log ends there, and has that checksum.
  case log
  /// The log does not go back to it any more; the directory has noted that very point, checksum
  /// included, as the one at which it became its shard.
  case note
  /// The log does not go back to it any more; by the list of epochs the record with that number is of
  /// that epoch. Nobody but an epoch's node writes in it, so that is the same record, unless a directory
  /// was copied and both were written by nodes of one name.
  case epochs
  /// It is not.
  case absent
  /// There is nothing left that would tell.
  case unknown

  /// Whether a checksum has shown it.
  public var isProof: Bool { self == .log || self == .note }
}

extension Store {
  /// Whether the directory has become another shard, and what it has written since is not told apart yet
  /// from what a copy of it writes.
  public var owesShardEpoch: Bool {
    shardStart.map { epochs.isUndivided(since: $0.point.position) } ?? false
  }

  /// Where the history was when the directory became this shard, if it is of the log that is there now;
  /// nil where it has always been it.
  public var shardStartPoint: LogBase? {
    guard let point = shardStart?.point, point.origin == origin,
      point.position.sequence <= feed.end.sequence,
      epochs.epoch(of: point.position.sequence) == point.position.epoch
    else { return nil }
    return point
  }

  /// Whether a point is in the history of this log. May read a segment.
  ///
  /// - Throws: `damaged`; that of a system call.
  public func evidence(of point: LogBase) throws(WALError) -> HistoryEvidence {
    let position = point.position
    guard point.origin == origin, position.sequence <= feed.end.sequence else { return .absent }
    // A log that begins behind a snapshot may have no frame yet.
    let oldest = try oldestSequence()
    if position == feed.end || oldest <= position.sequence + 1 {
      do throws(WALError) {
        return try feed.holds(position) ? .log : .absent
      } catch {
        guard case .notRetained = error else { throw error }
      }
    }
    if shardStartPoint == point { return .note }
    return evidence(ofEpoch: position.epoch, at: position.sequence)
  }

  /// The same of a record of which only number and epoch are known, by the list of epochs alone.
  public func evidence(ofEpoch epoch: Epoch, at sequence: UInt64) -> HistoryEvidence {
    guard sequence <= feed.end.sequence else { return .absent }
    guard let own = epochs.epoch(of: sequence) else { return .unknown }
    return own == epoch ? .epochs : .absent
  }

  /// A point of this history behind the frame that holds a record; nil where the log does not go back to
  /// it. May read a segment.
  ///
  /// - Throws: as `evidence`.
  public func point(behind sequence: UInt64) throws(WALError) -> LogBase? {
    let end = feed.end
    guard sequence >= 1, sequence <= end.sequence else { return nil }
    if try oldestSequence() <= sequence {
      do throws(WALError) {
        return LogBase(origin: origin, position: try feed.find(sequence).header.position)
      } catch {
        guard case .notRetained = error else { throw error }
      }
    }
    // The log may begin right behind it.
    return sequence == end.sequence ? LogBase(origin: origin, position: end) : nil
  }
}

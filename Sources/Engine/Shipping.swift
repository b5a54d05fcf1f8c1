import WAL

/// Who has frames of another node for the log. Called on the committer's thread, or, once that has ended, within
/// `ship`: hand over, and return.
public protocol FrameBatchOwner: AnyObject, Sendable {
  /// All that there is by now, maybe nothing: the log has time for it.
  func nextBatch() -> FrameBatch
  /// Gives that back.
  func shipped(_ batch: FrameBatch, _ outcome: ShippingOutcome)
}

/// What became of frames that came from another node.
public enum ShippingOutcome: Sendable {
  /// Durable, as far as the sync policy asks for that, and applied: all of them.
  case applied(LogPosition)
  /// The disk has no room. The log, and the state, end there.
  case diskFull(at: LogPosition)
  /// The log takes nothing more.
  case stopped
}

/// The committer's work on a copy: frames that come from another node are written as they are, synced,
/// and applied.
extension CommitterWork {
  package mutating func ship(_ batch: FrameBatch) -> ShippingOutcome {
    guard let epochs = copies, !hasFailed else { return .stopped }
    let start = clock.monotonicNanoseconds()
    var written = 0
    var isFull = false
    do throws(WALError) {
      do throws(WALError) {
        while written < batch.count { written = try log.append(batch, from: written) }
      } catch .diskFull {
        isFull = true
      }
      if written > 0, options.syncPolicy == .always { try log.sync() }
      let synced = clock.monotonicNanoseconds()
      try apply(batch, written, epochs)
      report(batch, written, from: start, synced: synced)
    } catch {
      fail(error)
      return .stopped
    }
    return isFull ? .diskFull(at: log.position) : .applied(log.position)
  }

  /// Makes the first frames of the batch visible.
  private mutating func apply(
    _ batch: FrameBatch, _ count: Int, _ epochs: EpochHistory
  ) throws(WALError) {
    guard count > 0 else { return }
    var replay = Replay(index: index, epochs: epochs, merged: merged)
    let headers = batch.headers[..<count]
    var bytes = log.writtenBytes - headers.reduce(0) { $0 + UInt64($1.frameBytes) }
    for (number, header) in headers.enumerated() {
      try replay.apply(header, batch.records(number).bytes)
      bytes += UInt64(header.frameBytes)
      // Each of them: whoever follows this node acknowledges any of them.
      feed?.applied(header.position, bytes: bytes, timeMilliseconds: header.timeMilliseconds)
    }
    for sequence in replay.digestMismatches { observer?.stateDiffers(at: sequence) }
  }

  private func report(_ batch: FrameBatch, _ count: Int, from start: UInt64, synced: UInt64) {
    guard count > 0 else { return }
    observer?.committed(
      CommitReport(
        records: batch.headers[..<count].reduce(0) { $0 + Int($1.recordCount) },
        bytes: batch.headers[..<count].reduce(0) { $0 + $1.recordsBytes }, gatherNanoseconds: 0,
        writeNanoseconds: synced - start,
        syncNanoseconds: options.syncPolicy == .always ? log.lastSyncNanoseconds : 0,
        applyNanoseconds: clock.monotonicNanoseconds() - synced))
  }
}

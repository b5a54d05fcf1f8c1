import WAL

/// Who has frames of another node for the log. Called on the committer's thread, or, once that has ended, within
/// `ship`: hand over, and return.
public protocol FrameBatchOwner: AnyObject, Sendable {
  /// All that there is by now, maybe nothing: the log comes for what was offered.
  func nextBatch() -> FrameBatch
  /// What there is behind that, where it is much and has been offered: it is written while the batch before is
  /// applied. Nil where it can wait. The log comes for the offer all the same. No more than two batches are out.
  func furtherBatch() -> FrameBatch?
  /// How many keys there are where the frames come from, as far as that is known: room is made for them ahead.
  var keysExpected: Int { get }
  /// Gives a batch back, in the order in which they were taken.
  func shipped(_ batch: FrameBatch, _ outcome: ShippingOutcome, isFurther: Bool)
}

extension FrameBatchOwner {
  public var keysExpected: Int { 0 }
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

/// A batch that is on the disk, as far as the sync policy asks for that, and not applied yet.
private struct WrittenBatch {
  let batch: FrameBatch
  /// So many of its frames, from the first on: where there is an error, maybe not all.
  private(set) var count = 0
  /// The log's end behind them, and its bytes.
  private(set) var end = LogPosition.start
  private(set) var logBytes: UInt64 = 0
  private(set) var error: WALError?
  private(set) var nanoseconds: UInt64 = 0
  private(set) var syncNanoseconds: UInt64 = 0

  /// Writes it, on a thread that has the log to itself.
  init(_ batch: FrameBatch, to log: LogWriter, _ policy: SyncPolicy, _ clock: LogClock) {
    self.batch = batch
    let start = clock.monotonicNanoseconds()
    do throws(WALError) {
      do throws(WALError) {
        while count < batch.count { count = try log.append(batch, from: count) }
      } catch {
        guard case .diskFull = error else { throw error }
        self.error = error
      }
      if count > 0, policy == .always {
        try log.sync()
        syncNanoseconds = log.lastSyncNanoseconds
      }
    } catch {
      self.error = error
    }
    end = log.position
    logBytes = log.writtenBytes
    nanoseconds = clock.monotonicNanoseconds() - start
  }

  var headers: ArraySlice<FrameHeader> { batch.headers[..<count] }

  func report(applyNanoseconds: UInt64) -> CommitReport {
    CommitReport(
      records: headers.reduce(0) { $0 + Int($1.recordCount) },
      bytes: headers.reduce(0) { $0 + $1.recordsBytes }, gatherNanoseconds: 0,
      writeNanoseconds: nanoseconds, syncNanoseconds: syncNanoseconds,
      applyNanoseconds: applyNanoseconds)
  }
}

/// The committer's work on a copy: frames that come from another node are written as they are, synced,
/// and applied.
extension CommitterWork {
  /// Batches that are taken one behind the other, until there is time for something else.
  private static let furtherBatchesMax = 8

  /// Takes what the owner has. A batch that comes right behind another is written, by a thread of its own, while that
  /// one is applied: a replica that catches up has both to do all the time.
  package mutating func ship(for owner: any FrameBatchOwner) {
    let first = owner.nextBatch()
    guard var last = write(first) else { return owner.shipped(first, .stopped, isFurther: false) }
    var further = 0
    while last.error == nil, !hasFailed, further < Self.furtherBatchesMax,
      let batch = owner.furtherBatch()
    {
      // The log is that thread's until it has ended.
      nonisolated(unsafe) let log = log
      nonisolated(unsafe) var next: WrittenBatch?
      let (policy, clock) = (options.syncPolicy, clock)
      let thread = ThreadHandle.started { next = WrittenBatch(batch, to: log, policy, clock) }
      owner.shipped(last.batch, apply(last, of: owner), isFurther: further > 0)
      thread?.join()
      last = next ?? WrittenBatch(batch, to: log, policy, clock)
      further += 1
    }
    owner.shipped(last.batch, apply(last, of: owner), isFurther: further > 0)
  }

  /// The same for one batch.
  package mutating func ship(_ batch: FrameBatch) -> ShippingOutcome {
    write(batch).map { apply($0) } ?? .stopped
  }

  /// Nil where the log takes nothing from others.
  private func write(_ batch: FrameBatch) -> WrittenBatch? {
    guard copies != nil, !hasFailed else { return nil }
    return WrittenBatch(batch, to: log, options.syncPolicy, clock)
  }

  private mutating func apply(
    _ written: WrittenBatch, of owner: any FrameBatchOwner
  ) -> ShippingOutcome {
    // A state that could not be applied to its end stays as it is.
    if merged == nil, !hasFailed { index.reserve(total: owner.keysExpected) }
    return apply(written)
  }

  /// Makes what was written visible.
  private mutating func apply(_ written: WrittenBatch) -> ShippingOutcome {
    guard let copies, !hasFailed else { return .stopped }
    let start = clock.monotonicNanoseconds()
    do throws(WALError) {
      var isFull = false
      if let error = written.error {
        guard case .diskFull = error else { throw error }
        isFull = true
      }
      try apply(written, copies)
      if written.count > 0 {
        observer?.committed(
          written.report(applyNanoseconds: clock.monotonicNanoseconds() - start))
      }
      return isFull ? .diskFull(at: written.end) : .applied(written.end)
    } catch {
      fail(error)
      return .stopped
    }
  }

  private func apply(_ written: WrittenBatch, _ epochs: EpochHistory) throws(WALError) {
    guard written.count > 0 else { return }
    var replay = Replay(index: index, epochs: epochs, merged: merged)
    var bytes = written.logBytes - written.headers.reduce(0) { $0 + UInt64($1.frameBytes) }
    for (number, header) in written.headers.enumerated() {
      try replay.apply(header, written.batch.records(number).bytes)
      bytes += UInt64(header.frameBytes)
      // Each of them: whoever follows this node acknowledges any of them.
      feed?.applied(header.position, bytes: bytes, timeMilliseconds: header.timeMilliseconds)
    }
    for sequence in replay.digestMismatches { observer?.stateDiffers(at: sequence) }
  }
}

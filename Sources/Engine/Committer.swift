import Synchronization
import WAL

/// How long the stages of one group commit took, and how much it was.
public struct CommitReport: Sendable {
  public var records: Int
  public var bytes: Int
  /// Conditions judged, records copied.
  public var gatherNanoseconds: UInt64
  /// Written to the file and, under `always`, synced.
  public var writeNanoseconds: UInt64
  /// The sync alone; 0 where there was none.
  public var syncNanoseconds: UInt64
  /// Applied to the index.
  public var applyNanoseconds: UInt64
}

/// What a committer tells those who run it. Called on its thread.
public protocol CommitterObserver: AnyObject, Sendable {
  func committed(_ report: CommitReport)
  /// The disk has no room: writes are refused, each after it was tried. Called at the first, with the
  /// reason, and with nil when none was refused for 10 s.
  func diskFull(_ reason: WALError?)
  /// The next segment could not be made ready, or an old one not be disposed of. The log goes on, more
  /// slowly, and may grow. Called at the first, with the reason, and with nil when a segment is ready
  /// again.
  func segmentsDelayed(_ reason: WALError?)
  /// After the mark with that number the state of a copy is not that of its original: a bug, or memory
  /// that does not keep what is written to it.
  func stateDiffers(at sequence: UInt64)
  /// The log has failed and takes no more writes. What was not acknowledged until now never is.
  func failed(_ error: WALError)
}

/// The thread that owns the log: it makes writes durable, and then visible.
///
/// Whatever waits becomes one frame: conditions are judged in order, against the index and what
/// stands before them in the frame; the frame is written and synced; its records are applied in
/// order; each submission goes back to its owner. Meanwhile the next frame's writes gather.
public final class Committer: Sendable {
  /// Writes that wait or are being committed are bounded by this. Above it there is no room.
  public static let inFlightBytesMax = 64 << 20
  /// A frame takes no further request above this.
  static let frameBytesMax = 4 << 20

  /// After a commit of few writes the next is looked for so long before the thread goes to sleep. A
  /// client that writes one thing after the other is answered, and asks again, within that time. Where
  /// many write, they have a better use for the processor.
  private static let spinNanoseconds: UInt64 = 100_000
  private static let spinWritesMax = 2

  private struct Intake {
    var waiting: [Submission] = []
    /// Who has frames from another node.
    var shippers: [any FrameBatchOwner] = []
    /// What others want done with the log; each is called once.
    var errands: [Errand] = []
    var isClosing = false
    /// What closing the log came to; nil as long as it is open.
    var closed: Result<Void, WALError>?
  }

  /// What is done between two commits.
  private struct Errand {
    let run: (inout CommitterWork) -> Void
    /// Called instead when the log was closed.
    let refuse: () -> Void
  }

  private let intake = Monitor(Intake())
  private let inFlight = Atomic(0)
  /// A hint for who spins: something was handed over.
  private let hasWork = Atomic(false)

  init() {}

  /// False when so much is in flight that a write of that size has to be refused: overload.
  public func hasRoom(forBytes bytes: Int) -> Bool {
    inFlight.load(ordering: .relaxed) + bytes <= Self.inFlightBytesMax
  }

  /// Bytes of the writes that wait or are being committed.
  public var inFlightBytes: Int { inFlight.load(ordering: .relaxed) }

  /// Hands writes over. They come back to the submission's owner, each with its outcome.
  public func submit(_ submission: Submission) {
    inFlight.add(submission.bytes, ordering: .relaxed)
    var isClosed = false
    intake.signal { intake in
      isClosed = intake.closed != nil
      if !isClosed { intake.waiting.append(submission) }
      hasWork.store(true, ordering: .relaxed)
    }
    guard isClosed else { return }
    for index in submission.requests.indices { submission.requests[index].outcome = .stopped }
    giveBack(submission)
  }

  /// Has frames that another node has written taken from their owner as soon as the log has time for them, with those
  /// that come until then. The owner gets the batch back, with what became of it.
  ///
  /// - Precondition: the store is a copy, and the frames go on from those that were taken before.
  public func ship(for owner: any FrameBatchOwner) {
    var isClosed = false
    intake.signal { intake in
      isClosed = intake.closed != nil
      if !isClosed { intake.shippers.append(owner) }
      hasWork.store(true, ordering: .relaxed)
    }
    if isClosed { owner.shipped(owner.nextBatch(), .stopped, isFurther: false) }
  }

  private func giveBack(_ submission: Submission) {
    inFlight.subtract(submission.bytes, ordering: .relaxed)
    submission.owner.completed(submission)
  }

  /// Runs something with the log on the committer's thread, between two commits, and waits for it.
  ///
  /// - Throws: `stopped` when the log was closed; what `body` throws.
  func perform<R: Sendable>(
    _ body: @escaping @Sendable (LogWriter) throws(WALError) -> R
  ) throws(WALError) -> R {
    try change { (work) throws(WALError) in try body(work.log) }
  }

  /// The same with all that the thread has.
  func change<R: Sendable>(
    _ body: @escaping @Sendable (inout CommitterWork) throws(WALError) -> R
  ) throws(WALError) -> R {
    let result = Monitor<Result<R, WALError>?>(nil)
    let errand = Errand { work in
      let outcome: Result<R, WALError>
      do throws(WALError) {
        outcome = .success(try body(&work))
      } catch {
        outcome = .failure(error)
      }
      result.signal { $0 = outcome }
    } refuse: {
      result.signal { $0 = .failure(.stopped(because: .setting("the log was closed"))) }
    }
    var isClosed = false
    intake.signal { intake in
      isClosed = intake.closed != nil
      if !isClosed { intake.errands.append(errand) }
      hasWork.store(true, ordering: .relaxed)
    }
    if isClosed { errand.refuse() }
    return try result.wait { $0 }.get()
  }

  /// Has what waits committed, and then the log closed.
  ///
  /// - Precondition: nobody offers frames any more; who goes on with it keeps it open.
  func beginClosing() {
    intake.signal { $0.isClosing = true }
  }

  /// The same, and returns when that is done.
  func close() throws(WALError) {
    beginClosing()
    try intake.wait { $0.closed }.get()
  }

  /// Runs until `close`; on a thread of its own.
  func run(_ work: consuming CommitterWork) {
    var batch: [Submission] = []
    var shippers: [any FrameBatchOwner] = []
    var errands: [Errand] = []
    var isClosing = false
    var deadline = work.tick()
    // Whether it is the end; nil when there is nothing to do.
    func take(_ intake: inout Intake) -> Bool? {
      if intake.waiting.isEmpty, intake.shippers.isEmpty, intake.errands.isEmpty {
        return intake.isClosing ? true : nil
      }
      swap(&batch, &intake.waiting)
      swap(&shippers, &intake.shippers)
      swap(&errands, &intake.errands)
      hasWork.store(false, ordering: .relaxed)
      return false
    }
    while !isClosing {
      if let deadline {
        isClosing = intake.wait(untilNanoseconds: deadline, take) ?? false
      } else {
        isClosing = intake.wait(take)
      }
      // Counted first: what is given back is its owner's.
      let writes = batch.reduce(0) { $0 + $1.requests.count }
      work.commit(batch) { giveBack($0) }
      for owner in shippers { work.ship(for: owner) }
      shippers.removeAll(keepingCapacity: true)
      if !errands.isEmpty {
        for errand in errands { errand.run(&work) }
        errands.removeAll()
      }
      deadline = work.tick()
      batch.removeAll(keepingCapacity: true)
      if !isClosing, writes > 0, writes <= Self.spinWritesMax {
        spin(forNanoseconds: Self.spinNanoseconds) { hasWork.load(ordering: .relaxed) }
      }
    }
    let result = work.close()
    // `submit` gives back by itself from then on. Not before all that came earlier is back: each
    // owner gets its submissions in their order.
    while !endsIntake(with: result, rest: &batch, &shippers, &errands) {
      work.refuse(batch) { giveBack($0) }
      batch.removeAll(keepingCapacity: true)
      for owner in shippers { owner.shipped(owner.nextBatch(), .stopped, isFurther: false) }
      shippers.removeAll()
      for errand in errands { errand.refuse() }
      errands.removeAll()
    }
    intake.signal { _ in }
  }

  /// Takes what waits, or ends the intake when nothing does.
  private func endsIntake(
    with result: Result<Void, WALError>, rest: inout [Submission],
    _ shippers: inout [any FrameBatchOwner],
    _ errands: inout [Errand]
  ) -> Bool {
    intake.withLock { intake in
      swap(&rest, &intake.waiting)
      swap(&shippers, &intake.shippers)
      swap(&errands, &intake.errands)
      let isEnd = rest.isEmpty && shippers.isEmpty && errands.isEmpty
      if isEnd { intake.closed = result }
      return isEnd
    }
  }
}

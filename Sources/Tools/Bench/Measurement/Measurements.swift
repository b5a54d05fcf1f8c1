/// What a thread has measured, or all of them together.
package struct Measurements: Sendable {
  package var reads: DurationRecord
  package var writes: DurationRecord
  package var scans: DurationRecord
  package var readModifyWrites: DurationRecord
  /// How long it took until an operation had failed.
  package var failures: DurationRecord
  /// From when an operation was to start until its request was sent; of an open loop.
  package var sendDelays: DurationRecord
  /// From the latest acknowledged write of a key to a read of it.
  package var intervals: DurationRecord
  package var failureCounts: [FailureKind: UInt64] = [:]
  package var timeline = Timeline()
  package var clientReads: [ClientTotals] = []
  package var clientWrites: [ClientTotals] = []

  /// Answered before the end of the time that was measured, of those that are counted above.
  package var inTimeReads: UInt64 = 0
  package var inTimeWrites: UInt64 = 0
  package var inTimeScans: UInt64 = 0
  /// Reads that found no such key.
  package var absentReads: UInt64 = 0
  /// Reads that found versions of which none replaces the others.
  package var siblingReads: UInt64 = 0
  /// Reads that were judged; of those, the ones that were stale, and the ones that a write overlapped.
  package var judgedReads: UInt64 = 0
  package var staleReads: UInt64 = 0
  package var concurrentReads: UInt64 = 0

  /// Operations that were due, or asked for, and were never sent.
  package var unsent: UInt64 = 0
  /// The most that the oldest operation that was due had waited to be sent.
  package var behindMaxNanoseconds: UInt64 = 0
  package var connectionsOpened: UInt64 = 0
  package var connectionsLost: UInt64 = 0
  /// While it was measured.
  package var processorNanoseconds: UInt64 = 0
  package var requestsOfProcessorTime: UInt64 = 0
  /// When the measurement began, on the monotonic clock, and how long operations began.
  package var start: UInt64 = 0
  package var windowNanoseconds: UInt64 = 0
  /// When the last answer came, on the monotonic clock.
  package var lastAnswer: UInt64 = 0
  /// How often another leader of a shard was found.
  package var leaderMoves = 0
  package var gaveUp = false
  package var ranOutOfKeys = false

  package init(seed: UInt64 = 0) {
    let seeds = (0..<7).map { seed &* 31 &+ $0 }
    reads = DurationRecord(seed: seeds[0])
    writes = DurationRecord(seed: seeds[1])
    scans = DurationRecord(seed: seeds[2])
    readModifyWrites = DurationRecord(seed: seeds[3])
    failures = DurationRecord(seed: seeds[4])
    sendDelays = DurationRecord(seed: seeds[5])
    intervals = DurationRecord(seed: seeds[6])
  }

  package mutating func add(_ other: Measurements) {
    reads.add(other.reads)
    writes.add(other.writes)
    scans.add(other.scans)
    readModifyWrites.add(other.readModifyWrites)
    failures.add(other.failures)
    sendDelays.add(other.sendDelays)
    intervals.add(other.intervals)
    failureCounts.merge(other.failureCounts, uniquingKeysWith: +)
    timeline.add(other.timeline)
    clientReads += other.clientReads
    clientWrites += other.clientWrites
    inTimeReads += other.inTimeReads
    inTimeWrites += other.inTimeWrites
    inTimeScans += other.inTimeScans
    absentReads += other.absentReads
    siblingReads += other.siblingReads
    judgedReads += other.judgedReads
    staleReads += other.staleReads
    concurrentReads += other.concurrentReads
    unsent += other.unsent
    behindMaxNanoseconds = max(behindMaxNanoseconds, other.behindMaxNanoseconds)
    connectionsOpened += other.connectionsOpened
    connectionsLost += other.connectionsLost
    processorNanoseconds += other.processorNanoseconds
    requestsOfProcessorTime += other.requestsOfProcessorTime
    start = max(start, other.start)
    windowNanoseconds = max(windowNanoseconds, other.windowNanoseconds)
    lastAnswer = max(lastAnswer, other.lastAnswer)
    gaveUp = gaveUp || other.gaveUp
    ranOutOfKeys = ranOutOfKeys || other.ranOutOfKeys
  }

  /// Requests that were answered as they should be.
  package var answered: UInt64 { reads.count + writes.count + scans.count }
  package var failed: UInt64 { failures.count }
}

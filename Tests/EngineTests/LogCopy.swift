import Engine
import SimulatedDisk
import Synchronization
import Testing
import WAL

/// Frames as they are shipped: the header, and the whole frame.
typealias ShippedFrames = [(header: FrameHeader, bytes: [UInt8])]

/// A log that takes another one's frames, and the state behind it.
final class LogCopy {
  let disk: SimulatedDisk
  let index = Index()
  let epochs = EpochHistory()
  let recorder = CommitterFixture.Recorder()
  let log: LogWriter
  let report: RecoveryReport
  private var work: CommitterWork

  init(
    _ disk: SimulatedDisk, origin: UInt64, base: LogBase? = nil, segmentBytes: UInt64 = 8_192,
    policy: SyncPolicy = .always
  ) throws(WALError) {
    self.disk = disk
    var options = LogOptions(dataDirectory: "/data", node: 9)
    options.fileSystem = disk
    options.usesThreads = false
    options.segmentBytes = segmentBytes
    options.syncPolicy = policy
    options.origin = origin
    options.isCopy = true
    var replay = Replay(index: index, epochs: epochs)
    (log, report) = try LogRecovery.open(options) { (header, records) throws(WALError) in
      try replay.apply(header, records)
    }
    work = CommitterWork(
      log: log, index: index,
      options: CommitterWork.Options(syncPolicy: policy, copies: epochs), clock: options.clock,
      observer: recorder)
  }

  func ship(_ frames: ShippedFrames.SubSequence) -> ShippingOutcome {
    let batch = FrameBatch()
    for frame in frames { batch.append(frame.header, frame.bytes.span.bytes) }
    return work.ship(batch)
  }

  /// Offers several batches at once, of which each but the first is written while the one before it is applied.
  ///
  /// - Returns: what became of those that were taken, in order.
  func ship(
    inTurn batches: [ShippedFrames.SubSequence], keysExpected: Int = 0
  ) -> [ShippingOutcome] {
    let owner = QueuedBatches(batches, keysExpected)
    work.ship(for: owner)
    return owner.outcomes
  }

  func submit(_ submission: Submission) { work.commit([submission]) { _ in } }
  func tick() { _ = work.tick() }
  func close() throws { try work.close().get() }

  static func frames(on disk: SimulatedDisk) throws -> ShippedFrames {
    var reader = try LogReader(directory: "/data/wal", fileSystem: disk)
    var frames: ShippedFrames = []
    while true {
      switch try reader.next() {
      case .frame(let header):
        frames.append((header, reader.withFrame { $0.withUnsafeBytes { Array($0) } }))
      case .damage(let damage): throw WALError.damaged(damage)
      case .end: return frames
      }
    }
  }

  /// Expects the state of the original, and its log byte for byte.
  func expectEqual(
    _ node: CommitterFixture, _ frames: ShippedFrames, _ moment: String = ""
  ) throws {
    let comment = Comment(rawValue: moment)
    #expect(log.position == node.log.position && log.origin == node.log.origin, comment)
    #expect(index.digest() == node.index.digest(), comment)
    #expect(index.contents() == node.index.contents(), comment)
    #expect(epochs.all == node.epochs.all, comment)
    #expect(recorder.mismatches.withLock { $0 } == [], comment)
    let copied = try Self.frames(on: disk)
    #expect(copied.map(\.header) == frames.map(\.header), comment)
    #expect(copied.map(\.bytes) == frames.map(\.bytes), comment)
  }
}

/// Has a first batch, and further ones.
private final class QueuedBatches: FrameBatchOwner, @unchecked Sendable {
  private var waiting: [FrameBatch]
  private var out: [FrameBatch] = []
  private(set) var outcomes: [ShippingOutcome] = []
  let keysExpected: Int

  init(_ batches: [ShippedFrames.SubSequence], _ keysExpected: Int) {
    self.keysExpected = keysExpected
    waiting = batches.map { frames in
      let batch = FrameBatch()
      for frame in frames { batch.append(frame.header, frame.bytes.span.bytes) }
      return batch
    }
  }

  func nextBatch() -> FrameBatch {
    out.append(waiting.removeFirst())
    return out.last!
  }

  func furtherBatch() -> FrameBatch? {
    #expect(out.count == 1, "two are out at most")
    return waiting.isEmpty ? nil : nextBatch()
  }

  func shipped(_ batch: FrameBatch, _ outcome: ShippingOutcome, isFurther: Bool) {
    #expect(batch === out.removeFirst(), "in their order")
    #expect(isFurther == !outcomes.isEmpty)
    outcomes.append(outcome)
  }
}

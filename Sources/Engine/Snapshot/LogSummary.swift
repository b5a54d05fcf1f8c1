import WAL

/// What is in a stretch of the log that a merge cannot find out from single records.
struct LogSummary: Hashable, Sendable {
  struct Purge: Hashable, Sendable {
    var sequence: UInt64
    var range: ShardRange
  }

  /// Where the stretch ends.
  var end: LogBase
  var purges: [Purge] = []
  var epochs: [EpochHistory.Start] = []
  /// The highest time of its frames.
  var frameTimeMilliseconds: UInt64 = 0

  /// Takes up what comes behind it.
  mutating func append(_ next: LogSummary) {
    end = next.end
    purges += next.purges
    epochs += next.epochs
    frameTimeMilliseconds = max(frameTimeMilliseconds, next.frameTimeMilliseconds)
  }

  private static let fixedBytes = 56
  private static let purgeBytes = 24
  private static let epochBytes = 24

  var encoded: [UInt8] {
    let count =
      Self.fixedBytes + purges.count * Self.purgeBytes + epochs.count * Self.epochBytes
    var bytes = [UInt8](repeating: 0, count: count)
    bytes.withUnsafeMutableBytes { target in
      target.store(end.origin, at: 0)
      target.store(end.position.epoch.number, at: 8)
      target.store(end.position.epoch.node, at: 16)
      target.store(end.position.sequence, at: 24)
      target.store(end.position.crc, at: 32)
      target.store(frameTimeMilliseconds, at: 40)
      target.store(UInt32(purges.count), at: 48)
      target.store(UInt32(epochs.count), at: 52)
      var at = Self.fixedBytes
      for purge in purges {
        target.store(purge.sequence, at: at)
        target.store(purge.range.hash, at: at + 8)
        target.store(purge.range.index, at: at + 12)
        target.store(purge.range.count, at: at + 16)
        at += Self.purgeBytes
      }
      for start in epochs {
        target.store(start.epoch.number, at: at)
        target.store(start.epoch.node, at: at + 8)
        target.store(start.firstSequence, at: at + 16)
        at += Self.epochBytes
      }
    }
    return bytes
  }

  /// Nil when the bytes are not a summary.
  init?(parsing bytes: RawSpan) {
    guard bytes.byteCount >= Self.fixedBytes else { return nil }
    end = LogBase(
      origin: bytes.number(at: 0, as: UInt64.self),
      position: LogPosition(
        epoch: Epoch(
          number: bytes.number(at: 8, as: UInt64.self), node: bytes.number(at: 16, as: UInt64.self)),
        sequence: bytes.number(at: 24, as: UInt64.self),
        crc: bytes.number(at: 32, as: UInt32.self)))
    frameTimeMilliseconds = bytes.number(at: 40, as: UInt64.self)
    let purgeCount = Int(bytes.number(at: 48, as: UInt32.self))
    let epochCount = Int(bytes.number(at: 52, as: UInt32.self))
    guard
      bytes.byteCount == Self.fixedBytes + purgeCount * Self.purgeBytes
        + epochCount * Self.epochBytes
    else { return nil }
    var at = Self.fixedBytes
    for _ in 0..<purgeCount {
      let range = ShardRange(
        hash: bytes.number(at: at + 8, as: UInt32.self),
        index: bytes.number(at: at + 12, as: UInt32.self),
        count: bytes.number(at: at + 16, as: UInt32.self))
      guard range.index < range.count else { return nil }
      purges.append(Purge(sequence: bytes.number(at: at, as: UInt64.self), range: range))
      at += Self.purgeBytes
    }
    for _ in 0..<epochCount {
      epochs.append(
        EpochHistory.Start(
          epoch: Epoch(
            number: bytes.number(at: at, as: UInt64.self),
            node: bytes.number(at: at + 8, as: UInt64.self)),
          firstSequence: bytes.number(at: at + 16, as: UInt64.self)))
      at += Self.epochBytes
    }
  }

  init(end: LogBase) { self.end = end }
}

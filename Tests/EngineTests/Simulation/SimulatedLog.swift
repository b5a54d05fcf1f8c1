import Engine
import WAL

/// A log in memory that knows what of it is durable: each record is a frame of its own.
struct SimulatedLog {
  struct Entry {
    let position: LogPosition
    let previousCRC: UInt32
    /// As its writer knew it.
    let confirmed: UInt64
    let beginsEpoch: Bool

    var header: FrameHeader {
      var header = FrameHeader(
        standingFor: position.sequence, epoch: position.epoch, timeMilliseconds: 0,
        crc: position.crc, recordBytes: 8)
      header.previousCRC = previousCRC
      header.confirmedSequence = confirmed
      return header
    }
  }

  static let origin: UInt64 = 7

  /// The one with sequence number n stands at n − 1.
  private(set) var entries: [Entry] = []
  private var durableCount = 0
  /// Those of the durable part.
  private(set) var epochs: [EpochHistory.Start] = []

  /// Where what is durable ends: that is applied, and no more.
  var end: LogPosition { durableCount == 0 ? .start : entries[durableCount - 1].position }
  var writtenEnd: LogPosition { entries.last?.position ?? .start }
  var isSynced: Bool { durableCount == entries.count }
  var epoch: Epoch { epochs.last?.epoch ?? LogPosition.start.epoch }
  var standing: Succession.Standing {
    Succession.Standing(origin: Self.origin, epoch: epoch, sequence: end.sequence)
  }

  /// What the frames say that is confirmed.
  var toldConfirmed: UInt64 { entries.map(\.confirmed).max() ?? 0 }

  func entry(at sequence: UInt64) -> Entry { entries[Int(sequence) - 1] }

  /// Whether a position is one of this history.
  func holds(_ position: LogPosition) -> Bool {
    if position.sequence == 0 { return position == .start }
    return position.sequence <= UInt64(durableCount)
      && entries[Int(position.sequence) - 1].position == position
  }

  /// - Parameter content: what the record says.
  mutating func write(
    _ content: UInt64, in epoch: Epoch, confirmed: UInt64, beginsEpoch: Bool = false
  ) {
    let last = writtenEnd
    var random = UInt64(last.crc) &+ epoch.number << 8 &+ epoch.node << 16 &+ content << 32
    random = (random ^ (random >> 29)) &* 0xBF58_476D_1CE4_E5B9
    random = (random ^ (random >> 32)) &* 0x94D0_49BB_1331_11EB
    entries.append(
      Entry(
        position: LogPosition(
          epoch: epoch, sequence: last.sequence + 1, crc: UInt32(truncatingIfNeeded: random >> 32)),
        previousCRC: last.crc, confirmed: min(confirmed, last.sequence), beginsEpoch: beginsEpoch))
  }

  /// A frame of another node's, which goes on from what was written.
  mutating func append(_ entry: Entry) {
    precondition(entry.previousCRC == writtenEnd.crc)
    precondition(entry.position.sequence == writtenEnd.sequence + 1)
    entries.append(entry)
  }

  mutating func sync() {
    for entry in entries[durableCount...] where entry.beginsEpoch {
      epochs.append(
        EpochHistory.Start(epoch: entry.position.epoch, firstSequence: entry.position.sequence))
    }
    durableCount = entries.count
  }

  /// The process has ended: of what was not synced so much is there.
  mutating func lose(keeping count: Int) {
    entries.removeLast(max(0, entries.count - durableCount - count))
    sync()
  }

  mutating func rewind(to sequence: UInt64) {
    sync()
    entries.removeLast(entries.count - Int(sequence))
    durableCount = entries.count
    while let last = epochs.last, last.firstSequence > sequence { epochs.removeLast() }
  }
}

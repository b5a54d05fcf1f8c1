import Sharding
import WAL

/// The constants of snapshot format v1. `docs/format.md` is the same in prose, byte by byte.
package enum SnapshotFormat {
  package static let version: UInt16 = 1
  /// `SHIPSNAP`.
  package static let magic: UInt64 = 0x5041_4E53_5049_4853
  /// `SNAPFOOT`.
  package static let footerMagic: UInt64 = 0x544F_4F46_5041_4E53
  /// `SNAPEND` and a zero byte.
  package static let endMagic: UInt64 = 0x0044_4E45_5041_4E53

  /// In a header: of a leaderless shard.
  static let leaderlessFlag: UInt16 = 1
  static let fixedHeaderBytes = 56
  static let positionBytes = 40
  static let epochBytes = 24
  static let blockHeaderBytes = 16
  static let blockEntryBytes = 32
  static let fixedFooterBytes = 40
  static let trailerBytes = 32

  /// A block is closed once it holds that much; one with a large entry holds more.
  static let blockRawBytes = 256 << 10
  /// The largest entry: version, record header, expiry, stamp, clock, key, value.
  static let entryBytesMax =
    8 + Format.recordHeaderBytes + 24 + Format.clockEntriesMax * ClockEntry.encodedBytes
    + Format.keyBytesMax + Format.valueBytesMax
  static let blockRawBytesMax = blockRawBytes + entryBytesMax
  static let positionsMax = 1_024
  static let epochsMax = 1 << 20
  static let headerBytesMax =
    fixedHeaderBytes + positionsMax * positionBytes + epochsMax * epochBytes + 8
}

/// Where keys stand in a snapshot: by their shard hash with its bits reversed, then by their bytes.
/// So shard i of 2^k is one run of every snapshot.
package struct KeyOrder: Hashable, Comparable, Sendable {
  package let number: UInt64

  package init(_ number: UInt64) { self.number = number }
  package init(shardHash: UInt64) { number = shardHash.bitReversed }

  package var shardHash: UInt64 { number.bitReversed }

  package static func < (a: KeyOrder, b: KeyOrder) -> Bool { a.number < b.number }
}

extension UInt64 {
  var bitReversed: UInt64 {
    var x = byteSwapped
    x = (x & 0xf0f0_f0f0_f0f0_f0f0) >> 4 | (x & 0x0f0f_0f0f_0f0f_0f0f) << 4
    x = (x & 0xcccc_cccc_cccc_cccc) >> 2 | (x & 0x3333_3333_3333_3333) << 2
    return (x & 0xaaaa_aaaa_aaaa_aaaa) >> 1 | (x & 0x5555_5555_5555_5555) << 1
  }
}

/// -1, 0 or 1 as the first key stands before, with or behind the second one.
func compare(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Int {
  let common = min(a.count, b.count)
  for index in 0..<common where a[index] != b[index] { return a[index] < b[index] ? -1 : 1 }
  return (a.count - b.count).signum()
}

/// What a snapshot is of.
public struct SnapshotHeader: Hashable, Sendable {
  /// When it was written, milliseconds since 1970.
  public var timeMilliseconds: UInt64
  /// The highest time of a frame that it covers: keys that had expired by then are not in it.
  public var frameTimeMilliseconds: UInt64
  public var hash: ShardHash
  public var shardIndex: UInt32
  public var shardCount: UInt32
  /// The points of the logs that it covers, one a log.
  public var positions: [LogBase]
  /// The epochs of the log up to there, oldest first.
  public var epochs: [EpochHistory.Start]
  /// Of a leaderless shard: an entry is a version of a key, of which there may be several, or a deletion.
  public var isLeaderless: Bool

  package init(
    timeMilliseconds: UInt64, frameTimeMilliseconds: UInt64, hash: ShardHash, shardIndex: UInt32,
    shardCount: UInt32, positions: [LogBase], epochs: [EpochHistory.Start],
    isLeaderless: Bool = false
  ) {
    self.isLeaderless = isLeaderless
    self.timeMilliseconds = timeMilliseconds
    self.frameTimeMilliseconds = frameTimeMilliseconds
    self.hash = hash
    self.shardIndex = shardIndex
    self.shardCount = shardCount
    self.positions = positions
    self.epochs = epochs
  }

  /// The point of the one log that it covers.
  public var base: LogBase { positions[0] }
  /// The last sequence number that it covers; of a leaderless shard the sum over all logs.
  public var sequence: UInt64 {
    isLeaderless
      ? positions.reduce(0) { $0 &+ $1.position.sequence } : positions[0].position.sequence
  }

  /// The epoch in which a record that it covers was written.
  package func epoch(of sequence: UInt64) -> Epoch {
    epochs.last { $0.firstSequence <= sequence }?.epoch ?? base.position.epoch
  }

  package var bytes: Int {
    SnapshotFormat.fixedHeaderBytes + positions.count * SnapshotFormat.positionBytes
      + epochs.count * SnapshotFormat.epochBytes + 8
  }

  package var encoded: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: self.bytes)
    bytes.withUnsafeMutableBytes { target in
      target.store(SnapshotFormat.magic, at: 0)
      target.store(SnapshotFormat.version, at: 8)
      target.store(isLeaderless ? SnapshotFormat.leaderlessFlag : 0, at: 10)
      target.store(UInt32(target.count), at: 12)
      target.store(timeMilliseconds, at: 16)
      target.store(frameTimeMilliseconds, at: 24)
      target.store(hash.rawValue, at: 32)
      target.store(shardIndex, at: 36)
      target.store(shardCount, at: 40)
      target.store(UInt32(positions.count), at: 44)
      target.store(UInt32(epochs.count), at: 48)
      var offset = SnapshotFormat.fixedHeaderBytes
      for base in positions {
        target.store(base.origin, at: offset)
        target.store(base.position.epoch.number, at: offset + 8)
        target.store(base.position.epoch.node, at: offset + 16)
        target.store(base.position.sequence, at: offset + 24)
        target.store(base.position.crc, at: offset + 32)
        offset += SnapshotFormat.positionBytes
      }
      for start in epochs {
        target.store(start.epoch.number, at: offset)
        target.store(start.epoch.node, at: offset + 8)
        target.store(start.firstSequence, at: offset + 16)
        offset += SnapshotFormat.epochBytes
      }
      let content = UnsafeRawBufferPointer(target).bytes.extracting(0..<offset + 4)
      target.store(Checksum.unseeded(content), at: offset + 4)
    }
    return bytes
  }

  /// How long the whole header is, from its first 56 bytes.
  ///
  /// - Throws: `SnapshotViolation` when they do not begin a snapshot.
  static func bytes(of start: RawSpan) throws(SnapshotViolation) -> Int {
    guard start.byteCount >= SnapshotFormat.fixedHeaderBytes,
      start.number(at: 0, as: UInt64.self) == SnapshotFormat.magic
    else { throw .magic }
    let total = Int(start.number(at: 12, as: UInt32.self))
    guard start.number(at: 8, as: UInt16.self) == SnapshotFormat.version else {
      // Of that version only once the checksum says so; until then it is as likely damage.
      guard total >= SnapshotFormat.fixedHeaderBytes + 8, total <= SnapshotFormat.headerBytesMax
      else { throw .headerNumbers }
      return total
    }
    let positions = start.number(at: 44, as: UInt32.self)
    let epochs = start.number(at: 48, as: UInt32.self)
    guard positions >= 1, positions <= SnapshotFormat.positionsMax,
      epochs <= SnapshotFormat.epochsMax
    else { throw .headerNumbers }
    let bytes =
      SnapshotFormat.fixedHeaderBytes + Int(positions) * SnapshotFormat.positionBytes
      + Int(epochs) * SnapshotFormat.epochBytes + 8
    guard total == bytes else { throw .headerNumbers }
    return bytes
  }

  /// - Throws: `SnapshotViolation` when the bytes are not a whole header of this version.
  package init(parsing bytes: RawSpan) throws(SnapshotViolation) {
    let total = try Self.bytes(of: bytes)
    guard bytes.byteCount >= total else { throw .headerNumbers }
    guard
      Checksum.unseeded(bytes.extracting(0..<total - 4))
        == bytes.number(at: total - 4, as: UInt32.self)
    else { throw .headerChecksum }
    let version = bytes.number(at: 8, as: UInt16.self)
    guard version == SnapshotFormat.version else { throw .version(version) }
    let flags = bytes.number(at: 10, as: UInt16.self)
    guard flags == 0 || flags == SnapshotFormat.leaderlessFlag else { throw .flags }
    isLeaderless = flags != 0
    timeMilliseconds = bytes.number(at: 16, as: UInt64.self)
    frameTimeMilliseconds = bytes.number(at: 24, as: UInt64.self)
    guard let hash = ShardHash(rawValue: bytes.number(at: 32, as: UInt32.self)) else {
      throw .hash(bytes.number(at: 32, as: UInt32.self))
    }
    self.hash = hash
    shardIndex = bytes.number(at: 36, as: UInt32.self)
    shardCount = bytes.number(at: 40, as: UInt32.self)
    guard shardIndex < shardCount else { throw .headerNumbers }
    positions = []
    epochs = []
    var offset = SnapshotFormat.fixedHeaderBytes
    for _ in 0..<bytes.number(at: 44, as: UInt32.self) {
      let position = LogPosition(
        epoch: Epoch(
          number: bytes.number(at: offset + 8, as: UInt64.self),
          node: bytes.number(at: offset + 16, as: UInt64.self)),
        sequence: bytes.number(at: offset + 24, as: UInt64.self),
        crc: bytes.number(at: offset + 32, as: UInt32.self))
      guard position.sequence >= 1, position.sequence < Format.sequenceLimit,
        position.epoch.number < Format.sequenceLimit
      else { throw .headerNumbers }
      positions.append(
        LogBase(origin: bytes.number(at: offset, as: UInt64.self), position: position))
      offset += SnapshotFormat.positionBytes
    }
    guard
      !isLeaderless || zip(positions, positions.dropFirst()).allSatisfy({ $0.origin < $1.origin }),
      positions.reduce(into: UInt64(0), { $0 &+= $1.position.sequence }) < Format.sequenceLimit
        || !isLeaderless
    else { throw .headerNumbers }
    for _ in 0..<bytes.number(at: 48, as: UInt32.self) {
      let start = EpochHistory.Start(
        epoch: Epoch(
          number: bytes.number(at: offset, as: UInt64.self),
          node: bytes.number(at: offset + 8, as: UInt64.self)),
        firstSequence: bytes.number(at: offset + 16, as: UInt64.self))
      if let last = epochs.last {
        guard last.epoch < start.epoch, last.firstSequence < start.firstSequence else {
          throw .headerNumbers
        }
      }
      guard start.epoch.number < Format.sequenceLimit else { throw .headerNumbers }
      epochs.append(start)
      offset += SnapshotFormat.epochBytes
    }
  }
}

extension EpochHistory.Start {
  package init(_ epoch: Epoch, at firstSequence: UInt64) {
    self.init(epoch: epoch, firstSequence: firstSequence)
  }
}

/// A rule of the snapshot format that bytes break.
package enum SnapshotViolation: Error, Hashable, Sendable {
  case magic
  case version(UInt16)
  case flags
  case hash(UInt32)
  case headerNumbers
  case headerChecksum
  case trailer
  case footerChecksum
  case footerNumbers
  case blockHeader
  case blockChecksum
  case blockCompression
  case entry
  case order
  case digest(stripe: Int)

  /// True when the bytes are whole but a later version wrote them.
  var isUnsupported: Bool {
    switch self {
    case .version, .flags, .hash: true
    default: false
    }
  }
}

extension SnapshotViolation: CustomStringConvertible {
  package var description: String {
    switch self {
    case .magic: "no snapshot header"
    case .version(let version): "snapshot of format version \(version), not 1"
    case .flags: "snapshot with unknown flags"
    case .hash(let hash): "snapshot by the unknown hash \(hash)"
    case .headerNumbers: "the snapshot header's numbers contradict each other"
    case .headerChecksum: "the snapshot header's checksum does not match"
    case .trailer: "the snapshot has no end: it was cut short"
    case .footerChecksum: "the snapshot footer's checksum does not match"
    case .footerNumbers: "the snapshot footer's numbers contradict each other"
    case .blockHeader: "the block is not the one that the footer describes"
    case .blockChecksum: "the block's checksum does not match"
    case .blockCompression: "the block does not decompress"
    case .entry: "the block's entries are not what they should be"
    case .order: "entries are out of order"
    case .digest(let stripe): "the digest of stripe \(stripe) is not that of its entries"
    }
  }
}

/// The constants of log format v1. `docs/format.md` is the same in prose, byte by byte.
///
/// Every number is little-endian. These values never change: a different layout is a different
/// `version`.
public enum Format {
  public static let version: UInt16 = 1
  /// `SHIPLOG` and a zero byte.
  public static let segmentMagic: UInt64 = 0x0047_4F4C_5049_4853
  public static let segmentHeaderBytes = 64
  /// `SF`.
  public static let frameMagic: UInt16 = 0x4653
  public static let frameHeaderBytes = 72
  /// Frames start at multiples of this inside a segment.
  public static let frameAlignmentBytes = 8
  public static let recordHeaderBytes = 8
  /// `SHIPEND` and a zero byte.
  public static let endMagic: UInt64 = 0x0044_4E45_5049_4853
  public static let endMarkerBytes = 24

  /// Bounds. A frame's is on its records, padding included.
  public static let frameRecordsBytesMax = 32 << 20
  public static let keyBytesMax = 4 << 10
  public static let valueBytesMax = 16 << 20
  public static let clockEntriesMax = 1_024
  /// Sequence numbers stay below this, so that no sum of a number and a count overflows.
  public static let sequenceLimit: UInt64 = 1 << 62

  public static let segmentBytesDefault: UInt64 = 64 << 20
  public static let segmentBytesMin: UInt64 = 4 << 10
}

/// Who may write a log, and since which promotion. Compared by number, then by node.
public struct Epoch: Hashable, Comparable, Sendable {
  public var number: UInt64
  public var node: UInt64

  public init(number: UInt64, node: UInt64) {
    self.number = number
    self.node = node
  }

  public static func < (a: Epoch, b: Epoch) -> Bool {
    (a.number, a.node) < (b.number, b.node)
  }
}

/// A point in a history. `crc` is the header crc of the frame that ends at `sequence`; because it
/// covers its predecessor's, two logs that agree on one position agree on everything before it.
public struct LogPosition: Hashable, Sendable {
  public var epoch: Epoch
  public var sequence: UInt64
  public var crc: UInt32

  public init(epoch: Epoch, sequence: UInt64, crc: UInt32) {
    self.epoch = epoch
    self.sequence = sequence
    self.crc = crc
  }

  /// Before the first frame of a log that nothing precedes.
  public static let start = LogPosition(epoch: Epoch(number: 0, node: 0), sequence: 0, crc: 0)
}

/// A rule of the format that bytes break. The numbers are those of `docs/format.md`.
public enum FormatViolation: Error, Hashable, Sendable {
  case segmentMagic
  case segmentVersion(UInt16)
  case segmentFlags(UInt16)
  case segmentChecksum
  case frameMagic
  case frameFlags(UInt16)
  case frameHeaderChecksum
  case frameLength(UInt32)
  case frameNumbers
  case recordsChecksum
  case recordType(UInt8)
  case recordFlags(UInt8)
  case recordLength
  case recordCount
  case recordContent
  case epochRecord
  case endMarker

  /// True when the bytes are whole but a later version of the format wrote them.
  public var isUnsupported: Bool {
    switch self {
    case .segmentVersion, .segmentFlags, .frameFlags, .recordType, .recordFlags: true
    default: false
    }
  }
}

extension FormatViolation: CustomStringConvertible {
  public var description: String {
    switch self {
    case .segmentMagic: "no segment header"
    case .segmentVersion(let version): "segment of format version \(version), not 1"
    case .segmentFlags(let flags): "segment with unknown flags \(flags)"
    case .segmentChecksum: "segment header's checksum does not match"
    case .frameMagic: "no frame header"
    case .frameFlags(let flags): "frame with unknown flags \(flags)"
    case .frameHeaderChecksum: "frame header's checksum does not match"
    case .frameLength(let length): "frame of \(length) record bytes is out of bounds"
    case .frameNumbers: "frame header's numbers contradict each other"
    case .recordsChecksum: "checksum of the frame's records does not match"
    case .recordType(let type): "record of unknown type \(type)"
    case .recordFlags(let flags): "record with unknown flags \(flags)"
    case .recordLength: "record reaches beyond its frame or a bound"
    case .recordCount: "frame does not hold the number of records that its header says"
    case .recordContent: "record's content does not fit its type"
    case .endMarker: "neither a frame nor the mark of the end"
    case .epochRecord: "epoch changes without an epoch record, or the other way round"
    }
  }
}

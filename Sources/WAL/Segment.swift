/// The first 64 bytes of a segment. `docs/format.md` has the offsets.
public struct SegmentHeader: Hashable, Sendable {
  static let pageBytes: UInt64 = 4_096

  /// The log's random id.
  public var origin: UInt64
  /// The sequence number of the first record that is, or will be, in this segment.
  public var firstSequence: UInt64
  /// Epoch and header crc of the frame before this segment.
  public var previousEpoch: Epoch
  public var previousCRC: UInt32
  /// What was known to be on this disk when the segment was begun.
  public var durableSequence: UInt64
  /// The least size of the file, a multiple of 4,096; 0 when it is not said. A shorter file has lost
  /// something: space is allocated before the file gets its name.
  public var fileBytes: UInt64
  /// True when the frames came from another node: their durable numbers speak of its disk, and so
  /// prove nothing about this one.
  public var isShipped: Bool
  /// True when an end marker stands behind the last frame, and anything behind that. Otherwise there
  /// are zeros behind the last frame, or nothing.
  public var isMarked: Bool

  public init(
    origin: UInt64, previous: LogPosition, durableSequence: UInt64, fileBytes: UInt64 = 0,
    isShipped: Bool = false, isMarked: Bool = false
  ) {
    precondition(fileBytes % Self.pageBytes == 0 && fileBytes / Self.pageBytes <= UInt32.max)
    self.origin = origin
    self.fileBytes = fileBytes
    self.isShipped = isShipped
    self.isMarked = isMarked
    firstSequence = previous.sequence + 1
    previousEpoch = previous.epoch
    previousCRC = previous.crc
    self.durableSequence = durableSequence
  }

  /// The position that the segment goes on from.
  public var previous: LogPosition {
    LogPosition(epoch: previousEpoch, sequence: firstSequence - 1, crc: previousCRC)
  }

  /// - Throws: `FormatViolation` when the first 64 bytes are not a segment header of this version.
  public init(parsing bytes: RawSpan) throws(FormatViolation) {
    guard bytes.byteCount >= Format.segmentHeaderBytes,
      bytes.number(at: 0, as: UInt64.self) == Format.segmentMagic
    else { throw .segmentMagic }
    guard Checksum.unseeded(bytes.extracting(0..<60)) == bytes.number(at: 60, as: UInt32.self)
    else { throw .segmentChecksum }
    let version = bytes.number(at: 8, as: UInt16.self)
    guard version == Format.version else { throw .segmentVersion(version) }
    let flags = bytes.number(at: 10, as: UInt16.self)
    guard flags <= 3 else { throw .segmentFlags(flags) }
    isShipped = flags & 1 != 0
    isMarked = flags & 2 != 0
    fileBytes = UInt64(bytes.number(at: 12, as: UInt32.self)) * Self.pageBytes
    origin = bytes.number(at: 16, as: UInt64.self)
    firstSequence = bytes.number(at: 24, as: UInt64.self)
    previousEpoch = Epoch(
      number: bytes.number(at: 32, as: UInt64.self), node: bytes.number(at: 40, as: UInt64.self))
    durableSequence = bytes.number(at: 48, as: UInt64.self)
    previousCRC = bytes.number(at: 56, as: UInt32.self)
    guard firstSequence >= 1, firstSequence < Format.sequenceLimit,
      durableSequence < firstSequence, previousEpoch.number < Format.sequenceLimit
    else { throw .frameNumbers }
  }

  public var encoded: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: Format.segmentHeaderBytes)
    bytes.withUnsafeMutableBytes {
      $0.store(Format.segmentMagic, at: 0)
      $0.store(Format.version, at: 8)
      $0.store(UInt16((isShipped ? 1 : 0) | (isMarked ? 2 : 0)), at: 10)
      $0.store(UInt32(fileBytes / Self.pageBytes), at: 12)
      $0.store(origin, at: 16)
      $0.store(firstSequence, at: 24)
      $0.store(previousEpoch.number, at: 32)
      $0.store(previousEpoch.node, at: 40)
      $0.store(durableSequence, at: 48)
      $0.store(previousCRC, at: 56)
      $0.store(Checksum.unseeded(UnsafeRawBufferPointer($0).bytes.extracting(0..<60)), at: 60)
    }
    return bytes
  }
}

/// The names in a log's directory.
public enum SegmentName {
  public static let suffix = ".wal"
  /// Prepared for later, or on its way out; a start removes what has this prefix.
  static let sparePrefix = "spare-"

  /// 20 digits and the suffix.
  public static func of(_ firstSequence: UInt64) -> String { stem(firstSequence) + suffix }

  /// The 20 digits.
  package static func stem(_ sequence: UInt64) -> String {
    let digits = String(sequence)
    return String(repeating: "0", count: 20 - digits.count) + digits
  }

  /// The sequence number in a segment's name; nil for any other name.
  public static func firstSequence(_ name: String) -> UInt64? {
    guard name.utf8.count == 20 + suffix.utf8.count, name.hasSuffix(suffix) else { return nil }
    let digits = name.utf8.prefix(20)
    guard digits.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
    guard let sequence = UInt64(String(decoding: digits, as: UTF8.self)) else { return nil }
    return (1..<Format.sequenceLimit).contains(sequence) ? sequence : nil
  }
}

/// A segment as its directory lists it.
public struct SegmentFile: Hashable, Sendable {
  public var path: String
  /// From the name; nil when the name says nothing, and the header is believed.
  public var firstSequence: UInt64?

  public init(path: String, firstSequence: UInt64?) {
    self.path = path
    self.firstSequence = firstSequence
  }

  /// The segments in a directory, in the order of the log.
  public static func list(
    _ directory: String, in fileSystem: any FileSystem
  ) throws(WALError) -> [SegmentFile] {
    var files: [SegmentFile] = []
    for name in try fileSystem.list(directory) {
      guard let first = SegmentName.firstSequence(name) else { continue }
      files.append(SegmentFile(path: directory + "/" + name, firstSequence: first))
    }
    return files.sorted { $0.firstSequence! < $1.firstSequence! }
  }
}

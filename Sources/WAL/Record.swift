public enum RecordType: UInt8, Sendable, CaseIterable {
  /// A key has a new value.
  case put = 1
  /// A key is absent.
  case delete = 2
  /// Only the keys of one shard remain; the value is a `ShardRange`.
  case purge = 3
  /// A new epoch begins with this frame; the value is an `EpochChange`.
  case epoch = 4
  /// Keys outside a shard belong to another log from here on; the value begins with a `ShardRange`.
  case handoff = 5
  /// Nothing changes. Proves that what precedes it is durable; the value belongs to the caller.
  case mark = 6
}

/// What stands in a record besides key and value.
public struct RecordMetadata: Hashable, Sendable {
  /// Absolute, milliseconds since 1970; the key is absent from then on.
  public var expiryMilliseconds: UInt64?
  /// A hybrid logical clock, for "the last write wins".
  public var stamp: UInt64?

  public init(expiryMilliseconds: UInt64? = nil, stamp: UInt64? = nil) {
    self.expiryMilliseconds = expiryMilliseconds
    self.stamp = stamp
  }
}

/// One record, as offsets into the bytes that it was parsed from.
///
/// Its sequence number is not in the bytes: it is the frame's first one plus the record's index.
public struct Record: Hashable, Sendable {
  public let type: RecordType
  public let metadata: RecordMetadata
  /// The version vector's entries, 16 bytes each; see `ClockEntry`. Empty when there is none.
  public let clock: Range<Int>
  public let key: Range<Int>
  public let value: Range<Int>

  /// Parses the record at `offset`.
  ///
  /// - Throws: `FormatViolation` when the bytes do not hold a record there.
  @inline(__always)
  public init(parsing bytes: RawSpan, at offset: Int) throws(FormatViolation) {
    let total = bytes.byteCount
    guard offset >= 0, offset <= total, total - offset >= Format.recordHeaderBytes else {
      throw .recordLength
    }
    let typeByte = bytes.number(at: offset, as: UInt8.self)
    guard let type = RecordType(rawValue: typeByte) else { throw .recordType(typeByte) }
    let flags = Flags(rawValue: bytes.number(at: offset + 1, as: UInt8.self))
    guard flags.isSubset(of: .known) else { throw .recordFlags(flags.rawValue) }
    let keyCount = Int(bytes.number(at: offset + 2, as: UInt16.self))
    let valueCount = Int(bytes.number(at: offset + 4, as: UInt32.self))
    guard keyCount <= Format.keyBytesMax, valueCount <= Format.valueBytesMax else {
      throw .recordLength
    }
    var end = offset + Format.recordHeaderBytes
    var metadata = RecordMetadata()
    var clockCount = 0
    if !flags.isEmpty {
      // Up to here nothing beyond the header was read; each field checks what is left.
      if flags.contains(.expiry) {
        guard total - end >= 8 else { throw .recordLength }
        metadata.expiryMilliseconds = bytes.number(at: end, as: UInt64.self)
        end += 8
      }
      if flags.contains(.stamp) {
        guard total - end >= 8 else { throw .recordLength }
        metadata.stamp = bytes.number(at: end, as: UInt64.self)
        end += 8
      }
      if flags.contains(.clock) {
        guard total - end >= 8 else { throw .recordLength }
        let entries = bytes.number(at: end, as: UInt64.self)
        guard entries >= 1, entries <= UInt64(Format.clockEntriesMax) else { throw .recordContent }
        clockCount = Int(entries) * ClockEntry.encodedBytes
        end += 8
      }
    }
    guard total - end >= clockCount + keyCount + valueCount else { throw .recordLength }
    self.type = type
    self.metadata = metadata
    clock = end..<end + clockCount
    key = clock.upperBound..<clock.upperBound + keyCount
    value = key.upperBound..<key.upperBound + valueCount
    switch type {
    case .put:
      guard keyCount > 0 else { throw .recordContent }
    case .delete:
      guard keyCount > 0, valueCount == 0, !flags.contains(.expiry) else { throw .recordContent }
    case .purge, .epoch, .handoff, .mark:
      let needed =
        switch type {
        case .epoch: EpochChange.encodedBytes
        case .mark: 0
        default: ShardRange.encodedBytes
        }
      guard keyCount == 0, flags.isEmpty, valueCount >= needed else { throw .recordContent }
    }
    if clockCount > 0 { try ClockEntry.validate(bytes.extracting(clock)) }
  }

  /// The offset behind this record.
  public var end: Int { value.upperBound }

  struct Flags: OptionSet {
    let rawValue: UInt8
    static let expiry = Flags(rawValue: 1)
    static let stamp = Flags(rawValue: 2)
    static let clock = Flags(rawValue: 4)
    static let known: Flags = [.expiry, .stamp, .clock]
  }

  /// Bytes that `encode` needs.
  public static func encodedBytes(
    metadata: RecordMetadata = RecordMetadata(), clockEntries: Int = 0, key: Int, value: Int
  ) -> Int {
    Format.recordHeaderBytes + (metadata.expiryMilliseconds == nil ? 0 : 8)
      + (metadata.stamp == nil ? 0 : 8)
      + (clockEntries == 0 ? 0 : 8 + clockEntries * ClockEntry.encodedBytes) + key + value
  }

  /// Writes a record to the start of `target`, which holds at least `encodedBytes(…)`, and returns
  /// the bytes written. Bounds on key, value and clock are the caller's to keep: breaking one is a
  /// bug, and traps.
  @discardableResult
  public static func encode(
    _ type: RecordType, metadata: RecordMetadata = RecordMetadata(),
    clock: [ClockEntry] = [], key: RawSpan, value: RawSpan,
    into target: UnsafeMutableRawBufferPointer
  ) -> Int {
    precondition(key.byteCount <= Format.keyBytesMax, "key too long")
    precondition(value.byteCount <= Format.valueBytesMax, "value too long")
    precondition(clock.count <= Format.clockEntriesMax, "clock too long")
    var flags: Flags = []
    var end = Format.recordHeaderBytes
    if let expiry = metadata.expiryMilliseconds {
      flags.insert(.expiry)
      target.store(expiry, at: end)
      end += 8
    }
    if let stamp = metadata.stamp {
      flags.insert(.stamp)
      target.store(stamp, at: end)
      end += 8
    }
    if !clock.isEmpty {
      flags.insert(.clock)
      target.store(UInt64(clock.count), at: end)
      end += 8
      for entry in clock {
        target.store(entry.origin, at: end)
        target.store(entry.sequence, at: end + 8)
        end += ClockEntry.encodedBytes
      }
    }
    target.store(type.rawValue, at: 0)
    target.store(flags.rawValue, at: 1)
    target.store(UInt16(key.byteCount), at: 2)
    target.store(UInt32(value.byteCount), at: 4)
    target.store(key, at: end)
    end += key.byteCount
    target.store(value, at: end)
    return end + value.byteCount
  }
}

/// One entry of a version vector: every write of that log up to that sequence number.
public struct ClockEntry: Hashable, Sendable {
  public static let encodedBytes = 16

  public var origin: UInt64
  public var sequence: UInt64

  public init(origin: UInt64, sequence: UInt64) {
    self.origin = origin
    self.sequence = sequence
  }

  /// The entry at `index` of a record's `clock` bytes.
  public init(in clock: RawSpan, at index: Int) {
    origin = clock.number(at: index * Self.encodedBytes, as: UInt64.self)
    sequence = clock.number(at: index * Self.encodedBytes + 8, as: UInt64.self)
  }

  /// Ascending and distinct origins, sequence numbers in range: one vector has one encoding.
  static func validate(_ clock: RawSpan) throws(FormatViolation) {
    var previous: UInt64?
    for index in 0..<clock.byteCount / encodedBytes {
      let entry = ClockEntry(in: clock, at: index)
      guard previous.map({ $0 < entry.origin }) ?? true else { throw .recordContent }
      guard entry.sequence >= 1, entry.sequence < Format.sequenceLimit else {
        throw .recordContent
      }
      previous = entry.origin
    }
  }
}

/// Steps through the records of one frame.
public struct RecordCursor: Sendable {
  public private(set) var offset = 0
  private var remaining: UInt32

  public init(count: UInt32) {
    remaining = count
  }

  /// The next record; nil behind the last one, once the padding was found to be nothing but that.
  @inline(__always)
  public mutating func next(in bytes: RawSpan) throws(FormatViolation) -> Record? {
    guard remaining > 0 else {
      let padding = bytes.extracting(offset..<bytes.byteCount)
      guard padding.byteCount < Format.frameAlignmentBytes, padding.isZero else {
        throw .recordCount
      }
      return nil
    }
    let record = try Record(parsing: bytes, at: offset)
    offset = record.end
    remaining -= 1
    return record
  }
}

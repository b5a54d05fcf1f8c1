import WAL

/// A part of a log: its writes, a page at a time.
public struct WritePage: Sendable {
  public var writes: [LoggedWrite] = []
  /// Where the next page begins; nil behind the last write.
  public var next: UInt64?

  /// What a page is bounded by; one write may come on top.
  public struct Limits: Sendable {
    public var writesMax: Int
    public var bytesMax: Int
    public var includesValues: Bool

    public init(writesMax: Int = 1_000, bytesMax: Int = 1 << 20, includesValues: Bool = false) {
      self.writesMax = writesMax
      self.bytesMax = bytesMax
      self.includesValues = includesValues
    }
  }

  /// How much of a log is read for one page.
  private static let readBytesMax = 64 << 20

  /// Reads the writes of the log in a directory.
  ///
  /// - Parameters:
  ///   - from: the first sequence number that is wanted.
  ///   - through: the last one that is looked at.
  /// - Throws: `notRetained` when the log begins behind `from`; `damaged`.
  public static func read(
    _ directory: String, from: UInt64, through: UInt64 = .max, limits: Limits,
    fileSystem: any FileSystem = SystemFileSystem()
  ) throws(WALError) -> WritePage {
    var page = WritePage()
    guard from <= through else { return page }
    var reader = try LogReader(directory: directory, from: from, fileSystem: fileSystem)
    reader.limit = through
    var bytes = 0
    var readBytes = 0
    while page.next == nil {
      switch try reader.next() {
      case .end: return page
      case .damage(let damage): throw .damaged(damage)
      case .frame(let header):
        let frame = header
        reader.withRecords { page.take($0, frame, from, through, &bytes, limits) }
        readBytes += header.frameBytes
        if page.next == nil, readBytes >= readBytesMax { page.next = header.lastSequence + 1 }
      }
    }
    return page
  }

  /// Takes the writes of a frame that was checked, until the page is full.
  private mutating func take(
    _ records: RawSpan, _ header: FrameHeader, _ from: UInt64, _ through: UInt64,
    _ bytes: inout Int, _ limits: Limits
  ) {
    var cursor = RecordCursor(count: header.recordCount)
    var sequence = header.firstSequence
    do throws(FormatViolation) {
      while let record = try cursor.next(in: records) {
        defer { sequence += 1 }
        guard sequence >= from, sequence <= through, let kind = record.type.writeKind else {
          continue
        }
        guard writes.count < limits.writesMax, bytes < limits.bytesMax else {
          next = sequence
          return
        }
        var write = LoggedWrite(
          sequence: sequence, epoch: header.epoch, timeMilliseconds: header.timeMilliseconds,
          kind: kind, key: Self.bytes(records, record.key),
          expiryMilliseconds: record.metadata.expiryMilliseconds)
        if kind == .put {
          write.valueBytes = record.value.count
          if limits.includesValues { write.value = Self.bytes(records, record.value) }
        }
        bytes += 128 + write.key.count + (write.value?.count ?? 0)
        writes.append(write)
      }
    } catch {
      preconditionFailure("the reader has checked the records: \(error)")
    }
  }

  private static func bytes(_ records: RawSpan, _ range: Range<Int>) -> [UInt8] {
    records.extracting(range).withUnsafeBytes { Array($0) }
  }
}

extension RecordType {
  fileprivate var writeKind: LoggedWrite.Kind? {
    switch self {
    case .put: .put
    case .delete: .delete
    case .purge: .purge
    case .handoff: .handoff
    case .mark, .epoch: nil
    }
  }
}

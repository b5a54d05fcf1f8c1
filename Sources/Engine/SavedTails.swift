import WAL

/// A write, as a log has it.
public struct LoggedWrite: Hashable, Sendable {
  public enum Kind: String, Sendable {
    case put, delete, purge, handoff
  }

  public var sequence: UInt64
  public var epoch: Epoch
  /// That of its frame, milliseconds since 1970.
  public var timeMilliseconds: UInt64
  public var kind: Kind
  /// Empty where all keys of a shard are meant.
  public var key: [UInt8]
  public var valueBytes: Int
  /// Nil where values were not asked for, and where there is none.
  public var value: [UInt8]?
  /// Milliseconds since 1970.
  public var expiryMilliseconds: UInt64?

  public init(
    sequence: UInt64, epoch: Epoch, timeMilliseconds: UInt64, kind: Kind, key: [UInt8],
    valueBytes: Int = 0, value: [UInt8]? = nil, expiryMilliseconds: UInt64? = nil
  ) {
    self.sequence = sequence
    self.epoch = epoch
    self.timeMilliseconds = timeMilliseconds
    self.kind = kind
    self.key = key
    self.valueBytes = valueBytes
    self.value = value
    self.expiryMilliseconds = expiryMilliseconds
  }
}

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

/// What a data directory has lost to other histories, and keeps under `diverged/`.
public struct SavedTails: Sendable {
  /// One of them.
  public struct Place: Hashable, Sendable {
    public var tail: LostTail
    /// Where its segments are.
    public var directory: String

    public var name: String { tail.name }
  }

  private let path: String
  private let fileSystem: any FileSystem

  public init(_ dataDirectory: String, fileSystem: any FileSystem = SystemFileSystem()) {
    path = dataDirectory + "/diverged"
    self.fileSystem = fileSystem
  }

  /// The tails, oldest fork first, and the directories that nothing says the fork of: copies that were
  /// put away as a whole.
  public func list() throws(WALError) -> (tails: [Place], others: [String]) {
    var tails: [Place] = []
    var others: [String] = []
    for name in try names() {
      let directory = "\(path)/\(name)"
      guard !name.hasSuffix(SegmentName.suffix), try fileSystem.isDirectory(directory) else {
        continue
      }
      guard var tail = try LostTail.read(in: directory, fileSystem: fileSystem) else {
        others.append(name)
        continue
      }
      tail.name = name
      let isCopy = try fileSystem.list(directory).contains("wal")
      tails.append(Place(tail: tail, directory: isCopy ? directory + "/wal" : directory))
    }
    tails.sort {
      ($0.tail.fork.sequence, $0.tail.fork.epoch, $0.name)
        < ($1.tail.fork.sequence, $1.tail.fork.epoch, $1.name)
    }
    return (tails, others.sorted())
  }

  private func names() throws(WALError) -> [String] {
    do {
      return try fileSystem.list(path)
    } catch {
      guard error.isNotFound else { throw error }
      return []
    }
  }

  /// The writes of a tail.
  ///
  /// - Returns: nil when there is none of that name.
  /// - Throws: `damaged`, or that of a system call.
  public func page(
    of name: String, from: UInt64, limits: WritePage.Limits
  ) throws(WALError) -> WritePage? {
    guard let place = try list().tails.first(where: { $0.name == name }) else { return nil }
    let first = try SegmentFile.list(place.directory, in: fileSystem).first?.firstSequence
    return try WritePage.read(
      place.directory, from: max(from, place.tail.firstSequence, first ?? 0),
      through: place.tail.lastSequence, limits: limits, fileSystem: fileSystem)
  }

  /// How many tails there are, and how many puts and deletes they hold.
  public struct Totals: Hashable, Sendable {
    public var tails = 0
    public var records: UInt64 = 0
  }

  public func totals() throws(WALError) -> Totals {
    let tails = try list().tails
    return Totals(tails: tails.count, records: tails.reduce(0) { $0 + $1.tail.writes })
  }
}

import WAL

/// A point in the life of a log.
package enum LogPoint: Hashable, Sendable {
  /// All of it.
  case end
  /// Behind the record with that number.
  case sequence(UInt64)
  /// Behind the last frame whose time is not later, in milliseconds since 1970.
  case time(UInt64)
}

/// Reads a log that rests, and changes nothing: where a point is in it, and which epochs it has.
struct LogSurvey {
  let point: LogPoint
  /// What the state is taken from that the log goes on behind; nil for the empty one.
  let base: LogBase?
  let clean: CleanStop?
  /// What a snapshot has, whether or not it serves for this point, is not missing in the log.
  private let covered: UInt64
  private(set) var origin: UInt64?
  /// Where the log ends, as far as it was read.
  private(set) var end: LogPosition
  /// The last sequence number that the point takes in; nil while that is not known.
  private(set) var through: UInt64?
  /// What a start would cut off.
  private(set) var torn: Damage?
  private(set) var highestEpoch: Epoch
  /// True once what comes behind does not count.
  private var isPassed = false

  /// - Parameter base: no further than the point.
  /// - Throws: `damaged` when that is in front of the point; `notRetained` when the log begins behind
  ///   the base; that of a system call.
  init(
    _ point: LogPoint, directory: String, segments: [SegmentFile], base: LogBase?,
    clean: CleanStop?, covered: UInt64, fileSystem: any FileSystem, pace: Pace
  ) throws(WALError) {
    self.point = point
    self.covered = covered
    self.base = base
    self.clean = clean
    origin = base?.origin
    end = base?.position ?? .start
    highestEpoch = end.epoch
    switch point {
    case .sequence(let sequence) where sequence == base?.position.sequence:
      through = sequence
      isPassed = true
    case .time: through = base?.position.sequence
    case .end, .sequence: break
    }
    if let clean { highestEpoch = max(highestEpoch, clean.position.epoch) }
    if !segments.isEmpty {
      do {
        try read(directory, segments, fileSystem, pace)
      } catch {
        guard case .notRetained = error, isPassed else { throw error }
        noteEpochs(of: segments, fileSystem)
      }
    } else if let clean, clean.position.sequence > max(end.sequence, covered), !isPassed {
      throw .damaged(
        Damage(
          corrupt: directory, sequence: end.sequence + 1,
          finding: .ends(beforeDurable: clean.position.sequence)))
    }
    switch point {
    case .end: through = end.sequence
    // What came then is in a snapshot only, which is of a later time.
    case .time where !isPassed && end.sequence < covered: through = nil
    case .time, .sequence: break
    }
  }

  private mutating func read(
    _ directory: String, _ segments: [SegmentFile], _ fileSystem: any FileSystem, _ pace: Pace
  ) throws(WALError) {
    let from = end.sequence + 1
    if base == nil, let first = segments[0].firstSequence, first > 1 {
      throw .notRetained(sequence: 1, oldest: first)
    }
    var reader = try LogReader(directory: directory, from: from, fileSystem: fileSystem)
    if let clean, clean.position.sequence > covered {
      reader.knownDurable = clean.position.sequence
    }
    while true {
      switch try reader.next() {
      case .frame(let header):
        try check(header, reader)
        take(header)
        try pace.spent(header.frameBytes)
      case .damage(let damage):
        try judge(damage)
        return noteEpochs(of: segments, fileSystem)
      case .end:
        return try checkEnd(reader)
      }
    }
  }

  /// Whose log it is, and whether it goes on where the base ends.
  private mutating func check(
    _ header: FrameHeader, _ reader: borrowing LogReader
  ) throws(WALError) {
    let isFirst = end == base?.position ?? .start
    origin = origin ?? reader.origin
    guard isFirst, let base else { return }
    // The chain of what follows is the reader's.
    guard reader.origin == base.origin, header.firstSequence == base.position.sequence + 1,
      header.previousCRC == base.position.crc
    else {
      throw .damaged(
        Damage(
          corrupt: reader.path ?? "", offset: reader.frameOffset,
          sequence: base.position.sequence + 1, finding: .chain(found: header.firstSequence)))
    }
  }

  private mutating func take(_ header: FrameHeader) {
    end = header.position
    highestEpoch = max(highestEpoch, header.epoch)
    switch point {
    case .end: break
    case .sequence(let sequence):
      if header.lastSequence >= sequence {
        through = sequence
        isPassed = true
      }
    case .time(let time):
      if header.timeMilliseconds <= time {
        through = header.lastSequence
      } else {
        isPassed = true
      }
    }
  }

  private mutating func judge(_ damage: Damage) throws(WALError) {
    if damage.kind == .torn, end.sequence >= covered {
      torn = damage
    } else if !isPassed {
      throw .damaged(damage)
    }
  }

  private mutating func checkEnd(_ reader: borrowing LogReader) throws(WALError) {
    guard let clean, !isPassed else { return }
    let isSame = clean == CleanStop(origin: origin ?? clean.origin, position: end)
    guard
      clean.position.sequence > max(end.sequence, covered)
        || clean.position.sequence == end.sequence && !isSame
    else { return }
    throw .damaged(
      Damage(
        corrupt: reader.path ?? "", offset: reader.nextOffset, sequence: end.sequence + 1,
        finding: .ends(beforeDurable: clean.position.sequence)))
  }

  /// The epochs behind damage, as far as the segments' headers say them.
  private mutating func noteEpochs(of segments: [SegmentFile], _ fileSystem: any FileSystem) {
    for segment in segments {
      do {
        let bytes = try fileSystem.open(segment.path, .readOnly)
          .bytes(count: Format.segmentHeaderBytes)
        highestEpoch = max(highestEpoch, try SegmentHeader(parsing: bytes.span.bytes).previousEpoch)
      } catch {
        // Damaged as well: it is not needed for the point.
      }
    }
  }
}

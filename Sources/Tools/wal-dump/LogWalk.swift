import Engine
import WAL

/// Reads a log in files from its first frame to its last, going on behind corruption.
struct LogWalk: FrameSource, ~Copyable {
  let place: LogPlace
  /// True when a process had the log open while something in it looked damaged.
  private(set) var isInUse = false

  private var reader: LogReader
  private let clean: CleanStop?
  private var opening: Damage?
  private var lastDamage: Damage?
  private var isAtEnd = false

  /// Where a segment begins among the bytes of all, for `bytesDone`.
  private var starts: [String: UInt64] = [:]

  /// How often, and in what steps, damage in a log that is being written is looked at again.
  private static let attempts = 5
  private static let attemptMilliseconds: UInt32 = 50

  init(_ place: LogPlace, from: UInt64 = 0, to: UInt64 = .max) throws(DumpError) {
    let clean = try Self.cleanStop(place)
    let opening = try Self.openingDamage(place, from, clean)
    var reader = try Self.open(place, from)
    reader.knownDurable = clean?.position.sequence ?? 0
    reader.limit = to
    self.init(place, reader, clean: clean, opening: opening)
  }

  private init(
    _ place: LogPlace, _ reader: consuming LogReader, clean: CleanStop?, opening: Damage?
  ) {
    self.place = place
    self.reader = reader
    self.clean = clean
    self.opening = opening
  }

  private static func open(_ place: LogPlace, _ from: UInt64) throws(DumpError) -> LogReader {
    try reading { () throws(WALError) in
      switch place.content {
      case .directory(let directory):
        let first = try place.segments().first?.firstSequence ?? 1
        return try LogReader(directory: directory, from: max(from, first))
      case .files(let files):
        return LogReader(files: files)
      case .standardInput, .snapshot:
        preconditionFailure("\(place.name) is no log in files")
      }
    }
  }

  private static func cleanStop(_ place: LogPlace) throws(DumpError) -> CleanStop? {
    guard case .directory(let directory) = place.content else { return nil }
    return try reading { () throws(WALError) in try CleanStop.read(in: directory) }
  }

  /// What the reader cannot see: that the log has no beginning, or nothing at all.
  private static func openingDamage(
    _ place: LogPlace, _ from: UInt64, _ clean: CleanStop?
  ) throws(DumpError) -> Damage? {
    guard case .directory(let directory) = place.content else { return nil }
    return try reading { () throws(WALError) in
      guard let segment = try place.segments().first, let first = segment.firstSequence else {
        // What a snapshot covers is not missing.
        let covered =
          try place.dataDirectory.flatMap { (path) throws(WALError) in
            try SnapshotDirectory(path).list().first?.sequence
          } ?? 0
        guard let clean, clean.position.sequence > covered else { return nil }
        return Damage(
          corrupt: directory, sequence: covered + 1,
          finding: .ends(beforeDurable: clean.position.sequence))
      }
      guard first > max(from, 1), let dataDirectory = place.dataDirectory,
        try !hasSnapshot(dataDirectory)
      else { return nil }
      return Damage(corrupt: segment.path, sequence: 1, finding: .missing(through: first - 1))
    }
  }

  private static func hasSnapshot(_ dataDirectory: String) throws(WALError) -> Bool {
    do {
      return try SystemFileSystem().list(dataDirectory + "/snapshots")
        .contains { !$0.hasSuffix(".tmp") }
    } catch {
      guard error.isNotFound else { throw error }
      return false
    }
  }

  func withRecords<R>(_ body: (RawSpan) throws(DumpError) -> R) throws(DumpError) -> R {
    try reader.withRecords(body)
  }

  var bytesDone: UInt64 {
    (reader.path.flatMap { starts[$0] } ?? 0) + reader.nextOffset
  }

  var segmentCount: Int { starts.count }

  /// Prepares `bytesDone` and `segmentCount`.
  ///
  /// - Returns: the bytes of all segments, used or not.
  mutating func measure() throws(DumpError) -> UInt64 {
    var total: UInt64 = 0
    for segment in try reading({ () throws(WALError) in try place.segments() }) {
      do throws(WALError) {
        let size = try SystemFileSystem().open(segment.path, .readOnly).size()
        starts[segment.path] = total
        total += size
      } catch {
        // Retired in this moment; or it is damage, which the reader finds.
        guard error.isNotFound else { throw .log(error) }
      }
    }
    return total
  }

  mutating func next() throws(DumpError) -> FrameEvent {
    if let opening {
      self.opening = nil
      return .damage(opening)
    }
    do throws(WALError) {
      if let lastDamage {
        self.lastDamage = nil
        isAtEnd = try !goOn(behind: lastDamage)
      }
      guard !isAtEnd else { return .end }
      switch try settledEvent() {
      case .frame(let header): return .frame(header)
      case .damage(let damage):
        lastDamage = damage
        return .damage(damage)
      case .end:
        isAtEnd = true
        return wrongEnd.map { .damage($0) } ?? .end
      }
    } catch {
      throw .log(error)
    }
  }

  /// The reader's next event. While the log is being written its last frame may be half there, or
  /// may be read while it changes; what stays as it is, is damage.
  private mutating func settledEvent() throws(WALError) -> LogReader.Event {
    var event = try reader.next()
    guard case .damage = event else { return event }
    do {
      guard try place.isInUse() else { return event }
    } catch {
      // Without an answer the log is taken for one that rests.
      return event
    }
    isInUse = true
    for _ in 0..<Self.attempts {
      System.sleep(milliseconds: Self.attemptMilliseconds)
      event = try reader.next()
      guard case .damage = event else { break }
    }
    return event
  }

  /// - Returns: false when there is nothing behind the damage that could be read.
  private mutating func goOn(behind damage: Damage) throws(WALError) -> Bool {
    guard damage.kind == .corrupt else { return false }
    if try reader.resume() { return true }
    // Damage may hide whose log it is, and so what belongs to it: later segments say that again.
    guard reader.end == nil else { return false }
    let rest = try place.segments().drop { $0.path != damage.path }.dropFirst()
    guard !rest.isEmpty else { return false }
    let (limit, knownDurable) = (reader.limit, reader.knownDurable)
    reader = LogReader(files: Array(rest))
    reader.limit = limit
    reader.knownDurable = knownDurable
    return true
  }

  /// A clean stop says exactly where the log ends, and the end must be that one.
  private var wrongEnd: Damage? {
    guard let clean, let end = reader.end, end.sequence == clean.position.sequence,
      end != clean.position || reader.origin != clean.origin
    else { return nil }
    return Damage(
      corrupt: reader.path ?? place.name, offset: reader.nextOffset, sequence: end.sequence,
      finding: .chain(found: end.sequence))
  }
}

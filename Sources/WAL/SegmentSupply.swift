/// Makes the next segment ready before it is needed, and disposes of retired ones.
///
/// A ready segment is allocated and written, with zeros, so that a later sync of it writes no
/// metadata. A retired segment is ready as it is when nothing else reads it or links to it: what it
/// holds means nothing behind an end marker.
/// `step()` does one bounded piece of work; a thread calls it, or a test does.
final class SegmentSupply: Sendable {
  struct Spare {
    var file: any File
    var path: String
    var bytes: UInt64
  }

  private struct Filling {
    var spare: Spare
    var filledBytes: UInt64 = 0
  }

  private struct State {
    var ready: [Spare] = []
    /// Of those: retired ones above it are removed.
    var readyMax = 1
    var filling: Filling?
    /// Oldest first: a log must lose its segments in order.
    var retired: [String] = []
    var spareNumber = 0
    /// So many are filled without pauses: the writer has asked in vain.
    var hurried = 0
    /// In large pieces.
    var isLarge = false
    /// Set by an error; the next request tries again. Nothing is done before the first one.
    var isPaused = true
    var lastError: WALError?
    /// The error of a sync of the directory: what is on the disk is not known any more.
    var failure: WALError?
    var isStopped = false

    var hasWork: Bool { !isPaused && (!retired.isEmpty || filling != nil || ready.isEmpty) }
  }

  /// Written and synced at a time: the log's own writes wait behind it.
  private static let pieceBytes: UInt64 = 128 << 10
  /// The same once one was missing for what is written in large pieces itself. Each sync costs as much as writing some
  /// 200 KiB.
  private static let largePieceBytes: UInt64 = 1 << 20
  /// Of the time that a piece takes, its pause; and the longest one.
  private static let pauseFactor: UInt64 = 4
  private static let pauseMicrosecondsMax: UInt64 = 5_000
  /// Filled without pauses once one was missing.
  private static let hurriedMax = 8

  private let directory: String
  private let segmentBytes: UInt64
  private let fillsUncached: Bool
  private let fileSystem: any FileSystem
  private let state = Monitor(State())

  /// - Parameter fillsUncached: for segments that are written past the system's cache as well. Whoever writes through
  ///   it would have to read each page first.
  init(
    directory: String, segmentBytes: UInt64, fillsUncached: Bool, fileSystem: any FileSystem
  ) {
    self.directory = directory
    self.segmentBytes = segmentBytes
    self.fillsUncached = fillsUncached
    self.fileSystem = fileSystem
  }

  /// Asks for a segment to be made ready.
  func request() {
    state.signal { $0.isPaused = $0.failure != nil }
  }

  /// The segment that is ready, if there is one.
  ///
  /// - Parameter isLarge: it is for large pieces.
  func take(isLarge: Bool) -> Spare? {
    state.withLock { state in
      let spare = state.ready.popLast()
      state.isLarge = isLarge
      if spare == nil { state.hurried = Self.hurriedMax }
      return spare
    }
  }

  /// Disposes of segments, given oldest first.
  ///
  /// - Parameter bytes: how much log is expected before the next call; files are kept for that, and
  ///   for the segments at both of its ends.
  func retire(_ paths: [String], expecting bytes: UInt64) {
    state.signal {
      $0.retired += paths
      $0.readyMax = bytes > 0 ? Int(clamping: bytes / segmentBytes) + 2 : 1
      $0.isPaused = $0.failure != nil
    }
  }

  /// What went wrong last, until a segment is ready again; a lack of space, mostly. Nothing
  /// acknowledged is at stake: the writer makes a segment itself when there is none.
  var lastError: WALError? { state.withLock { $0.lastError } }

  /// The error after which the log must not go on.
  var failure: WALError? { state.withLock { $0.failure } }

  /// Of the segments that are ready.
  var readyBytes: UInt64 { state.withLock { $0.ready.reduce(0) { $0 + $1.bytes } } }

  func nextSparePath() -> String {
    state.withLock {
      $0.spareNumber += 1
      return directory + "/" + SegmentName.sparePrefix + String($0.spareNumber)
    }
  }

  /// Works until `stop()`.
  func run() {
    while true {
      let isStopped = state.wait { state -> Bool? in
        state.isStopped ? true : state.hasWork ? false : nil
      }
      if isStopped { return }
      let begin = LogClock.system.monotonicNanoseconds()
      step()
      guard state.withLock({ $0.filling != nil && $0.hurried == 0 && !$0.isStopped }) else {
        continue
      }
      let pause = (LogClock.system.monotonicNanoseconds() - begin) / 1_000 * Self.pauseFactor
      sleep(microseconds: UInt32(min(pause, Self.pauseMicrosecondsMax)))
    }
  }

  func stop() {
    state.signal { $0.isStopped = true }
  }

  /// Removes what was made ready and is not needed any more.
  func discard() throws(WALError) {
    let paths = state.withLock { state in
      defer {
        state.ready = []
        state.filling = nil
      }
      return (state.ready + (state.filling.map { [$0.spare] } ?? [])).map(\.path)
    }
    for path in paths { try fileSystem.remove(path) }
  }

  /// Does one piece of work.
  ///
  /// - Returns: false when there was none.
  @discardableResult
  func step() -> Bool {
    enum Job {
      case retire(String, canRecycle: Bool)
      case fill(Filling)
      case begin
    }
    let job = state.withLock { (state) -> Job? in
      guard state.hasWork else { return nil }
      if let path = state.retired.first {
        return .retire(path, canRecycle: state.ready.count < state.readyMax)
      }
      return state.filling.map { .fill($0) } ?? .begin
    }
    guard let job else { return false }
    do {
      switch job {
      case .retire(let path, let canRecycle): try retire(path, canRecycle: canRecycle)
      case .fill(let filling): try fill(filling)
      case .begin: try begin()
      }
    } catch {
      state.withLock {
        $0.isPaused = true
        $0.lastError = error
      }
    }
    return true
  }

  private func begin() throws(WALError) {
    let spare = try allocate(nextSparePath(), segmentBytes)
    state.withLock { $0.filling = Filling(spare: spare) }
  }

  /// A new file with its space reserved; none when there is not enough.
  ///
  /// - Parameter isFilled: whether zeros are written there too: space that is only allocated has every
  ///   sync of what is written there write metadata as well.
  func allocate(
    _ path: String, _ bytes: UInt64, isFilled: Bool = false
  ) throws(WALError) -> Spare {
    let file = try fileSystem.open(path, .create)
    do {
      try file.allocate(bytes)
      if isFilled { try file.zero(0..<bytes) }
    } catch {
      try fileSystem.remove(path)
      throw error
    }
    return Spare(file: file, path: path, bytes: bytes)
  }

  private func fill(_ filling: Filling) throws(WALError) {
    var filling = filling
    let isLarge = state.withLock { $0.hurried > 0 && $0.isLarge }
    let piece = isLarge ? Self.largePieceBytes : Self.pieceBytes
    let end = min(filling.filledBytes + piece, filling.spare.bytes)
    do {
      try filling.spare.file.zero(filling.filledBytes..<end, isUncached: fillsUncached)
      // Synced piece by piece: one sync of everything would hold up the log's own.
      try filling.spare.file.sync()
    } catch {
      state.withLock { $0.filling = nil }
      try fileSystem.remove(filling.spare.path)
      throw error
    }
    filling.filledBytes = end
    if end == filling.spare.bytes {
      try filling.spare.file.unlock()
      state.withLock {
        $0.filling = nil
        $0.ready.append(filling.spare)
        $0.hurried = max(0, $0.hurried - 1)
        $0.lastError = nil
      }
    } else {
      state.withLock { $0.filling = filling }
    }
  }

  /// One segment at a time and oldest first, each durably gone before the next: a crash leaves a
  /// log without holes.
  private func retire(_ path: String, canRecycle: Bool) throws(WALError) {
    let file: any File
    do {
      file = try fileSystem.open(path, .readWrite)
    } catch {
      guard error.isNotFound else { throw error }
      state.withLock { _ = $0.retired.removeFirst() }
      return
    }
    var isRecycled = canRecycle
    if isRecycled { isRecycled = try file.size() == segmentBytes }
    if isRecycled { isRecycled = try file.linkCount() == 1 }
    if isRecycled { isRecycled = try file.tryLock(exclusive: true) }
    if isRecycled {
      let spare = Spare(file: file, path: nextSparePath(), bytes: segmentBytes)
      try fileSystem.rename(path, to: spare.path)
      state.withLock { _ = $0.retired.removeFirst() }
      // Somebody may have linked to it just before it lost its name.
      if try file.linkCount() == 1 {
        // Whoever opened it under its old name and has not locked it finds no header.
        try file.zero(0..<min(4_096, segmentBytes))
        try file.unlock()
        state.withLock {
          $0.ready.append(spare)
          $0.lastError = nil
        }
      } else {
        try fileSystem.remove(spare.path)
      }
    } else {
      try fileSystem.remove(path)
      state.withLock { _ = $0.retired.removeFirst() }
    }
    do {
      try fileSystem.syncDirectory(directory)
    } catch {
      state.withLock { $0.failure = error }
      throw error
    }
  }
}

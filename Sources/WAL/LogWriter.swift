/// When a write is acknowledged.
public enum SyncPolicy: Hashable, Sendable {
  /// Once it is on the disk.
  case always
  /// Once the system has it; synced in the background that often.
  case interval(milliseconds: UInt64)
  /// Once the system has it; synced when the log is quiet, and when the system likes.
  case none
}

/// Appends frames to a log. One thread at a time has it.
///
/// `commit` writes a frame and, under `always`, syncs it: the frame is the group commit. Segments are
/// made ready in the background. The owner calls `tick` at the time that it returned, which keeps
/// the interval and writes the mark of a quiet log. After a write or a sync has failed every call
/// throws `stopped`: what is on the disk is then known only to a new start.
public final class LogWriter {
  struct ActiveSegment {
    var file: any File
    /// The file's name now; it was opened under another one.
    var path: String
    var bytes: UInt64
    /// Where the next frame goes.
    var end: UInt64
    /// That of its header.
    var isShipped: Bool
    /// It was made for large pieces: only allocated.
    var isForLarge = false

    var isEmpty: Bool { end == UInt64(Format.segmentHeaderBytes) }
  }

  public let origin: UInt64
  /// The log's end.
  public private(set) var position: LogPosition
  /// The epoch of the frames that are written.
  public private(set) var epoch: Epoch
  /// What the quorum has confirmed; nil where what is durable here is confirmed.
  public var confirmedSequence: UInt64?
  /// The time in the header of the last frame that this writer wrote, milliseconds since 1970; 0
  /// before the first.
  public private(set) var frameTimeMilliseconds: UInt64 = 0
  /// Bytes of the frames that this writer has written.
  public private(set) var writtenBytes: UInt64 = 0
  /// How far the log has come, for other threads.
  public let progress: LogProgress
  /// Sees the frames that are written.
  package var tap: (any FrameTap)?
  /// How long the sync of the last commit took; 0 when it needed none.
  public private(set) var lastSyncNanoseconds: UInt64 = 0

  private let options: LogOptions
  private let checksum: Checksum
  private let notes: LogNote
  private var segments: [SegmentFile]
  private var active: ActiveSegment?
  private let supply: SegmentSupply
  private let background: BackgroundSync?
  private var threads: [ThreadHandle] = []
  private var failure: WALError?
  /// True when this node may have acknowledged what it no longer has. Until a new epoch is durable
  /// nothing is written: members may hold other records under the numbers that come next.
  public private(set) var owesEpoch: Bool
  private var markFrame = FrameBuilder(capacityBytes: 256)
  /// When the last frame that is not a mark was written; nil behind a mark.
  private var unmarkedSince: UInt64?
  private var nextSync: UInt64 = 0

  init(
    options: LogOptions, origin: UInt64, position: LogPosition, segments: [SegmentFile],
    active: ActiveSegment?, endsWithMark: Bool, owesEpoch: Bool
  ) {
    self.options = options
    self.origin = origin
    self.position = position
    self.segments = segments
    self.active = active
    self.owesEpoch = owesEpoch
    epoch = position.epoch
    checksum = Checksum(origin: origin)
    notes = LogNote(directory: options.directory, fileSystem: options.fileSystem)
    progress = LogProgress(durable: position.sequence)
    supply = SegmentSupply(
      directory: options.directory, segmentBytes: options.segmentBytes,
      fillsUncached: options.syncPolicy == .always, fileSystem: options.fileSystem)
    background = options.syncPolicy == .always ? nil : BackgroundSync(progress: progress)
    unmarkedSince = endsWithMark ? nil : options.clock.monotonicNanoseconds()
    if let active { self.active!.file = appending(to: active.file, active.path) }
  }

  deinit {
    stopThreads()
  }

  func startThreads() {
    supply.request()
    guard options.usesThreads else { return }
    let supply = supply
    threads.append(ThreadHandle { supply.run() })
    if let background {
      threads.append(ThreadHandle { background.run() })
    }
  }

  private func stopThreads() {
    supply.stop()
    background?.stop()
    for thread in threads { thread.join() }
    threads = []
  }

  /// Does a piece of the background's work where there are no threads for it.
  ///
  /// - Returns: false when there was none.
  package func backgroundStep() -> Bool {
    let didSync = background?.step() ?? false
    return supply.step() || didSync
  }

  // MARK: - Writing

  /// Writes the frame and, under `always`, makes it durable; then empties it.
  ///
  /// - Returns: the log's new end, which is the position of the frame's last record.
  /// - Precondition: no epoch is owed.
  /// - Throws: `diskFull`, with the log as it was and the frame as it was; any other error stops the
  ///   writer.
  @discardableResult
  public func commit(_ frame: inout FrameBuilder) throws(WALError) -> LogPosition {
    precondition(!owesEpoch, "a new epoch comes first")
    lastSyncNanoseconds = 0
    try append(&frame)
    unmarkedSince = options.clock.monotonicNanoseconds()
    if options.syncPolicy == .always { try sync() }
    frame.removeAll()
    return position
  }

  /// Makes everything that was written durable, on the calling thread.
  public func sync() throws(WALError) {
    try checkRunning()
    guard progress.durable < position.sequence, let active else { return }
    let start = options.clock.monotonicNanoseconds()
    do {
      try background?.drain(usingThread: options.usesThreads)
      try active.file.sync()
    } catch {
      throw stop(error.at(active.path))
    }
    lastSyncNanoseconds = options.clock.monotonicNanoseconds() - start
    progress.setDurable(position.sequence)
  }

  private func append(_ frame: inout FrameBuilder) throws(WALError) {
    try checkRunning()
    precondition(!frame.isEmpty, "a frame holds at least one record")
    precondition(
      position.sequence + UInt64(frame.recordCount) < Format.sequenceLimit, "numbers used up")
    let bytes = UInt64(frame.frameBytes)
    try makeRoom(for: bytes, isShipped: false)
    let durable = progress.durable
    let time = options.clock.wallMilliseconds()
    position = try frame.seal(
      previous: position, epoch: epoch, durableSequence: durable,
      confirmedSequence: min(confirmedSequence ?? durable, position.sequence),
      timeMilliseconds: time, checksum: checksum
    ) { (header, bytes) throws(WALError) in
      try write(bytes)
      if let tap, tap.wantsFrames {
        let frame = UnsafeRawBufferPointer(rebasing: bytes[..<header.frameBytes])
        tap.wrote(header, frame, next: bookmark(behind: header))
      }
      return header.position
    }
    frameTimeMilliseconds = time
    writtenBytes += bytes
    active!.end += bytes
    progress.setAppended(position.sequence)
  }

  /// Writes frames of this history that another node has written, as they are, from the batch's
  /// `first` on: those that go into one segment. They are not synced.
  ///
  /// - Returns: the number of the next one that is to be written.
  /// - Precondition: the first one goes on from the log's end.
  /// - Throws: `diskFull`, with the log as it was; any other error stops the writer.
  public func append(_ batch: FrameBatch, from first: Int) throws(WALError) -> Int {
    try checkRunning()
    lastSyncNanoseconds = 0
    let headers = batch.headers
    precondition(headers[first].follows(position), "the frame does not go on from the log's end")
    try makeRoom(
      for: UInt64(headers[first].frameBytes), isShipped: true, expecting: UInt64(batch.bytes))
    let room = active!.bytes - active!.end - UInt64(Format.endMarkerBytes)
    var next = first
    var bytes: UInt64 = 0
    while next < headers.count, bytes + UInt64(headers[next].frameBytes) <= room {
      bytes += UInt64(headers[next].frameBytes)
      next += 1
    }
    try batch.withRun(first..<next, checksum: checksum) { (run) throws(WALError) in
      try write(run)
    }
    for number in first..<next {
      let header = headers[number]
      if let tap, tap.wantsFrames {
        tap.wrote(header, batch.frame(number), next: bookmark(behind: header))
      }
      active!.end += UInt64(header.frameBytes)
      writtenBytes += UInt64(header.frameBytes)
      position = header.position
    }
    epoch = position.epoch
    frameTimeMilliseconds = headers[next - 1].timeMilliseconds
    unmarkedSince = options.clock.monotonicNanoseconds()
    progress.setAppended(position.sequence)
    return next
  }

  /// The place behind a frame that is being written at the end of the active segment.
  private func bookmark(behind header: FrameHeader) -> LogBookmark {
    LogBookmark(
      origin: origin, segment: segments.last!.firstSequence!,
      offset: active!.end + UInt64(header.frameBytes), position: header.position)
  }

  private func write(_ bytes: UnsafeRawBufferPointer) throws(WALError) {
    let active = active!
    var done = 0
    do {
      try active.file.writeAll(bytes, at: active.end, written: &done)
    } catch {
      guard error.isNoSpace else { throw stop(error.at(active.path)) }
      // Undone, so that the log ends where it did; and durably so, because the next frame may go into
      // another segment, and then nobody would sync this one again. The call that failed may have
      // written, too.
      let end = EndMarker(position).encoded(checksum)
      do {
        if try active.file.bytes(at: active.end, count: end.count) != end {
          try active.file.writeAll(end, at: active.end)
          try background?.drain(usingThread: options.usesThreads)
          try active.file.sync()
        }
      } catch {
        throw stop(error.at(active.path))
      }
      throw .diskFull(path: active.path)
    }
  }

  private func checkRunning() throws(WALError) {
    if let failure { throw .stopped(because: failure) }
    if let failure = background?.failure ?? supply.failure { throw stop(failure) }
  }

  private func stop(_ error: WALError) -> WALError {
    if failure == nil { failure = error }
    return error
  }

  // MARK: - Segments

  /// Sees to it that a frame of that size fits behind the log's end, into a segment of that kind.
  ///
  /// - Parameter bytes: what is written with it at once, if that is more.
  private func makeRoom(
    for frameBytes: UInt64, isShipped: Bool, expecting bytes: UInt64 = 0
  ) throws(WALError) {
    let needed = frameBytes + UInt64(Format.endMarkerBytes)
    guard var active, active.isShipped == isShipped else {
      return try rotate(toHold: needed, isShipped: isShipped, expecting: bytes)
    }
    if active.end + needed <= active.bytes {
      // What comes in small pieces again is better off in the one that is ready.
      guard active.isForLarge, !active.isEmpty, !isLarge(bytes), supply.readyBytes > 0 else {
        return
      }
      do {
        return try rotate(toHold: needed, isShipped: isShipped)
      } catch .diskFull {
        // Here there is room.
        self.active!.isForLarge = false
        return
      }
    }
    guard active.isEmpty else {
      return try rotate(toHold: needed, isShipped: isShipped, expecting: bytes)
    }
    // An empty segment that is too small grows: a second one could not have another name.
    active.bytes = wholePages(active.end + needed)
    do {
      try active.file.allocate(active.bytes)
    } catch {
      guard error.isNoSpace else { throw stop(error.at(active.path)) }
      throw .diskFull(path: active.path)
    }
    self.active = active
  }

  /// Of a segment that is made while the writer waits: about a millisecond.
  private var smallSegmentBytes: UInt64 { min(options.segmentBytes, 1 << 20) }
  /// Of one that is made for what comes in large pieces, whose syncs do not mind that it is only allocated.
  private var largeSegmentBytes: UInt64 { min(options.segmentBytes, 16 << 20) }

  /// Whether so much is written at once that it may go into such a segment.
  private func isLarge(_ bytes: UInt64) -> Bool {
    options.syncPolicy == .always && bytes >= smallSegmentBytes
      && smallSegmentBytes < largeSegmentBytes
  }

  private func wholePages(_ bytes: UInt64) -> UInt64 { (bytes + 4_095) / 4_096 * 4_096 }

  /// Begins a new segment.
  ///
  /// The order matters. The header is durable before the file has its name, so that a segment with a
  /// damaged header is never the work of a crash. The name is durable before a frame is written, so
  /// that no acknowledged frame is in a file that a crash could unname. All segments but the last two
  /// are synced, so that a start knows what it has to write again.
  ///
  /// One that is empty, and of the wrong kind, is replaced.
  private func rotate(
    toHold frameBytes: UInt64, isShipped: Bool, expecting bytes: UInt64 = 0
  ) throws(WALError) {
    if options.syncPolicy == .always {
      try sync()
    } else if let active, let background {
      do { try background.drain(usingThread: options.usesThreads) } catch { throw stop(error) }
      background.request(active.file, active.path, through: position.sequence)
    }
    let needed = UInt64(Format.segmentHeaderBytes) + frameBytes
    let (spare, isForLarge) = try makeSpare(toHold: needed, expecting: bytes)
    let header = SegmentHeader(
      origin: origin, previous: position, durableSequence: progress.durable,
      fileBytes: spare.bytes, isShipped: isShipped, isMarked: true)
    let path = options.directory + "/" + SegmentName.of(header.firstSequence)
    do {
      try spare.file.writeAll(header.encoded + EndMarker(position).encoded(checksum), at: 0)
      try spare.file.sync()
      try options.fileSystem.rename(spare.path, to: path)
    } catch {
      // Nothing has changed yet that anybody can see.
      guard error.isNoSpace, !error.isSync else { throw stop(error) }
      do { try options.fileSystem.remove(spare.path) } catch { throw stop(error) }
      throw .diskFull(path: spare.path)
    }
    do {
      try options.fileSystem.syncDirectory(options.directory)
    } catch {
      throw stop(error)
    }
    if segments.last?.path == path { segments.removeLast() }
    segments.append(SegmentFile(path: path, firstSequence: header.firstSequence))
    active = ActiveSegment(
      file: appending(to: spare.file, path), path: path, bytes: spare.bytes,
      end: UInt64(Format.segmentHeaderBytes), isShipped: isShipped, isForLarge: isForLarge)
    supply.request()
  }

  /// Where every frame is synced, the page cache is only in the way.
  private func appending(to file: any File, _ path: String) -> any File {
    options.syncPolicy == .always ? options.fileSystem.appending(to: file, path) : file
  }

  /// The segment that was made ready; or, rather than wait for one, a small one, or one that is only allocated.
  private func makeSpare(
    toHold needed: UInt64, expecting bytes: UInt64
  ) throws(WALError) -> (SegmentSupply.Spare, isForLarge: Bool) {
    let isLarge = isLarge(bytes)
    if needed <= options.segmentBytes, let spare = supply.take(isLarge: isLarge) {
      return (spare, false)
    }
    if isLarge, let spare = try makeLarge(toHold: needed) { return spare }
    let path = supply.nextSparePath()
    do {
      if options.syncPolicy == .always, needed <= smallSegmentBytes {
        return (try supply.allocate(path, smallSegmentBytes, isFilled: true), false)
      }
      // A frame larger than a segment gets a segment of its own.
      let least = isLarge ? 0 : options.segmentBytes
      return (try supply.allocate(path, max(least, wholePages(needed))), false)
    } catch {
      guard error.isNoSpace else { throw stop(error) }
      throw .diskFull(path: path)
    }
  }

  /// Nil where there is no room for it: a smaller one may find some.
  private func makeLarge(
    toHold needed: UInt64
  ) throws(WALError) -> (SegmentSupply.Spare, isForLarge: Bool)? {
    do {
      let bytes = max(largeSegmentBytes, wholePages(needed))
      return (try supply.allocate(supply.nextSparePath(), bytes), true)
    } catch {
      guard error.isNoSpace else { throw stop(error) }
      return nil
    }
  }

  /// Ends the segment that is being written, so that it never changes again, unless there is nothing
  /// in it.
  ///
  /// - Throws: `diskFull`, with everything as it was; any other error stops the writer.
  public func seal() throws(WALError) {
    try checkRunning()
    guard let active, !active.isEmpty else { return }
    try rotate(toHold: UInt64(Format.endMarkerBytes), isShipped: active.isShipped)
  }

  /// Everything up to here is in segments that do not change any more.
  public var sealedSequence: UInt64 { (segments.last?.firstSequence ?? 1) - 1 }

  /// Moves the segments that hold nothing behind `sequence` away; never the last one.
  ///
  /// - Returns: where they are now.
  /// - Throws: `diskFull`, or why a segment cannot be moved, with the rest where it was; a sync that
  ///   fails stops the writer.
  public func quarantine(through sequence: UInt64) throws(WALError) -> [String] {
    try checkRunning()
    let quarantine = Quarantine(options.quarantineDirectory, fileSystem: options.fileSystem)
    var moved: [String] = []
    while segments.count > 1, segments[1].firstSequence! <= sequence + 1 {
      do {
        moved.append(try quarantine.take(segments[0].path))
      } catch {
        // Nothing was moved, and nothing here needs it to be. A sync that failed is another matter.
        if case .system(.syncDirectory, _, _) = error { throw stop(error) }
        if error.isNoSpace { throw .diskFull(path: options.quarantineDirectory) }
        throw error
      }
      segments.removeFirst()
    }
    return moved
  }

  /// Gives up the segments that hold nothing behind `sequence`; never the last one. They are
  /// disposed of in the background, oldest first.
  ///
  /// - Parameter bytes: how much log is expected before the next call: so many files are kept.
  public func retire(through sequence: UInt64, expecting bytes: UInt64 = 0) {
    var retired: [String] = []
    while segments.count > 1, segments[1].firstSequence! <= sequence + 1 {
      retired.append(segments.removeFirst().path)
    }
    if !retired.isEmpty { supply.retire(retired, expecting: bytes) }
  }

  /// Why the next segment is not ready, or a retired one not gone; nil when all is well. The log goes
  /// on in spite of it, more slowly.
  public var segmentError: WALError? { supply.lastError }

  /// Bytes of files that wait to become segments.
  public var spareBytes: UInt64 { supply.readyBytes }

  /// The segments of the log, oldest first.
  public var segmentFiles: [SegmentFile] { segments }
  /// The oldest sequence number in the log.
  public var oldestSequence: UInt64 {
    segments.first?.firstSequence ?? position.sequence + 1
  }

  // MARK: - Epochs and marks

  /// Begins a new epoch: its record is the first of it and is durable when this returns. What a cut
  /// left to remember is forgotten then.
  ///
  /// - Throws: `diskFull`, with everything as it was; any other error stops the writer.
  @discardableResult
  public func startEpoch(
    _ new: Epoch, reason: EpochChange.Reason
  ) throws(WALError) -> LogPosition {
    precondition(new > epoch, "an epoch is higher than the one before it")
    precondition(new.number < Format.sequenceLimit, "numbers used up")
    var frame = FrameBuilder(capacityBytes: 256)
    frame.append(EpochChange(reason: reason, previous: position.epoch))
    let old = epoch
    epoch = new
    do {
      try append(&frame)
    } catch {
      epoch = old
      throw error
    }
    unmarkedSince = options.clock.monotonicNanoseconds()
    try sync()
    do {
      try notes.remove(options.syncPolicy == .always ? [.epochDue, .relaxed] : [.epochDue])
    } catch {
      throw stop(error)
    }
    owesEpoch = false
    return position
  }

  /// Does what is due: the sync of `interval`, and the mark of a log that has been quiet.
  ///
  /// - Parameters:
  ///   - needsMark: that a mark is due now, however quiet the log has been: for its time.
  ///   - writesMarks: false for a log that is a copy: it has the marks of its original, and no others.
  ///   - markContent: called when a mark is written, for what it carries.
  /// - Returns: when to call again, on the clock's monotonic time; nil when only a write changes that.
  public func tick(
    needsMark: Bool = false, writesMarks: Bool = true, markContent: () -> [UInt8] = { [] }
  ) throws(WALError) -> UInt64? {
    try checkRunning()
    let now = options.clock.monotonicNanoseconds()
    var due: UInt64?
    if case .interval(let milliseconds) = options.syncPolicy,
      progress.durable < position.sequence, let active, let background
    {
      if now >= nextSync {
        background.request(active.file, active.path, through: position.sequence)
        nextSync = now + milliseconds * 1_000_000
      }
      due = nextSync
    }
    let quiet = unmarkedSince.map { $0 + options.markDelayMilliseconds * 1_000_000 }
    guard writesMarks, let markDue = needsMark ? now : quiet, !owesEpoch else { return due }
    if now < markDue { return min(due ?? .max, markDue) }
    if progress.durable < position.sequence {
      // A mark says that what precedes it is durable, so it waits until that is true.
      if let background, let active, background.isIdle {
        background.request(active.file, active.path, through: position.sequence)
      }
      return now + 5_000_000
    }
    do {
      try mark(markContent())
    } catch .diskFull {
      return now + 1_000_000_000
    }
    if options.syncPolicy == .always {
      try sync()
    } else if let active {
      background?.request(active.file, active.path, through: position.sequence)
    }
    return due
  }

  /// Whether the log ends with a mark.
  public var endsWithMark: Bool { unmarkedSince == nil }

  /// Writes a mark behind a log that is durable.
  private func mark(_ content: [UInt8]) throws(WALError) {
    precondition(progress.durable == position.sequence)
    markFrame.removeAll()
    markFrame.append(.mark, key: RawSpan(), value: content.span.bytes)
    try append(&markFrame)
    unmarkedSince = nil
  }

  // MARK: - The end

  /// Syncs, marks, and notes that the log was closed in order. Nothing can be written afterwards.
  ///
  /// - Parameter markContent: what the mark carries; nil for none.
  /// - Throws: `diskFull` when there was no room for mark or note: nothing is lost, but the next
  ///   start takes the stop for unclean.
  public func close(markContent: [UInt8]? = []) throws(WALError) {
    try sync()
    if let markContent, unmarkedSince != nil, !owesEpoch {
      try mark(markContent)
      try sync()
    }
    stopThreads()
    do {
      try supply.discard()
      try notes.write(.clean, CleanStop(origin: origin, position: position).text)
    } catch {
      let wasNoSpace = error.isNoSpace
      _ = stop(error)
      throw wasNoSpace ? .diskFull(path: options.directory) : error
    }
    active = nil
    failure = .setting("the log was closed")
  }
}

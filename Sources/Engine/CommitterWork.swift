import WAL

/// The committer's work without its thread: turns submissions into frames, and frames into state.
///
/// Belongs to one thread.
package struct CommitterWork: ~Copyable {
  let log: LogWriter
  let index: Index
  let options: Options
  /// Who follows the log; nil where nobody can.
  let feed: LogFeed?
  weak let observer: (any CommitterObserver)?
  let clock: LogClock

  private static let diskFullNanoseconds: UInt64 = 10_000_000_000

  package struct Options: Sendable {
    /// Puts are refused when keys and values take that much.
    package var memoryBytesMax: Int?
    /// That of the log.
    package var syncPolicy: SyncPolicy
    /// Called when a segment was sealed.
    package var sealed: (@Sendable () -> Void)?
    /// Set where the log begins as a copy of another node's. Gets the epochs that come with it.
    package var copies: EpochHistory?
    /// Set where the log is one of a leaderless shard's: what is written is merged.
    package var merged: MergedLog?

    package init(
      memoryBytesMax: Int? = nil, syncPolicy: SyncPolicy = .always,
      sealed: (@Sendable () -> Void)? = nil, copies: EpochHistory? = nil, merged: MergedLog? = nil
    ) {
      self.merged = merged
      self.memoryBytesMax = memoryBytesMax
      self.syncPolicy = syncPolicy
      self.sealed = sealed
      self.copies = copies
    }
  }

  /// A request whose records are in the frame, or whose outcome depends on some that are.
  struct Pending {
    var submission: Int
    var request: Int
    /// What becomes of it when the frame is durable, where that is known already.
    var outcome: WriteRequest.Outcome?
  }

  /// Set as long as the log is a copy of another node's: nothing is written but what is shipped.
  var copies: EpochHistory?
  var frame = FrameBuilder()
  var pending: [Pending] = []
  var keys = PendingKeys()
  /// Of the records of the frame, in a leaderless shard.
  var planned: [PlannedWrite] = []
  private var gatherStart: UInt64 = 0
  /// When what waits is judged, milliseconds since 1970: what has expired by then counts as absent.
  var now: UInt64 = 0
  private var expiryMark = ExpiryMark()
  var merged: MergedLog? { options.merged }
  private(set) var hasFailed = false
  private var sealedSequence: UInt64 = 0
  /// That is what the observer was told last.
  private var areSegmentsDelayed = false
  /// When the disk last had no room; nil since that has been said to be over.
  private var diskFullTime: UInt64?

  package init(
    log: LogWriter, index: Index, options: Options, clock: LogClock,
    observer: (any CommitterObserver)?, feed: LogFeed? = nil
  ) {
    self.log = log
    self.index = index
    self.feed = feed
    log.tap = feed?.recent
    self.options = options
    copies = options.copies
    self.clock = clock
    self.observer = observer
    sealedSequence = log.sealedSequence
  }

  /// Decides every request's outcome, and gives the submissions back in their order.
  package mutating func commit(_ submissions: [Submission], giveBack: (Submission) -> Void) {
    guard !submissions.isEmpty else { return }
    gatherStart = clock.monotonicNanoseconds()
    now = max(clock.wallMilliseconds(), index.frameTime)
    let tracksKeys = submissions.contains { $0.isConditional }
    var given = 0
    for number in submissions.indices {
      let submission = submissions[number]
      for request in submission.requests.indices {
        let asked = submission.requests[request]
        let bytes = merged.map { encodedBytesMax(asked, $0) } ?? asked.records.count
        let isPurge = asked.kind == .purge
        if frame.recordsBytes + bytes > Committer.frameBytesMax || isPurge
          || dependsOnFrame(asked, submission)
        {
          flush(submissions)
          while given < number {
            giveBack(submissions[given])
            given += 1
          }
        }
        if let merged {
          gather(number, request, in: submission, into: merged)
        } else {
          gather(number, request, in: submission, tracksKeys: tracksKeys)
        }
        // A purge touches keys that nobody has listed: what follows is judged after it.
        if isPurge { flush(submissions) }
      }
    }
    flush(submissions)
    while given < submissions.count {
      giveBack(submissions[given])
      given += 1
    }
  }

  /// The outcome of writes that came after the log was closed.
  package func refuse(_ submissions: [Submission], giveBack: (Submission) -> Void) {
    for submission in submissions {
      for request in submission.requests.indices {
        submission.requests[request].outcome = .stopped
      }
      giveBack(submission)
    }
  }

  // MARK: - Gathering

  private mutating func gather(
    _ number: Int, _ position: Int, in submission: Submission, tracksKeys: Bool
  ) {
    let request = submission.requests[position]
    let bytes = submission.recordBytes
    let records = UnsafeRawBufferPointer(rebasing: bytes[request.records])
    var outcome: WriteRequest.Outcome?
    var dependsOnFrame = false
    if hasFailed {
      outcome = .stopped
    } else if copies != nil {
      outcome = .readOnly
    } else if request.kind == .purge {
      if isOutdated(request, records, submission.versions) { outcome = .conditionFailed }
    } else if request.kind == .delete || request.condition != .always {
      let key = Self.key(ofRecord: records)
      let state: KeyState?
      if let inFrame = keys.find(key, request.hash) {
        state = inFrame
        dependsOnFrame = true
      } else {
        state = index.state(key, request.hash)
      }
      let version = state.flatMap { $0.isHidden(at: now) ? nil : $0.version }
      // A key that only the clock hides is deleted all the same, though the answer is that there is
      // none: whoever hears that must not find it when a clock goes back, or is another node's.
      if !request.condition.holds(for: version, versions: submission.versions) {
        outcome = .conditionFailed
      } else if request.kind == .delete, state == nil {
        outcome = .absent
      }
    }
    if outcome == nil, request.hasPuts, !hasMemory(for: records) {
      outcome = .memoryFull
    }
    if let outcome {
      if dependsOnFrame {
        pending.append(Pending(submission: number, request: position, outcome: outcome))
      } else {
        submission.requests[position].outcome = outcome
      }
      return
    }
    let first = log.position.sequence + UInt64(frame.recordCount) + 1
    frame.append(encoded: records.bytes, count: request.recordCount)
    submission.requests[position].version = first + UInt64(request.recordCount) - 1
    pending.append(Pending(submission: number, request: position))
    if tracksKeys { track(records, request, first: first) }
  }

  /// Whether something that a purge would remove has been written since it was checked. What stands
  /// before the purge is applied.
  private func isOutdated(
    _ request: WriteRequest, _ records: UnsafeRawBufferPointer, _ versions: [UInt64]
  ) -> Bool {
    guard case .versions(let checked) = request.condition.ifMatch else { return false }
    let record = Self.parse(records.bytes, at: 0)
    let range = Index.range(UnsafeRawBufferPointer(rebasing: records[record.value]))
    return index.hasForeign(to: range, above: versions[checked.lowerBound])
  }

  func hasMemory(for records: UnsafeRawBufferPointer) -> Bool {
    guard !index.hasFullStripe else { return false }
    guard let most = options.memoryBytesMax else { return true }
    return index.memoryBytes + frame.recordsBytes + records.count <= most
  }

  /// The key of the one record in `records`.
  static func key(ofRecord records: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    let record = parse(records.bytes, at: 0)
    return UnsafeRawBufferPointer(rebasing: records[record.key])
  }

  static func parse(_ records: RawSpan, at offset: Int) -> Record {
    do {
      return try Record(parsing: records, at: offset)
    } catch {
      preconditionFailure("a submission holds a record that is not valid: \(error)")
    }
  }

  private mutating func track(
    _ records: UnsafeRawBufferPointer, _ request: WriteRequest, first: UInt64
  ) {
    var offset = 0
    for number in 0..<UInt64(request.recordCount) {
      let record = Self.parse(records.bytes, at: offset)
      offset = record.end
      guard record.type == .put || record.type == .delete else { continue }
      let key = UnsafeRawBufferPointer(rebasing: records[record.key])
      let hash = request.kind == .batch ? index.hasher(key) : request.hash
      let isPut = record.type == .put
      keys.set(
        key, hash,
        isPut
          ? KeyState(version: first + number, expiry: record.metadata.expiryMilliseconds) : nil)
    }
  }

  // MARK: - Committing

  private mutating func flush(_ submissions: [Submission]) {
    guard !pending.isEmpty else { return }
    var report = CommitReport(
      records: Int(frame.recordCount), bytes: frame.recordsBytes, gatherNanoseconds: 0,
      writeNanoseconds: 0, syncNanoseconds: 0, applyNanoseconds: 0)
    let written = clock.monotonicNanoseconds()
    report.gatherNanoseconds = written - gatherStart
    tellConfirmed()
    do {
      try log.commit(&frame)
      endDiskFull()
      let applied = clock.monotonicNanoseconds()
      report.writeNanoseconds = applied - written
      if options.syncPolicy == .always { report.syncNanoseconds = log.lastSyncNanoseconds }
      if let merged {
        applyPlanned(submissions, to: merged)
      } else {
        applyPending(submissions)
        endFrame()
      }
      setApplied()
      gatherStart = clock.monotonicNanoseconds()
      report.applyNanoseconds = gatherStart - applied
      observer?.committed(report)
    } catch {
      let outcome: WriteRequest.Outcome
      if case .diskFull = error {
        outcome = .diskFull
        if diskFullTime == nil { observer?.diskFull(error) }
        diskFullTime = clock.monotonicNanoseconds()
      } else {
        outcome = .failed
        fail(error)
      }
      for item in pending {
        submissions[item.submission].requests[item.request].outcome = outcome
        if outcome == .diskFull { submissions[item.submission].requests[item.request].version = 0 }
      }
      frame.removeAll()
      planned.removeAll(keepingCapacity: true)
    }
    pending.removeAll(keepingCapacity: true)
    keys.removeAll()
  }

  /// What is written next says what the quorum has confirmed by now: before every write, of epochs and marks
  /// as well.
  mutating func tellConfirmed() { log.confirmedSequence = feed?.confirmedSequence }

  /// What has expired goes behind the records of every frame.
  func endFrame() {
    if let merged {
      let end = LogBase(origin: merged.origin, position: log.position)
      return merged.state.apply { $0.endFrame(time: log.frameTimeMilliseconds, through: end) }
    }
    index.countExpired(index.endFrame(time: log.frameTimeMilliseconds))
  }

  /// What was written is durable, as far as the policy asks for that, and in the index.
  func setApplied() {
    index.setApplied(log.position.sequence)
    feed?.applied(
      log.position, bytes: log.writtenBytes, timeMilliseconds: log.frameTimeMilliseconds)
  }

  /// No frame was refused just now. A small one gets through where a large one finds no room, so the disk counts as
  /// full until there was no refusal for a while.
  private mutating func endDiskFull() {
    guard let time = diskFullTime, clock.monotonicNanoseconds() - time > Self.diskFullNanoseconds
    else { return }
    diskFullTime = nil
    observer?.diskFull(nil)
  }

  private mutating func tellSegmentError() {
    let error = log.segmentError
    guard areSegmentsDelayed != (error != nil) else { return }
    areSegmentsDelayed = error != nil
    observer?.segmentsDelayed(error)
  }

  mutating func fail(_ error: WALError) {
    guard !hasFailed else { return }
    hasFailed = true
    observer?.failed(error)
  }

  /// Makes the requests' records visible: they are durable.
  private func applyPending(_ submissions: [Submission]) {
    for begin in stride(from: 0, to: pending.count, by: Index.preparedChangesMax) {
      let run = pending[begin..<min(begin + Index.preparedChangesMax, pending.count)]
      index.prepareChanges(run.count) { number in
        let item = run[begin + number]
        return submissions[item.submission].requests[item.request].hash
      }
      for item in run { apply(item, submissions[item.submission]) }
    }
  }

  private func apply(_ item: Pending, _ submission: Submission) {
    let request = submission.requests[item.request]
    if let outcome = item.outcome {
      submission.requests[item.request].outcome = outcome
      return
    }
    let records = UnsafeRawBufferPointer(rebasing: submission.recordBytes[request.records])
    var version = request.version - UInt64(request.recordCount)
    var offset = 0
    for _ in 0..<request.recordCount {
      let record = Self.parse(records.bytes, at: offset)
      offset = record.end
      version += 1
      let hash =
        request.kind == .batch
        ? index.hasher(UnsafeRawBufferPointer(rebasing: records[record.key])) : request.hash
      let change = index.apply(record, in: records, hash, version: version, now: now)
      submission.requests[item.request].outcome =
        switch (request.kind, change) {
        case (.put, .replaced): .replaced
        case (.put, _): .created
        case (.delete, .removed): .deleted
        case (.delete, _): .absent
        default: .done
        }
      if case .purged(let removed) = change {
        submission.requests[item.request].removed = removed
      }
    }
  }

  // MARK: - Time and end

  /// Does what the log has to do from time to time.
  ///
  /// - Returns: when to call again, on the monotonic clock; nil when only a write changes that.
  package mutating func tick() -> UInt64? {
    guard !hasFailed else { return nil }
    if log.sealedSequence != sealedSequence {
      sealedSequence = log.sealedSequence
      options.sealed?()
    }
    endDiskFull()
    tellSegmentError()
    guard copies == nil else { return tickCopy() }
    let index = index
    tellConfirmed()
    do {
      let needsMark = log.endsWithMark && expiryMark.isDue(index, clock, merged?.state)
      // The state of a leaderless shard follows from several logs.
      let isMerged = merged != nil
      var next = try log.tick(needsMark: needsMark) { isMerged ? [] : index.digest().encoded }
      if log.position.sequence > index.appliedSequence {
        endFrame()
        setApplied()
      }
      if log.endsWithMark, let time = expiryMark.time(index, clock, merged?.state) {
        next = min(next ?? .max, time)
      }
      guard let diskFullTime else { return next }
      return min(next ?? .max, diskFullTime + Self.diskFullNanoseconds + 1)
    } catch {
      fail(error)
      return nil
    }
  }

  /// A copy has its original's marks, and no others.
  private mutating func tickCopy() -> UInt64? {
    do {
      return try log.tick(writesMarks: false)
    } catch {
      fail(error)
      return nil
    }
  }

  package mutating func close() -> Result<Void, WALError> {
    tellConfirmed()
    do {
      let content = merged == nil ? index.digest().encoded : []
      try log.close(markContent: copies == nil ? content : nil)
      return .success(())
    } catch {
      return .failure(error)
    }
  }
}

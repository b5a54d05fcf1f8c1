import WAL

/// The log of a leaderless shard that a committer has, and the state that all logs come to.
package struct MergedLog: Sendable {
  package let state: MergedState
  package let origin: UInt64

  package init(state: MergedState, origin: UInt64) {
    self.state = state
    self.origin = origin
  }
}

/// A record of the frame that is being gathered, with what the committer has added to it.
struct PlannedWrite {
  var clock: VersionVector
  var stamp: UInt64
}

/// The committer's work on the log of a leaderless shard's node. It says of each write what that replaces: what
/// this node has of the key or, where the client says it, what the client has seen.
extension CommitterWork {
  /// Whether the request has to see what the frame that is being gathered does to its key.
  func dependsOnFrame(_ request: WriteRequest, _ submission: Submission) -> Bool {
    guard merged != nil, request.kind != .batch, request.kind != .purge,
      request.kind == .delete || request.condition != .always || request.context != nil,
      frame.recordCount > 0
    else { return false }
    let records = UnsafeRawBufferPointer(rebasing: submission.recordBytes[request.records])
    return keys.find(Self.key(ofRecord: records), request.hash) != nil
  }

  /// The most that a request's records take in the frame.
  func encodedBytesMax(_ request: WriteRequest, _ merged: MergedLog) -> Int {
    let entries = min(Format.clockEntriesMax, 64 + merged.state.logCount)
    return request.records.count
      + Int(request.recordCount) * (16 + entries * ClockEntry.encodedBytes)
  }

  mutating func gather(
    _ number: Int, _ position: Int, in submission: Submission, into merged: MergedLog
  ) {
    let request = submission.requests[position]
    let records = UnsafeRawBufferPointer(rebasing: submission.recordBytes[request.records])
    if let outcome = refusal(of: request, records, submission, merged) {
      submission.requests[position].outcome = outcome
      return
    }
    let first = log.position.sequence + UInt64(frame.recordCount) + 1
    var offset = 0
    for index in 0..<UInt64(request.recordCount) {
      let record = Self.parse(records.bytes, at: offset)
      offset = record.end
      let key = UnsafeRawBufferPointer(rebasing: records[record.key])
      let hash = request.kind == .batch ? self.index.hasher(key) : request.hash
      let dot = Dot(origin: merged.origin, sequence: first + index)
      let context = request.context.map { submission.contexts[$0] }
      let clock = knowledge(of: key, hash, merged, context)
      let stamp = merged.state.nextStamp(now: now)
      let metadata = RecordMetadata(
        expiryMilliseconds: record.metadata.expiryMilliseconds, stamp: stamp)
      frame.append(
        record.type, metadata: metadata, clock: clock.entries,
        key: records.bytes.extracting(record.key),
        value: records.bytes.extracting(record.value))
      planned.append(PlannedWrite(clock: clock, stamp: stamp))
      keys.set(
        key, hash,
        record.type == .put
          ? KeyState(version: dot.sequence, expiry: record.metadata.expiryMilliseconds) : nil)
    }
    submission.requests[position].version = first + UInt64(request.recordCount) - 1
    pending.append(Pending(submission: number, request: position))
  }

  /// Why the request is not done; nil where it is. Nothing in the frame touches the key of one that depends
  /// on it.
  private func refusal(
    of request: WriteRequest, _ records: UnsafeRawBufferPointer, _ submission: Submission,
    _ merged: MergedLog
  ) -> WriteRequest.Outcome? {
    if hasFailed { return .stopped }
    // As good as never: thousands of keys, in a shard that has had hundreds of logs.
    guard frame.hasRoom(forBytes: encodedBytesMax(request, merged)) else { return .memoryFull }
    if copies != nil || request.kind == .purge { return .readOnly }
    if request.hasPuts, !hasMemory(for: records) { return .memoryFull }
    guard request.kind != .batch else { return nil }
    guard request.kind == .delete || request.condition != .always || request.context != nil
    else { return nil }
    let key = Self.key(ofRecord: records)
    let versions = MergedState.versions(index, key, request.hash)
    if request.condition != .always {
      let visible = KeyVersions(versions.all.filter { !$0.isHidden(at: now) })
      let tag = visible.isEmpty ? nil : visible.tag
      guard request.condition.holds(for: tag, versions: submission.versions) else {
        return .conditionFailed
      }
    }
    let context = request.context.map { submission.contexts[$0] }
    if request.kind == .delete {
      let isAny = versions.all.contains { version in
        context.map { $0.covers(version.dot) } ?? true
      }
      // It may cover what has still to come here.
      let isAhead = context.map { !merged.state.applied.covers($0) } ?? false
      return isAny || isAhead ? nil : .absent
    }
    guard let context else { return nil }
    let left = versions.all.count { !context.covers($0.dot) }
    return left >= MergedState.versionsMax ? .tooManyVersions : nil
  }

  /// What a write is to replace: all that is here, what the frame does before it, or what the client has seen,
  /// with all that had been replaced by that.
  private func knowledge(
    of key: UnsafeRawBufferPointer, _ hash: KeyHash, _ merged: MergedLog, _ context: VersionVector?
  ) -> VersionVector {
    var clock = context ?? VersionVector()
    _ = index.read(key, hash) { view in
      var cursor = KeyVersionCursor(view.value)
      while let version = cursor.next() {
        guard context.map({ $0.covers(version.dot) }) ?? true else { continue }
        clock.merge(version.clock)
        clock.add(version.dot)
      }
    }
    if context == nil, case .some(.some(let state)) = keys.find(key, hash) {
      clock.add(Dot(origin: merged.origin, sequence: state.version))
    }
    // More logs than a node ever keeps: of those that are not here none is needed.
    return clock.entries.count > 64 ? merged.state.known(clock) : clock
  }

  /// What the client knows that has written: what was replaced and, unless that would cover what is still there,
  /// its own write.
  private static func knowledge(
    behind clock: VersionVector, _ dot: Dot, _ versions: KeyVersions
  ) -> VersionVector {
    var all = clock
    let hasOthers = versions.all.contains {
      $0.dot != dot && $0.dot.origin == dot.origin && !clock.covers($0.dot)
    }
    if !hasOthers { all.add(dot) }
    return all
  }

  /// Makes what was committed visible.
  mutating func applyPlanned(_ submissions: [Submission], to merged: MergedLog) {
    let (pending, planned, index, now) = (pending, planned, index, now)
    let time = log.frameTimeMilliseconds
    let end = LogBase(origin: merged.origin, position: log.position)
    merged.state.apply { writer in
      var next = 0
      for item in pending {
        let submission = submissions[item.submission]
        let request = submission.requests[item.request]
        let records = UnsafeRawBufferPointer(rebasing: submission.recordBytes[request.records])
        var sequence = request.version - UInt64(request.recordCount)
        var offset = 0
        for _ in 0..<request.recordCount {
          let record = Self.parse(records.bytes, at: offset)
          offset = record.end
          sequence += 1
          let plan = planned[next]
          next += 1
          let key = UnsafeRawBufferPointer(rebasing: records[record.key])
          let hash = request.kind == .batch ? index.hasher(key) : request.hash
          let dot = Dot(origin: merged.origin, sequence: sequence)
          var isThere = false
          var hasOthers = true
          if record.type == .put {
            let effect = writer.put(
              key, hash, dot, plan.clock, stamp: plan.stamp,
              expiry: record.metadata.expiryMilliseconds,
              UnsafeRawBufferPointer(rebasing: records[record.value]), now: now)
            (isThere, hasOthers) = (effect.wasVisible, effect.leavesOthers)
          } else {
            isThere = MergedState.isVisible(index, key, hash, at: now)
            writer.delete(key, hash, dot, plan.clock)
          }
          submission.requests[item.request].stamp = plan.stamp
          submission.requests[item.request].clock = Self.knowledge(
            behind: plan.clock, dot,
            hasOthers ? MergedState.versions(index, key, hash) : KeyVersions())
          submission.requests[item.request].outcome =
            switch request.kind {
            case .put: isThere ? .replaced : .created
            case .delete: isThere ? .deleted : .absent
            default: .done
            }
        }
      }
      writer.endFrame(time: time, through: end)
    }
    self.planned.removeAll(keepingCapacity: true)
  }
}

extension MergedState {
  /// Whether a key has a version that is not hidden.
  static func isVisible(
    _ index: Index, _ key: UnsafeRawBufferPointer, _ hash: KeyHash, at now: UInt64
  ) -> Bool {
    var isVisible = false
    _ = index.read(key, hash) { view in
      var cursor = KeyVersionCursor(view.value)
      while let version = cursor.next() {
        if !version.isHidden(at: now) { isVisible = true }
      }
    }
    return isVisible
  }

  /// As `write`, of what cannot fail.
  func apply(_ body: (inout Writer) -> Void) {
    do {
      try write { (writer) throws(WALError) in body(&writer) }
    } catch {
      preconditionFailure("\(error)")
    }
  }
}

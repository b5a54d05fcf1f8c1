import Engine
import NIOCore

/// What the data routes do and say, whichever lane a request came by.
///
/// An answer's body goes into the loop's `body`; the answer itself is returned.
extension LoopState {
  /// What was read: an answer, whose body may be a value that was too large to copy.
  struct ReadAnswer {
    var answer: Answer
    var large: LargeValue?
  }

  /// Reads one key for one of the routes that do. The bytes of `key` may be in `scratch`.
  func read(_ route: Route, _ key: UnsafeRawBufferPointer) -> ReadAnswer {
    if let merged = node.merged { return read(route, key, of: merged) }
    let hash = store.index.hasher(key)
    // Behind the key, which may be in scratch and is wanted again below.
    let room = UnsafeMutableRawBufferPointer(rebasing: scratch[FastRequest.headBytesMax...])
    var version: UInt64 = 0
    var count = 0
    var large: LargeValue?
    var expiry: UInt64?
    let isPresent = store.index.read(key, hash) { view in
      version = view.version
      large = view.large
      expiry = view.expiryMilliseconds
      if large == nil {
        count = view.value.count
        room.copyMemory(from: view.value)
      }
    }
    // What has expired and is still to be removed is hidden.
    if hidesUnconfirmed { basis = max(basis, isPresent ? version : store.index.lastRemoval(hash)) }
    guard isPresent, expiry.map({ $0 > store.nowMilliseconds }) ?? true else {
      return ReadAnswer(answer: absent(route, key))
    }
    let value =
      large?.bytes ?? UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(room)[..<count])
    switch route {
    case .classicGet:
      node.dialect.writeValue(value, into: &body)
      return ReadAnswer(answer: Answer(.ok, version: version))
    case .jsonGet, .localRead:
      body.writeStaticString("{")
      JSONText.writeMember("key", key, into: &body)
      body.writeStaticString(",")
      JSONText.writeMember("value", value, into: &body)
      body.writeStaticString(",\"version\":")
      DecimalText.write(version, into: &body)
      body.writeStaticString("}")
      return ReadAnswer(answer: Answer(.ok, .json, version: version))
    default:
      var answer = Answer(.ok, .bytes, version: version)
      answer.tagEpoch = store.epochs.epoch(of: version)
      if large == nil { body.writeBytes(value) }
      return ReadAnswer(answer: answer, large: large)
    }
  }

  func absent(_ route: Route, _ key: UnsafeRawBufferPointer) -> Answer {
    switch route {
    case .classicGet:
      node.dialect.writeValue(nil, into: &body)
      return Answer(.notFound)
    default:
      writeKeyNotFound(key)
      return Answer(.notFound, .json)
    }
  }

  func writeKeyNotFound(_ key: UnsafeRawBufferPointer) {
    body.writeStaticString("{\"error\":\"key not found\",")
    JSONText.writeMember("key", key, into: &body)
    body.writeStaticString("}")
  }

  /// The answer to a write that the committer has decided.
  func answer(
    _ route: Route, to request: WriteRequest, at index: Int, of submission: Submission
  ) -> Answer {
    if isLate, let answer = late(route, request, index, submission) { return answer }
    switch request.outcome {
    case .created, .replaced, .deleted, .done:
      return success(route, request, index, submission)
    case .absent:
      guard route == .classicDelete else {
        writeKeyNotFound(submission.key(of: index))
        var answer = Answer(.notFound, .json)
        answer.seen = node.merged?.state.applied
        return answer
      }
      node.dialect.writeDelete(isAbsent: true, error: nil, into: &body)
      return Answer(.notFound)
    case .conditionFailed where route == .purge:
      return refusal(
        route, .conflict,
        "purge refused: keys of other shards have been written since it was checked. Nothing was removed"
      )
    case .conditionFailed:
      body.writeStaticString("{\"error\":\"the condition does not hold\"}")
      return Answer(.preconditionFailed, .json)
    case .tooManyVersions:
      return refusal(
        route, .conflict,
        "the key has \(MergedState.versionsMax) concurrent values: read them, and write with the X-KV-Context of that answer. Nothing was written",
        value: submission.value(of: index))
    case .diskFull:
      return refusal(
        route, .insufficientStorage, "no space left on the disk: nothing was written",
        value: submission.value(of: index))
    case .memoryFull:
      return refusal(
        route, .insufficientStorage, "the memory bound is reached: nothing was written",
        value: submission.value(of: index))
    case .readOnly:
      return refusal(route, .forbidden, "read-only mode", value: submission.value(of: index))
    case .stopped:
      var answer = refusal(
        route, .unavailable, "the node is stopping: nothing was written",
        value: submission.value(of: index))
      answer.retryAfterSeconds = 1
      return answer
    case .failed, .pending:
      return refusal(
        route, .internalError, "the log failed: outcome unknown until the node has restarted",
        value: submission.value(of: index))
    }
  }

  /// The answer to a write whose members were not had in time; nil where this one's were.
  private func late(
    _ route: Route, _ request: WriteRequest, _ index: Int, _ submission: Submission
  ) -> Answer? {
    let wanted = submission.quorum.members
    if request.isWritten {
      let count = node.followers.count(having: request.version)
      return count >= wanted ? nil : unconfirmed(request.version, by: count, of: wanted)
    }
    guard request.outcome == .absent || request.outcome == .conditionFailed else { return nil }
    // Judged by what may be taken back.
    var answer = refusal(
      route, .unavailable, "what is there is not confirmed yet: nothing was written",
      value: submission.value(of: index))
    answer.retryAfterSeconds = 1
    return answer
  }

  private func success(
    _ route: Route, _ request: WriteRequest, _ index: Int, _ submission: Submission
  ) -> Answer {
    let version = node.merged == nil ? request.version : request.stamp
    var answer = Answer(.ok, version: version)
    answer.context = request.clock
    if let merged = node.merged, let clock = request.clock {
      // A context that had its own write as well would cover what stands beside it.
      let dot = Dot(origin: merged.own.origin, sequence: request.version)
      if !clock.covers(dot) { answer.seen = VersionVector(dot) }
    }
    switch route {
    case .classicSet:
      node.dialect.writeSet(submission.value(of: index), error: nil, into: &body)
    case .classicDelete:
      node.dialect.writeDelete(isAbsent: false, error: nil, into: &body)
    case .purge:
      node.dialect.writePurge(error: nil, into: &body)
      answer.purged = request.removed
    case .jsonSet:
      answer.status = .created
      answer.contentType = .json
      body.writeStaticString("{\"message\":\"Key set successfully\",\"version\":")
      DecimalText.write(version, into: &body)
      if let clock = request.clock { writeClock(clock) }
      body.writeStaticString("}")
    case .batch:
      answer.contentType = .json
      body.writeStaticString("{\"version\":")
      DecimalText.write(version, into: &body)
      body.writeStaticString(",\"count\":")
      DecimalText.write(UInt64(request.count), into: &body)
      body.writeStaticString("}")
    case .restDelete:
      answer.status = .noContent
    default:
      answer.status = request.outcome == .created ? .created : .ok
    }
    // What a read with `min_version` is not to be older than; of a put also what `If-Match` takes.
    switch route {
    case .restPut, .restDelete, .batch:
      if node.merged == nil {
        answer.tagEpoch = store.epochs.epoch(of: request.version)
      } else if route == .restPut {
        // Of the value alone: it matches as long as nothing stands beside it.
        answer.tagEpoch = Self.mergedEpoch
        answer.tagVersion = KeyVersions.tag(
          of: Dot(origin: store.origin, sequence: request.version))
      }
    default: break
    }
    return answer
  }

  /// The answer to a write that was not, or may not have been, done.
  func refusal(
    _ route: Route, _ status: Status, _ reason: String,
    value: UnsafeRawBufferPointer = UnsafeRawBufferPointer(start: nil, count: 0)
  ) -> Answer {
    switch route {
    case .classicSet: node.dialect.writeSet(value, error: reason, into: &body)
    case .classicDelete: node.dialect.writeDelete(isAbsent: false, error: reason, into: &body)
    case .purge: node.dialect.writePurge(error: reason, into: &body)
    default:
      writeError(reason)
      return Answer(status, .json)
    }
    return Answer(status)
  }

  /// `{"error":"…"}` as the body.
  func writeError(_ message: String) {
    body.writeStaticString("{\"error\":")
    var message = message
    message.withUTF8 { JSONText.writeString(UnsafeRawBufferPointer($0), into: &body) }
    body.writeStaticString("}")
  }

  /// The answer when too few members have a write in time.
  func unconfirmed(_ version: UInt64, by count: Int, of wanted: Int) -> Answer {
    body.writeString(
      "{\"error\":\"written here at version \(version), confirmed by \(count) of \(wanted)\","
        + "\"version\":\(version),\"confirmed\":\(count),\"wanted\":\(wanted)}")
    return Answer(.gatewayTimeout, .json, version: version)
  }

  /// The answer when the committer has no room.
  func overloaded(_ route: Route) -> Answer {
    var answer = refusal(route, .unavailable, "overloaded: nothing was written")
    answer.retryAfterSeconds = 1
    return answer
  }

  static let noRoomReason = "too many large answers are on their way"

  /// The answer to a read when there is no room for what it is to be answered.
  func noRoomForAnswer() -> Answer { unavailable("overloaded: \(Self.noRoomReason)") }
}

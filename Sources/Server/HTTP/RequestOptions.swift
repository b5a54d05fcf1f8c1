import Engine
import NIOCore

/// What the options of a request come to.
enum Options {
  case go
  case refused(Answer)
  /// That version is not readable here yet: wait for it, until then.
  case wait(Awaited)
}

/// A version that a read must not be older than.
struct Awaited {
  let version: UInt64
  let until: NIODeadline
}

/// `w`, `r`, `timeout_ms` and `min_version`.
extension LoopState {
  /// Requests of one event loop that wait for a version, each of which looks so often.
  private static let waitersMax = 256
  private static let waiterMilliseconds: Int64 = 5
  private static let timeoutMilliseconds: UInt64 = 5_000

  /// Members of the shard: this node.
  private var memberCount: UInt64 { 1 }

  /// Judges a request's options.
  func readOptions(_ query: Parameters, isRead: Bool) -> Options {
    for name in ["w", "r"] {
      guard let text = query.first(name) else { continue }
      let number = text.withUnsafeBytes { DecimalText.parse($0) }
      guard let number, (1...memberCount).contains(number) else {
        return .refused(
          badOption("\(name) must be from 1 to the number of members, \(memberCount)"))
      }
    }
    var timeout = Self.timeoutMilliseconds
    if let text = query.first("timeout_ms") {
      guard let number = text.withUnsafeBytes({ DecimalText.parse($0) }), number <= 3_600_000
      else { return .refused(badOption("timeout_ms must be a number up to 3600000")) }
      timeout = number
    }
    guard let text = query.text("min_version") else { return .go }
    guard let tag = EntityTag(text[...]) else {
      return .refused(badOption("min_version must be an entity tag of this store"))
    }
    return isRead ? judge(tag, timeoutMilliseconds: timeout) : .go
  }

  /// The `timeout_ms` of a request whose options have been judged.
  func timeoutMilliseconds(_ query: Parameters) -> UInt64 {
    query.first("timeout_ms")?.withUnsafeBytes { DecimalText.parse($0) } ?? Self.timeoutMilliseconds
  }

  func badOption(_ message: String) -> Answer {
    writeError(message)
    return Answer(.badRequest, .json)
  }

  /// Whether what is readable here includes that version.
  private func judge(_ tag: EntityTag, timeoutMilliseconds: UInt64) -> Options {
    guard store.epochs.epoch(of: tag.version) == tag.epoch else {
      writeError("min_version is of another history")
      return .refused(Answer(.preconditionFailed, .json))
    }
    if tag.version <= store.index.appliedSequence { return .go }
    return .wait(
      Awaited(
        version: tag.version, until: .now() + .milliseconds(Int64(timeoutMilliseconds))))
  }

  private func tooNew() -> Answer {
    writeError("min_version is not readable here yet")
    var answer = Answer(.unavailable, .json)
    answer.retryAfterSeconds = 1
    return answer
  }

  /// Handles the request once that version is readable, or answers that it is not.
  func wait(
    _ awaited: Awaited, _ lane: StandardLane, _ handle: @escaping () -> Handling
  ) -> Handling {
    if store.index.appliedSequence >= awaited.version { return handle() }
    guard NIODeadline.now() < awaited.until else { return .now(tooNew()) }
    guard waiterCount < Self.waitersMax else { return .now(tooNew()) }
    waiterCount += 1
    eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(Self.waiterMilliseconds)) {
      self.waiterCount -= 1
      guard lane.isOpen else { return }
      lane.deliver(self.wait(awaited, lane, handle))
    }
    return .later
  }
}

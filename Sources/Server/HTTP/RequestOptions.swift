import Engine
import NIOCore

/// What the options of a request come to.
enum Options {
  case go
  case refused(Answer)
  /// That version is not readable here yet: wait for it, for a while.
  case wait(Awaited)
}

/// A version that a read must not be older than.
struct Awaited {
  let version: UInt64
  let timeout: TimeAmount
}

/// `w`, `r`, `timeout_ms` and `min_version`.
extension LoopState {
  /// Requests of one event loop that wait for a version.
  private static let waitersMax = 256
  private static let timeoutMilliseconds: UInt64 = 5_000

  /// Members of the shard, this node included.
  private var memberCount: UInt64 { UInt64(node.followers.memberCount) }

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
    let version: UInt64
    if let tag = EntityTag(text[...]) {
      guard !isRead || store.epochs.epoch(of: tag.version) == tag.epoch else {
        writeError("min_version is of another history")
        return .refused(Answer(.preconditionFailed, .json))
      }
      version = tag.version
    } else if let number = query.first("min_version")?.withUnsafeBytes({ DecimalText.parse($0) }) {
      version = number
    } else {
      return .refused(badOption("min_version must be an entity tag of this store, or a version"))
    }
    guard isRead, version > store.index.appliedSequence else { return .go }
    return .wait(Awaited(version: version, timeout: .milliseconds(Int64(timeout))))
  }

  /// Judges the options of a write, and has the lane wait for as many members as it wants.
  ///
  /// - Returns: the answer when nothing is to be written.
  func writeOptions(_ query: Parameters, _ lane: StandardLane) -> Answer? {
    if case .refused(let answer) = readOptions(query, isRead: false) { return answer }
    let asked = query.first("w")?.withUnsafeBytes { DecimalText.parse($0) }
    let wanted = asked.map { Int($0) } ?? node.configuration.writeQuorum
    lane.quorum = nil
    // A replica refuses it as any other.
    guard wanted > 1, node.isLeading else { return nil }
    guard !isDraining else { return unavailable("the node is stopping: nothing was written") }
    let streaming = node.followers.streamingCount
    guard streaming >= wanted else {
      return unavailable(
        "\(wanted) members are wanted, \(streaming) of \(memberCount) are streaming: "
          + "nothing was written")
    }
    lane.quorum = WriteQuorum(
      wanted: wanted, timeout: .milliseconds(Int64(timeoutMilliseconds(query))))
    return nil
  }

  /// The `timeout_ms` of a request whose options have been judged.
  func timeoutMilliseconds(_ query: Parameters) -> UInt64 {
    query.first("timeout_ms")?.withUnsafeBytes { DecimalText.parse($0) } ?? Self.timeoutMilliseconds
  }

  func badOption(_ message: String) -> Answer {
    writeError(message)
    return Answer(.badRequest, .json)
  }

  private func tooNew(
    _ reason: String = "min_version is not readable here yet"
  ) -> Answer {
    writeError(reason)
    var answer = Answer(.unavailable, .json)
    answer.retryAfterSeconds = 1
    return answer
  }

  /// Handles the request once that version is readable, or answers that it is not.
  func wait(
    _ awaited: Awaited, _ lane: StandardLane, _ handle: @escaping () -> Handling
  ) -> Handling {
    guard waitingReads.count < Self.waitersMax else {
      return .now(tooNew("too many requests wait for a version"))
    }
    guard !isDraining else { return .now(tooNew()) }
    var timer: Scheduled<Void>?
    var id: VersionWaiters.ID?
    let new = waiters.add(awaited.version) { isApplied in
      timer?.cancel()
      self.waitingReads.removeAll { $0 == id }
      lane.awaited = nil
      guard lane.isOpen else { return }
      // Judged again: the epoch may be another one by now.
      lane.deliver(isApplied ? handle() : .now(self.tooNew()))
    }
    id = new
    waitingReads.append(new)
    lane.awaited = new
    timer = eventLoop.assumeIsolated().scheduleTask(in: awaited.timeout) {
      self.waiters.expire(new)
    }
    return .later
  }

  /// What waits is answered that it is not readable: the node stops.
  func giveUpWaitingReads() {
    for id in waitingReads { waiters.expire(id) }
  }
}

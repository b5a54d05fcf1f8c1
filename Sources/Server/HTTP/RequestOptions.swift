import Engine
import NIOCore

/// What the options of a request come to.
enum Options {
  case go
  case refused(Answer)
  /// That version is not readable here yet: wait for it, for a while.
  case wait(Awaited)
  /// What that covers is not readable here yet, in a leaderless shard.
  case waitFor(VersionVector, TimeAmount)
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
  /// In a read that another node has asked the members for.
  private static let readQuorumField = "X-KV-Read-Quorum"

  private static let timeoutMillisecondsMax: UInt64 = 3_600_000

  /// Members of the shard, this node included.
  private var memberCount: UInt64 { UInt64(max(1, node.configuration.members.count)) }

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
    var timeout = limits.waitMilliseconds
    if let text = query.first("timeout_ms") {
      guard let number = text.withUnsafeBytes({ DecimalText.parse($0) }),
        number <= Self.timeoutMillisecondsMax
      else {
        return .refused(
          badOption("timeout_ms must be a number up to \(Self.timeoutMillisecondsMax)"))
      }
      timeout = number
    }
    guard let text = query.text("min_version") else { return .go }
    if let merged = node.merged {
      guard let context = VersionVector(text), !context.isEmpty else {
        return .refused(badOption("min_version must be a context: what X-KV-Context says"))
      }
      guard isRead, !merged.state.applied.covers(context) else { return .go }
      return .waitFor(context, .milliseconds(Int64(timeout)))
    }
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
    // A write replaces what is here: so what its client has seen has to be.
    if let merged = node.merged,
      let seen = query.text("min_version").flatMap({ VersionVector($0) }),
      !merged.state.applied.covers(seen)
    {
      return unavailable("min_version is not here yet: nothing was written")
    }
    let asked = query.first("w")?.withUnsafeBytes { DecimalText.parse($0) }
    let wanted = asked.map { Int($0) } ?? node.configuration.writeQuorum
    lane.quorum = .alone
    guard wanted > 1 else { return nil }
    let quorum = WriteQuorum(members: wanted, timeoutMilliseconds: timeoutMilliseconds(query))
    guard node.isLeading else {
      // A replica refuses it as any other; where it leads by the time that the committer has it, the write
      // waits for the others.
      lane.quorum = quorum
      return nil
    }
    guard !isDraining else { return unavailable("the node is stopping: nothing was written") }
    let streaming = node.followers.streamingCount
    guard streaming >= wanted else {
      return unavailable(
        "\(wanted) members are wanted, \(streaming) of \(memberCount) are streaming: "
          + "nothing was written")
    }
    lane.quorum = quorum
    return nil
  }

  /// The `timeout_ms` of a request; of one whose options have not been judged, no more than may be said.
  func timeoutMilliseconds(_ query: Parameters) -> UInt64 {
    let asked = query.first("timeout_ms")?.withUnsafeBytes { DecimalText.parse($0) }
    return min(asked ?? limits.waitMilliseconds, Self.timeoutMillisecondsMax)
  }

  func badOption(_ message: String) -> Answer {
    writeError(message)
    return Answer(.badRequest, .json)
  }

  // MARK: - Reads

  /// Handles a read once its options, and the members that it asks, let this node do it; or hands it on
  /// to the member that is further.
  func reading(
    _ query: Parameters, _ lane: StandardLane, keys: [[UInt8]] = [], isLocal: Bool = false,
    _ handle: @escaping () -> Handling
  ) -> Handling {
    let isAsked = lane.request?.headers.contains(name: Self.readQuorumField) ?? false
    if !isLocal, !isAsked, let handling = misdirected(lane) { return handling }
    if case .refused(let answer) = readOptions(query, isRead: true) { return .now(answer) }
    let wanted =
      query.first("r")?.withUnsafeBytes { DecimalText.parse($0) }.map { Int($0) }
      ?? node.configuration.readQuorum
    if let told = lane.request?.headers.first(name: Self.readQuorumField) {
      // Whoever has handed it on has asked already, and relies on that this node has as much.
      guard let needed = NodePosition(told), let own = node.position, !node.mayLack,
        needed.standing.origin == own.origin, !Succession.Standing.isLess(own, needed.standing)
      else { return .now(unavailable("this node has less than it had when it was asked")) }
      return settled(query, lane, isLocal: isLocal, handle)
    }
    guard wanted > 1, !isLocal else { return settled(query, lane, isLocal: isLocal, handle) }
    if let merged = node.merged {
      guard !keys.isEmpty else {
        guard query.first("r") == nil else {
          return .now(
            badOption("r is for keys: a list is of what this node has, in a leaderless shard"))
        }
        return settled(query, lane, isLocal: isLocal, handle)
      }
      let ask = {
        self.readMembers(wanted, for: keys, merged, query, lane) {
          self.settled(query, lane, isLocal: isLocal, handle)
        }
      }
      if case .waitFor(let context, let timeout) = readOptions(query, isRead: true) {
        return wait(for: context, timeout, merged, lane, ask)
      }
      return ask()
    }
    guard readQuorums.hasRoom, !isDraining else {
      return .now(unavailable("overloaded: too many reads ask other members"))
    }
    let milliseconds = timeoutMilliseconds(query)
    readQuorums.ask(wanted, within: .milliseconds(Int64(milliseconds))) { verdict in
      guard lane.isOpen else { return }
      switch verdict {
      case .here: lane.deliver(self.settled(query, lane, isLocal: isLocal, handle))
      case .there(let member, let standing):
        lane.deliver(
          self.forward(
            lane, to: member, isRead: true, waitMilliseconds: milliseconds,
            fields: [(name: Self.readQuorumField, value: NodePosition.text(standing))]))
      case .tooFew(let count):
        lane.deliver(
          .now(
            self.unavailable(
              "\(wanted) members are to be asked, and \(count) of \(self.memberCount) have answered"
            ))
        )
      }
    }
    return .later
  }

  /// The same where nobody has to be asked any more.
  private func settled(
    _ query: Parameters, _ lane: StandardLane, isLocal: Bool, _ handle: @escaping () -> Handling
  ) -> Handling {
    switch readOptions(query, isRead: true) {
    case .refused(let answer): return .now(answer)
    case .wait(let awaited):
      // Judged again: the epoch may be another one by then.
      return wait(awaited, lane) { self.settled(query, lane, isLocal: isLocal, handle) }
    case .waitFor(let context, let timeout):
      return wait(for: context, timeout, node.merged!, lane) {
        self.settled(query, lane, isLocal: isLocal, handle)
      }
    case .go:
      basis = 0
      let handling = handle()
      return isLocal ? handling : confirmed(handling, lane)
    }
  }

  /// Holds an answer back until nothing that it tells can be taken back by a failover: what was read when
  /// the request came is told once that is confirmed, or not at all.
  func confirmed(_ handling: Handling, _ lane: StandardLane) -> Handling {
    guard hidesUnconfirmed, basis > node.followers.confirmed else { return handling }
    if case .later = handling { return handling }
    guard !isDraining else {
      body.clear()
      return .now(notConfirmed())
    }
    let bytes = self.body.readableBytes
    guard node.chargeAnswer(bytes, limit: limits.answersBytesMax) else {
      body.clear()
      return .now(unavailable("overloaded: too many answers wait"))
    }
    var body = ByteBuffer()
    swap(&body, &self.body)
    let query = lane.request.flatMap { Parameters($0.query) }
    let milliseconds = query.map(timeoutMilliseconds) ?? limits.waitMilliseconds
    lane.confirmation = awaitConfirmation(basis, milliseconds: milliseconds) { isConfirmed in
      lane.confirmation = nil
      self.node.releaseAnswer(bytes)
      guard lane.isOpen else { return }
      guard isConfirmed else { return lane.deliver(.now(self.notConfirmed())) }
      self.body = body
      lane.deliver(handling)
    }
    return .later
  }

  /// Calls `action` once that version is confirmed, or with false when it is not in time.
  @discardableResult
  func awaitConfirmation(
    _ version: UInt64, milliseconds: UInt64, _ action: @escaping (Bool) -> Void
  ) -> VersionWaiters.ID {
    var timer: Scheduled<Void>?
    var id: VersionWaiters.ID?
    let new = confirmations.add(version) { isConfirmed in
      timer?.cancel()
      if let id { self.unconfirmedReads.remove(id) }
      action(isConfirmed)
    }
    id = new
    unconfirmedReads.insert(new)
    timer = eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(Int64(milliseconds))) {
      self.confirmations.expire(new)
    }
    return new
  }

  func notConfirmed() -> Answer {
    unavailable("what is there is not confirmed by \(node.configuration.writeQuorum) members yet")
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
    for id in unconfirmedReads { confirmations.expire(id) }
  }
}

extension LoopState {
  /// What a write of the fast lane waits for; nil where so many members are not there.
  @inline(__always)
  func quorum(of request: FastRequest) -> WriteQuorum? {
    if request.members == 0, defaultQuorum.members == 1 { return .alone }
    return quorum(ofMembers: Int(request.members))
  }

  private func quorum(ofMembers asked: Int) -> WriteQuorum? {
    let members = asked == 0 ? defaultQuorum.members : asked
    guard members <= node.followers.memberCount else { return nil }
    guard members > 1 else { return .alone }
    // One that does not lead may by the time that the committer has the write.
    guard !node.isLeading || !isDraining && node.followers.streamingCount >= members
    else { return nil }
    return asked == 0
      ? defaultQuorum
      : WriteQuorum(members: members, timeoutMilliseconds: limits.waitMilliseconds)
  }
}

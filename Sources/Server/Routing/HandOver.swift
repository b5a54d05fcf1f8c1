import Client
import NIOCore
import Synchronization

/// A planned change of leader: nothing is lost, and writes wait for a moment instead of failing.
///
///     leading --asked for--> holding: writes that come wait, those in progress are finished
///     holding --all is answered, and the successor has it--> the successor is promoted, as ever
///     promoted --> what was held is handed on to the successor, and so is what comes for a while
///     anything fails --> what was held is handled here, by whatever this node is then
///
/// The promotion takes this node's promise, with which it leads no more; so nothing depends on what
/// becomes of the answers between the two. Where it came to nothing this node is promoted again, above what
/// was promised meanwhile.
struct HandOver: Sendable {
  /// How long what is in progress may take.
  private static let settleMax = Duration.seconds(2)
  private static let look = Duration.milliseconds(1)
  private static let promotionSeconds: Int64 = 15
  /// For so long behind a hand-over writes that come here are handed on: clients that know this node as
  /// the leader learn meanwhile that it is not.
  static let graceSeconds: Int64 = 30

  let node: NodeState
  let successor: Member
  let address: NodeAddress

  /// What whoever asked for it is told.
  enum Outcome: Sendable {
    /// As the successor has said it.
    case answered(KVResponse)
    case refused(String)
  }

  func run() async -> Outcome {
    let loops = node.loops
    for loop in loops { await loop.holdWrites() }
    var outcome = await settled(loops)
    if outcome == nil {
      let promoted = await promoted()
      // Somebody may have promised meanwhile, this node included: nobody leads by itself then.
      if promoted.isRefused { await leadAgain() }
      outcome = promoted
    }
    guard let outcome else { preconditionFailure("a hand-over without an outcome") }
    for loop in loops { await loop.releaseWrites(to: outcome.isRefused ? nil : address) }
    return outcome
  }

  /// Waits until all writes are answered and the successor has them.
  ///
  /// - Returns: why not.
  private func settled(_ loops: [LoopState]) async -> Outcome? {
    let deadline = ContinuousClock.now + Self.settleMax
    for loop in loops {
      while await !loop.isQuiet {
        guard ContinuousClock.now < deadline else {
          return .refused("the writes in progress do not come to an end")
        }
        try? await Task.sleep(for: Self.look)
      }
    }
    let end = node.store.feed.end.sequence
    while node.followers.row(successor.id)?.durable ?? 0 < end {
      guard ContinuousClock.now < deadline else {
        return .refused("\(successor.address) is too far behind")
      }
      try? await Task.sleep(for: Self.look)
    }
    return nil
  }

  /// Has the successor promoted; not without this node's promise.
  private func promoted() async -> Outcome {
    do {
      let target = "/admin/promote?from=\(PercentEncoding.encode(node.id))"
      let answer = try await node.forwarder.ownPool.execute(
        KVRequest(.POST, target), on: address,
        deadline: .now() + .seconds(Self.promotionSeconds)
      ).get()
      guard answer.status == 200 else {
        let reason = String(buffer: answer.body)
        return .refused("\(successor.address) answers \(answer.status): \(reason)")
      }
      return .answered(answer)
    } catch {
      return .refused("\(error)")
    }
  }

  /// Has this node promoted, as any other would be.
  private func leadAgain() async {
    let (answered, answer) = AsyncStream<Void>.makeStream()
    node.give(
      LifeOrder(kind: .leadAgain) { _ in answer.finish() })
    for await _ in answered {}
  }
}

extension HandOver.Outcome {
  var isRefused: Bool { if case .refused = self { true } else { false } }
}

/// How an event loop stands to a hand-over.
enum WriteHold {
  case none
  /// Writes wait.
  case holding
  /// Until then they are handed on to that node.
  case over(NodeAddress, until: NIODeadline)
}

extension LoopState {
  /// Asks the leader for a hand-over to this node.
  func askForHandOver(_ lane: StandardLane) -> Handling {
    guard let leader = node.following.flatMap({ try? NodeAddress(parsing: $0.leader) }) else {
      writeError("this node follows nobody who could hand over: promote it without handover")
      return .now(Answer(.conflict, .json))
    }
    let target = "/admin/handover?to=\(PercentEncoding.encode(node.id))"
    node.forwarder.ownPool.execute(
      KVRequest(.POST, target), on: leader, deadline: .now() + .seconds(30), eventLoop: eventLoop
    ).assumeIsolated().whenComplete { result in
      switch result {
      case .success(let answer): lane.deliver(.forwarded(answer))
      case .failure(let error):
        lane.deliver(.now(self.unavailable("the leader does not hand over: \(error)")))
      }
    }
    return .later
  }

  /// `POST /admin/handover?to=ID`: hands this node's shard over to another member.
  func handOver(_ query: Parameters, _ lane: StandardLane) -> Handling {
    lane.isFor(.promote)
    guard !isDraining else { return .now(unavailable("the node is stopping")) }
    guard node.isLeading else {
      writeError("this node does not lead its shard")
      return .now(Answer(.conflict, .json))
    }
    guard let name = query.text("to"),
      let member = node.configuration.otherMembers.first(where: { $0.id == name }),
      let address = try? NodeAddress(parsing: member.address)
    else { return .now(badOption("to must be another member of the shard")) }
    guard node.followers.row(member.id)?.state == .streaming else {
      return .now(unavailable("\(member.address) does not stream this node's log"))
    }
    guard node.beginHandOver() else {
      writeError("this node is handing over already")
      return .now(Answer(.conflict, .json))
    }
    let node = node
    let promise = eventLoop.makePromise(of: HandOver.Outcome.self)
    promise.completeWithTask {
      defer { node.endHandOver() }
      return await HandOver(node: node, successor: member, address: address).run()
    }
    promise.futureResult.assumeIsolated().whenSuccess { outcome in
      switch outcome {
      case .answered(let answer): lane.deliver(.forwarded(answer))
      case .refused(let reason): lane.deliver(.now(self.unavailable("not handed over: \(reason)")))
      }
    }
    return .later
  }

  // MARK: - Writes

  /// From now on writes that come wait. On any thread.
  func holdWrites() async {
    try? await eventLoop.submit { self.hold = .holding }.get()
  }

  /// Whether all writes that came before are answered. On any thread.
  var isQuiet: Bool {
    get async { (try? await eventLoop.submit { self.hasNothingInProgress }.get()) ?? true }
  }

  /// Ends the wait: writes are handed on, or handled here. On any thread.
  func releaseWrites(to successor: NodeAddress?) async {
    try? await eventLoop.submit { self.release(to: successor) }.get()
  }

  func release(to successor: NodeAddress?) {
    hold =
      successor.map { .over($0, until: .now() + .seconds(HandOver.graceSeconds)) } ?? .none
    let lanes = heldLanes
    heldLanes = []
    for lane in lanes where lane.isOpen {
      guard let request = lane.request else { continue }
      lane.deliver(handle(request, from: lane))
    }
  }

  /// What becomes of a write because of a hand-over; nil where it is handled as ever.
  func heldBack(_ lane: StandardLane) -> Handling? {
    switch hold {
    case .none: return nil
    case .holding:
      heldLanes.append(lane)
      return .later
    case .over(let successor, let until):
      guard NIODeadline.now() < until, !node.isLeading else {
        hold = .none
        return nil
      }
      return pass(lane, to: successor)
    }
  }

  /// Whether the fast lane leaves writes to the standard pipeline.
  var holdsWrites: Bool { if case .none = hold { false } else { true } }

  /// Hands a write on to who leads since a moment, and for whom it may take another until enough members
  /// follow.
  private func pass(_ lane: StandardLane, to successor: NodeAddress) -> Handling {
    let query = lane.request.flatMap { Parameters($0.query) }
    let milliseconds = query.map(timeoutMilliseconds) ?? limits.waitMilliseconds
    return forward(
      lane, to: successor, isRead: false, waitMilliseconds: milliseconds,
      retryUntil: .now() + .milliseconds(Int64(milliseconds)))
  }
}

import Client
import NIOCore
import NIOHTTP1

/// A request that is to reach the right node.
struct Call: Sendable {
  enum Place: Sendable {
    /// The shard of that key.
    case key([UInt8])
    /// That one of so many.
    case shard(Int, of: Int)
  }

  /// What is known when the request is made.
  struct Terms {
    var shard: Int
    var shardCount: Int
    /// Until the attempt's deadline.
    var left: TimeAmount
  }

  var place: Place
  var use: RoutingState.Use
  /// Whether twice is as good as once.
  var mayRepeat: Bool
  /// Whether it makes sense only once the shards are known.
  var needsRoutes = false
  var hasSession = false
  var request: @Sendable (Terms) -> KVRequest
}

/// What a call has come to.
struct Answered {
  var answer: KVResponse
  var node: NodeAddress
  var shard: Int
  var shardCount: Int
}

extension KVClient {
  /// Where an attempt goes.
  private struct Target {
    var node: NodeAddress
    /// In place of the request's own.
    var path: String?
    var shard = 0
    var shardCount = 1
    var nodes = 1
    var isLeaderless = false
  }

  private enum Location {
    case found(Target)
    case lost(KVClientError)
  }

  static let readFromField = "X-KV-Read-From"

  /// Sends a request to the right node, as often as it takes.
  ///
  /// - Returns: the answer, of whatever status.
  func perform(_ call: Call) async throws(KVClientError) -> Answered {
    var progress = CallState(
      deadline: .now() + TimeAmount(options.timeout), use: call.use, mayRepeat: call.mayRepeat,
      retries: options.retries, hasSession: call.hasSession)
    while true {
      refreshIfDue()
      let step: CallState.Step
      let outcome: Result<Answered, KVClientError>
      switch await locate(call, progress) {
      case .lost(let error):
        outcome = .failure(error)
        step = progress.lost(error, .now(), random: .random(in: 0...1))
      case .found(let target):
        outcome = await attempt(call, progress, at: target)
        step = judge(outcome, target, &progress)
      }
      switch step {
      case .deliver: return await placed(try outcome.get(), call)
      case .fail(let error): throw error
      case .goOn: continue
      case .pause(let time):
        do {
          try await Task.sleep(for: .nanoseconds(time.nanoseconds))
        } catch {
          throw progress.end(.neverSent(seeds[0], .cancelled))
        }
      }
    }
  }

  /// An answer to a session, with the shard that it is of.
  ///
  /// A shard that is divided goes on in new epochs, one for each part, and a client that does not know of it yet would
  /// take what it has read of one part for what the others have to have. So the configuration is asked for where
  /// an answer is of a later epoch than any before it.
  private func placed(_ answered: Answered, _ call: Call) async -> Answered {
    guard call.needsRoutes, case .key(let key) = call.place else { return answered }
    var answered = answered
    if answered.answer.seen != nil {
      place(&answered, key)
      return answered
    }
    guard let tag = answered.answer.etag.flatMap({ VersionTag($0) })
    else { return answered }
    // Another call may have learned of it meanwhile.
    place(&answered, key)
    let isLater = epochs.withLock {
      $0.isLater(tag.epoch, shard: answered.shard, of: answered.shardCount)
    }
    guard isLater else { return answered }
    await refreshConfiguration()
    place(&answered, key)
    epochs.withLock { $0.note(tag.epoch, shard: answered.shard, of: answered.shardCount) }
    return answered
  }

  private func place(_ answered: inout Answered, _ key: [UInt8]) {
    let (shard, count) = state.withLock { ($0.shard(of: key), $0.shards.count) }
    (answered.shard, answered.shardCount) = (shard, count)
  }

  // MARK: - One attempt

  private func locate(_ call: Call, _ progress: CallState) async -> Location {
    var shard = 0
    // A configuration may have to be read, then a leader to be found, who may be doubted at once.
    for _ in 0..<3 {
      var target: Target?
      var isKnown = false
      do throws(KVClientError) {
        try state.withLock { state throws(KVClientError) in
          isKnown = state.isKnown
          guard isKnown else { return }
          shard = try Self.shard(call.place, state)
          let choice = state.choose(shard, progress.use, tried: progress.tried, .now())
          guard case .node(let node) = choice else { return }
          target = Target(
            node: node, shard: shard, shardCount: state.shards.count,
            nodes: state.shards[shard].nodes.count,
            isLeaderless: state.shards[shard].isLeaderless)
        }
      } catch {
        return .lost(error)
      }
      if let redirection = progress.redirection {
        var redirected = target ?? Target(node: redirection.address, shard: shard)
        (redirected.node, redirected.path) = (redirection.address, redirection.target)
        return .found(redirected)
      }
      if let target { return .found(target) }
      if isKnown {
        guard let error = await findLeader(of: shard, deadline: progress.deadline) else { continue }
        return .lost(error)
      }
      if options.configuration == .whenNeeded, !call.needsRoutes, !progress.needsRoutes {
        return .found(Target(node: seeds[0]))
      }
      do throws(KVClientError) {
        try await loadRoutes(deadline: progress.deadline)
      } catch {
        return .lost(error)
      }
      // The configuration may name as the leader who has just said that it is not.
      if let node = progress.refusing { state.withLock { $0.doubtLeader(node) } }
    }
    return .lost(.noLeader(shard: "\(shard)", "who led it a moment ago does not any more"))
  }

  private static func shard(
    _ place: Call.Place, _ state: RoutingState
  ) throws(KVClientError) -> Int {
    switch place {
    case .key(let key): return state.shard(of: key)
    case .shard(let shard, let count):
      guard count == state.shards.count, state.shards.indices.contains(shard) else {
        throw .badRequest("the shards have become others meanwhile: begin anew")
      }
      return shard
    }
  }

  private func attempt(
    _ call: Call, _ progress: CallState, at target: Target
  ) async -> Result<Answered, KVClientError> {
    let now = NIODeadline.now()
    let deadline = progress.attemptDeadline(now, nodes: target.nodes)
    var request = call.request(
      Call.Terms(
        shard: target.shard, shardCount: target.shardCount,
        left: max(deadline - now, .nanoseconds(0))))
    if let path = target.path { request.target = path }
    request.isIdempotent = call.mayRepeat
    if progress.use == .read(.leader), target.nodes > 1 {
      request.headers.replaceOrAdd(name: Self.readFromField, value: "leader")
    }
    do throws(KVClientError) {
      let answer = try await pool.answer(to: request, on: target.node, deadline: deadline)
      return .success(
        Answered(
          answer: answer, node: target.node, shard: target.shard, shardCount: target.shardCount))
    } catch {
      return .failure(error)
    }
  }

  // MARK: - What it says

  private func judge(
    _ outcome: Result<Answered, KVClientError>, _ target: Target, _ progress: inout CallState
  ) -> CallState.Step {
    let now = NIODeadline.now()
    let random = Double.random(in: 0...1)
    switch outcome {
    case .success(let answered):
      learn(answered, target, progress.use)
      return progress.answered(
        answered.answer, by: target.node, nodes: target.nodes,
        isLeaderless: target.isLeaderless, now, random: random)
    case .failure(let error):
      learn(error, target.node, now)
      return progress.failed(error, at: target.node, nodes: target.nodes, now, random: random)
    }
  }

  /// What an answer says of who leads, and of the configuration.
  private func learn(_ answered: Answered, _ target: Target, _ use: RoutingState.Use) {
    let (answer, node) = (answered.answer, answered.node)
    let verdict = Verdict(answer, isRead: use.isRead, mayRepeat: false)
    let isForwarded = answer.headers.contains(name: "X-KV-Forwarded-By")
    state.withLock { state in
      guard state.isKnown else { return }
      state.hasAnswered(node)
      let nodes =
        state.shards.indices.contains(target.shard) ? state.shards[target.shard].nodes : []
      switch verdict {
      case .leader(let leader):
        state.doubtLeader(node)
        if let leader, nodes.contains(leader) { state.leads(leader, shard: target.shard) }
      case .later where nodes.count > 1: state.doubtLeader(node)
      case .redirected where !use.isRead:
        if let to = Redirection(answer, from: node), nodes.contains(to.address) {
          state.leads(to.address, shard: target.shard)
        }
      case .final where isForwarded && !use.isRead:
        let by = answer.headers.first(name: "X-KV-Node").flatMap(NodeAddress.parsed)
        if let by, nodes.contains(by) { state.leads(by, shard: target.shard) }
      case .final where !use.isRead && answer.status / 100 == 2 && nodes.contains(node):
        // Another call may have doubted it meanwhile.
        if state.shards[target.shard].leader == nil { state.leads(node, shard: target.shard) }
      default: break
      }
    }
    if isForwarded || verdict == .redirected { refresh.withLock { $0.comeSoon() } }
  }

  private func learn(_ error: KVClientError, _ node: NodeAddress, _ now: NIODeadline) {
    // Whatever may be repeated is the node's fault.
    guard Verdict(error, mayRepeat: true) != .final else { return }
    state.withLock { $0.isUnreachable(node, now) }
    refresh.withLock { $0.comeSoon() }
  }
}

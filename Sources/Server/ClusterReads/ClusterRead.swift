import Client
import NIOCore
import NIOPosix

/// A read that asks the shards of the cluster: this node for its own, of the others the leaders, each by
/// its own rules.
struct ClusterRead: Sendable {
  /// Why there is no answer, which names the shard.
  struct Refusal: Error, Sendable {
    let status: Status
    let reason: String
  }

  /// What an answer takes on top of what a shard may wait for.
  private static let answerMilliseconds: Int64 = 5_000

  let node: NodeState
  let cluster: Cluster
  /// For all that is asked.
  let deadline: NIODeadline
  /// Of the request, but for what is asked of a shard alone.
  private let parameters: String
  /// Bytes of answers that are held.
  private let held = HeldAnswers()

  /// - Parameter left: parameters that are not a shard's.
  init(
    node: NodeState, cluster: Cluster, _ query: Parameters, waitMilliseconds: UInt64,
    without left: Set<String>
  ) {
    self.node = node
    self.cluster = cluster
    deadline =
      .now() + .milliseconds(Int64(clamping: waitMilliseconds) + Self.answerMilliseconds)
    parameters = query.items.compactMap { name, value in
      left.contains(String(decoding: name, as: UTF8.self))
        ? nil : "&\(PercentEncoding.encode(name))=\(PercentEncoding.encode(value))"
    }.joined()
  }

  /// Asks a shard.
  ///
  /// - Parameter query: what is asked of it in particular.
  func ask(_ shard: Int, _ query: String) async throws(Refusal) -> KVResponse {
    let name = cluster.map.shards[shard].name
    func refusal(_ status: Status, _ reason: String) -> Refusal {
      Refusal(status: status, reason: "shard \(shard) (\(name)): \(reason)")
    }
    let (address, reply) = await reply(of: shard, to: query)
    let answer: KVResponse
    switch reply {
    case .answer(let given): answer = given
    case .failure(let reason):
      throw refusal(.badGateway, "\(address) cannot be reached. \(reason)")
    }
    guard answer.status == 200 else {
      let said = ConfigurationSpread.reason(answer) ?? "it answers \(answer.status)"
      throw refusal(Self.status(of: answer), "\(address): \(said)")
    }
    guard answer.headers.first(name: "X-KV-Shard") == "\(shard)" else {
      throw refusal(
        .badGateway, "\(address) is a node of another shard: it has another configuration")
    }
    guard held.add(answer.body.readableBytes, of: node) else {
      throw Refusal(status: .unavailable, reason: "overloaded: too many answers wait")
    }
    return answer
  }

  private static func status(of answer: KVResponse) -> Status {
    switch answer.status {
    case 400: .badRequest
    case 413: .contentTooLarge
    case 503: .unavailable
    default: .badGateway
    }
  }

  /// What a node has said.
  private enum Reply: Sendable {
    case answer(KVResponse)
    case failure(String)

    /// Whether somebody else is to be asked.
    var isMisdirected: Bool {
      switch self {
      case .answer(let answer): isMisdirection(answer.status, isRead: true)
      case .failure: true
      }
    }
  }

  /// The reply of the node that reads of a shard are for, or of whoever leads it by now.
  private func reply(of shard: Int, to query: String) async -> (NodeAddress, Reply) {
    let isOwn = shard == cluster.shard
    let source = node.configuration.readFrom
    var address = cluster.reader(of: shard, source)
    if isOwn, let own = try? NodeAddress(parsing: node.address) { address = own }
    var request = KVRequest(.GET, "/kv?\(query)\(parameters)")
    if !isOwn, source == .leader {
      request.headers.add(name: Errand.sourceField, value: "leader")
    }
    var attempts = 1
    while true {
      let reply = await reply(to: request, address)
      if case .failure = reply { cluster.noteFailure(of: address, in: shard) }
      guard !isOwn, reply.isMisdirected, attempts < Errand.attemptsMax,
        let leader = await leader(of: shard)
      else { return (address, reply) }
      address = leader
      attempts += 1
    }
  }

  private func reply(to request: KVRequest, _ address: NodeAddress) async -> Reply {
    do {
      return .answer(
        try await node.forwarder.pool.execute(request, on: address, deadline: deadline).get())
    } catch {
      return .failure("\(error)")
    }
  }

  private func leader(of shard: Int) async -> NodeAddress? {
    let eventLoop = MultiThreadedEventLoopGroup.singleton.next()
    return try? await node.leaderSearch?.find(shard, on: eventLoop).get()
  }

  /// What was held is not any more.
  func end() { held.release(of: node) }

  /// Asks several at once.
  ///
  /// - Parameter questions: a shard, and its query.
  /// - Returns: in the order of the questions.
  func ask(
    _ questions: [(shard: Int, query: String)]
  ) async throws(Refusal) -> [KVResponse] {
    var outcomes: [Int: Outcome] = [:]
    await withTaskGroup(of: (Int, Outcome).self) { group in
      for (index, question) in questions.enumerated() {
        group.addTask { (index, await outcome(question.shard, question.query)) }
      }
      while let (index, outcome) = await group.next() { outcomes[index] = outcome }
    }
    var answers: [KVResponse] = []
    for index in questions.indices {
      switch outcomes[index]! {
      case .answer(let answer): answers.append(answer)
      case .refusal(let refusal): throw refusal
      }
    }
    return answers
  }

  private enum Outcome: Sendable {
    case answer(KVResponse)
    case refusal(Refusal)
  }

  private func outcome(_ shard: Int, _ query: String) async -> Outcome {
    do throws(Refusal) {
      return .answer(try await ask(shard, query))
    } catch {
      return .refusal(error)
    }
  }
}

extension LoopState {
  /// Sees to it that a read of the cluster is answered later.
  ///
  /// - Parameter body: runs off the loop.
  func clusterRead(
    _ read: ClusterRead, _ lane: StandardLane,
    _ make: @escaping @Sendable (ClusterRead) async throws(ClusterRead.Refusal) -> ClusterAnswer
  ) -> Handling {
    if pages.count >= PageQueue.requestsMax { forgetLeft() }
    guard pages.count < PageQueue.requestsMax, !isDraining else {
      return .now(unavailable("overloaded: too many pages are being made"))
    }
    pages.making += 1
    let promise = eventLoop.makePromise(of: Result<ClusterAnswer, ClusterRead.Refusal>.self)
    promise.completeWithTask {
      defer { read.end() }
      do throws(ClusterRead.Refusal) {
        return .success(try await make(read))
      } catch {
        return .failure(error)
      }
    }
    promise.futureResult.assumeIsolated().whenSuccess { result in
      self.pages.making -= 1
      switch result {
      case .success(let answer):
        self.body = answer.body
        var fields = [(name: Forwarder.hopsField, value: self.node.address)]
        if let next = answer.next { fields.append((name: "X-KV-Next", value: next)) }
        lane.deliver(.fields(Answer(.ok, .ndjson), fields))
      case .failure(let refusal):
        self.writeError(refusal.reason)
        var answer = Answer(refusal.status, .json)
        if refusal.status == .unavailable { answer.retryAfterSeconds = 1 }
        lane.deliver(.now(answer))
      }
    }
    return .later
  }
}

/// What a read of the cluster has come to.
struct ClusterAnswer: Sendable {
  var body: ByteBuffer
  var next: String?
}

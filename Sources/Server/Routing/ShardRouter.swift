import Client
import NIOCore
import NIOHTTP1

/// Requests whose keys another shard has, and writes that another node of this one takes.
///
///     for this shard ---------------------------------> handled here
///     `--routing redirect` ---------------------------> 307: the client goes there itself
///     `--routing proxy` --> handed on to the shard's leader, or to one of its replicas for a read
///         answered -----------------------------------> so is the client
///         421, or 403 to a write: it does not lead ---> to whoever does, if anybody says so
///         nothing sent, or a read --------------------> the same
///         a write that was sent ----------------------> 502: outcome unknown
///
/// What a node says that does not lead comes by two fields: `X-KV-Read-From: leader` in a request asks for
/// an answer of the leader, `X-KV-Leader` in a 421 names it.
struct Errand {
  static let sourceField = "X-KV-Read-From"
  static let leaderField = "X-KV-Leader"
  static let shardsField = "X-KV-Shards"
  /// Nodes that are tried.
  static let attemptsMax = 3

  let shard: Int
  let isRead: Bool
  /// The client wants an answer of the leader.
  let isForLeader: Bool
  var attempts = 0

  /// The next attempt.
  var again: Errand {
    var next = self
    next.attempts += 1
    return next
  }
}

extension LoopState {
  /// The shard that a key belongs to, where that is not this node's.
  @inline(__always)
  func foreignShard(_ key: UnsafeRawBufferPointer) -> Int? {
    guard shardCount > 1 else { return nil }
    let shard = store.index.hasher.kind(key) % shardCount
    return shard == UInt64(node.shard) ? nil : Int(shard)
  }

  /// Sees to it that another node answers a request for a key; nil where this one does.
  func elsewhere(_ key: [UInt8], _ lane: StandardLane, isRead: Bool) -> Handling? {
    if let shard = key.withUnsafeBytes({ foreignShard($0) }) {
      return elsewhere(shard, lane, isRead: isRead)
    }
    return isRead ? nil : heldBack(lane) ?? ledElsewhere(lane)
  }

  /// The same for a request for another shard.
  func elsewhere(_ shard: Int, _ lane: StandardLane, isRead: Bool) -> Handling? {
    guard let cluster = node.cluster else { return nil }
    guard node.configuration.routing == .proxy else {
      // The client meets whoever is gone, or does not lead any more, and this node hears nothing of it.
      if cluster.isCheckDue(of: shard) { _ = node.leaderSearch?.find(shard, on: eventLoop) }
      return redirect(lane, to: cluster.reader(of: shard, source(isRead: isRead)))
    }
    let isForLeader = lane.isForLeader
    return passOn(lane, Errand(shard: shard, isRead: isRead, isForLeader: isForLeader))
  }

  /// Sends a write of this shard to its leader, where that is somebody else and clients are told.
  func ledElsewhere(_ lane: StandardLane) -> Handling? {
    guard redirectsWrites, let leader = node.following?.leader ?? node.configuration.leaderAddress,
      let address = try? NodeAddress(parsing: leader)
    else { return nil }
    return redirect(lane, to: address)
  }

  /// Whether writes of this shard are not for here, and clients are told so.
  var redirectsWrites: Bool { node.configuration.routing == .redirect && !node.isLeading }

  private func source(isRead: Bool) -> ReadSource {
    isRead ? node.configuration.readFrom : .leader
  }

  private func redirect(_ lane: StandardLane, to address: NodeAddress) -> Handling {
    guard let request = lane.request else { preconditionFailure("a lane that answers nothing") }
    var location = "http://\(address)" + String(decoding: request.path, as: UTF8.self)
    if !request.query.isEmpty { location += "?" + String(decoding: request.query, as: UTF8.self) }
    body.writeString("ask \(address)")
    return .fields(Answer(.temporaryRedirect), [(name: "Location", value: location)])
  }

  // MARK: - Handing on

  private func passOn(_ lane: StandardLane, _ errand: Errand) -> Handling {
    guard let request = lane.request, let cluster = node.cluster else {
      preconditionFailure("a lane that answers nothing, or a node alone")
    }
    guard Forwarder.hops(of: request) < Forwarder.hopsMax else { return .now(loopDetected()) }
    guard !isDraining else { return .now(unavailable("the node is stopping: nothing was done")) }
    // Whoever could not be had may be the one whose turn it is.
    let source =
      errand.attempts > 0 || errand.isForLeader ? .leader : source(isRead: errand.isRead)
    let target = cluster.reader(of: errand.shard, source)
    var fields = [(name: Errand.shardsField, value: node.shardsText)]
    if errand.isRead, source == .leader { fields.append((Errand.sourceField, "leader")) }
    metrics.forwarded.increment()
    let watch = SilenceWatch()
    look(at: target, watch, lane, errand)
    node.forwarder.forward(
      request, to: target, isRead: errand.isRead,
      waitMilliseconds: Parameters(request.query).map(timeoutMilliseconds)
        ?? limits.waitMilliseconds,
      fields: fields, answerBytesMax: errand.isRead ? StreamedRelay.keptBytesMax : nil,
      on: eventLoop
    ).assumeIsolated().whenComplete { result in
      watch.next?.cancel()
      guard !watch.isDone, lane.isOpen else { return }
      watch.isDone = true
      self.passed(lane, errand, target, result)
    }
    return .later
  }

  /// A request that waits for a node.
  private final class SilenceWatch {
    var isDone = false
    var next: Scheduled<Void>?
  }

  /// Looks, as long as a node is silent, whether another one leads in its place by now.
  private func look(
    at target: NodeAddress, _ watch: SilenceWatch, _ lane: StandardLane, _ errand: Errand
  ) {
    watch.next = eventLoop.assumeIsolated().scheduleTask(
      in: .milliseconds(limits.silenceMilliseconds)
    ) {
      self.findLeader(errand.shard, hint: nil, instead: target) { leader in
        guard !watch.isDone, lane.isOpen else { return }
        // What has been written there is not known.
        guard let leader, leader != target, errand.isRead else {
          return self.look(at: target, watch, lane, errand)
        }
        watch.isDone = true
        lane.deliver(self.passOn(lane, errand.again))
      }
    }
  }

  private func passed(
    _ lane: StandardLane, _ errand: Errand, _ target: NodeAddress,
    _ result: Result<KVResponse, any Error>
  ) {
    switch result {
    case .success(let answer):
      guard isMisdirection(answer.status, isRead: errand.isRead) else {
        return lane.deliver(.forwarded(answer))
      }
      let hint = answer.headers.first(name: Errand.leaderField)
      goElsewhere(lane, errand, target, hint: hint, KVClientError.notLeading(target))
    case .failure(let error) where errand.isRead && error.isTooLarge:
      guard let request = lane.request,
        let relay = StreamedRelay(request, of: lane, errand, to: target)
      else { return lane.deliver(.now(noRoomForAnswer())) }
      lane.begin(relay)
    case .failure(let error):
      metrics.forwardFailures.increment()
      node.cluster?.noteFailure(of: target, in: errand.shard)
      guard !error.isTimeout, errand.isRead || result.isNothingDone else {
        return lane.deliver(.now(unreachable(target, error, isRead: errand.isRead)))
      }
      goElsewhere(lane, errand, target, hint: nil, error)
    }
  }

  /// Tries whoever leads the shard now.
  private func goElsewhere(
    _ lane: StandardLane, _ errand: Errand, _ target: NodeAddress, hint: String?,
    _ error: any Error
  ) {
    let next = errand.again
    findLeader(errand.shard, hint: hint, instead: target) { leader in
      guard lane.isOpen else { return }
      guard leader != nil, next.attempts < Errand.attemptsMax else {
        return lane.deliver(.now(self.unreachable(target, error, isRead: errand.isRead)))
      }
      lane.deliver(self.passOn(lane, next))
    }
  }

  /// Calls `action` with who leads a shard.
  ///
  /// - Parameters:
  ///   - hint: who does, as somebody says who does not.
  ///   - failed: that could not be had, or takes long. Where it is not the leader nobody has to be asked.
  func findLeader(
    _ shard: Int, hint: String?, instead failed: NodeAddress?,
    _ action: @escaping (NodeAddress?) -> Void
  ) {
    guard let search = node.leaderSearch, let cluster = node.cluster else { return action(nil) }
    let known = cluster.leader(of: shard)
    guard failed == nil || failed == known else { return action(known) }
    if let leader = hint.flatMap({ try? NodeAddress(parsing: $0) }),
      leader != cluster.leader(of: shard), cluster.nodes(of: shard).contains(leader)
    {
      cluster.note(leader: leader, nil, of: shard)
      return action(leader)
    }
    search.find(shard, on: eventLoop).assumeIsolated().whenSuccess(action)
  }

  /// What a read is told that only the leader is to answer, by a node that does not lead; nil where this
  /// one does.
  func misdirected(_ lane: StandardLane) -> Handling? {
    guard lane.isForLeader, !node.isLeading else { return nil }
    writeError("this node does not lead the shard")
    return .fields(Answer(.misdirected, .json), leaderFields)
  }

  private var leaderFields: [(name: String, value: String)] {
    let leader = node.following?.leader ?? node.configuration.leaderAddress
    return leader.map { [(name: Errand.leaderField, value: $0)] } ?? []
  }
}

extension LoopState {
  /// What hands a write on whose body is large before it is there; nil where it is answered once it is.
  ///
  /// - Parameter bytes: as many as the body is known to have.
  func streamedWrite(
    _ request: StandardRequest, bytes: Int, of lane: StandardLane
  ) -> StreamedRelay? {
    guard bytes > StreamedRelay.keptBytesMax,
      let shard = keyPut(by: request).flatMap({ key in key.withUnsafeBytes { foreignShard($0) } }),
      let cluster = node.cluster, node.configuration.routing == .proxy, !isDraining,
      isDividedAlike(request), Forwarder.hops(of: request) < Forwarder.hopsMax
    else { return nil }
    return StreamedRelay(
      request, of: lane, Errand(shard: shard, isRead: false, isForLeader: false),
      to: cluster.reader(of: shard, .leader))
  }

  /// What a write is answered before its body is there, whose client waits to be asked for that; nil where it is
  /// to be sent.
  func refusalBeforeBody(of request: StandardRequest) -> Handling? {
    if let handling = dividedOtherwise(request) { return handling }
    guard node.merged == nil, !node.isLeading, !holdsWrites,
      node.configuration.routing == .proxy || Forwarder.hops(of: request) > 0,
      let key = keyPut(by: request), key.withUnsafeBytes({ foreignShard($0) }) == nil
    else { return nil }
    return .fields(refusal(.restPut, .forbidden, "read-only mode"), leaderFields)
  }

  private func isDividedAlike(_ request: StandardRequest) -> Bool {
    request.headers[Errand.shardsField].allSatisfy { $0 == node.shardsText }
  }
}

extension StandardLane {
  /// Whether only the shard's leader is to answer.
  var isForLeader: Bool {
    request?.headers[Errand.sourceField].contains { $0.lowercased() == "leader" } ?? false
  }
}

extension NodeState {
  /// How keys are divided, as far as this node knows: who has it otherwise has keys elsewhere.
  var shardsText: String { "\(shardCount) \(configuration.hash.name)" }
}

extension LoopState {
  /// What is answered to a request of a node that divides the keys otherwise; nil to any other one.
  func dividedOtherwise(_ request: StandardRequest) -> Handling? {
    guard let told = request.headers[Errand.shardsField].first(where: { $0 != node.shardsText })
    else { return nil }
    let from = request.headers[Forwarder.hopsField].last ?? "somebody"
    writeError(
      "\(from) divides the keys by \(told), and \(node.address) by \(node.shardsText): all nodes need the same configuration; nothing was done"
    )
    return .now(Answer(.conflict, .json))
  }
}

/// Whether a status says that somebody else is to be asked.
func isMisdirection(_ status: Int, isRead: Bool) -> Bool {
  status == 421 || status == 307 || status == 403 && !isRead
}

extension KVClientError {
  /// A node that was asked as the leader of its shard, and is not.
  static func notLeading(_ node: NodeAddress) -> KVClientError {
    .neverSent(node, .system("it does not lead its shard, and nobody says that it does"))
  }
}

extension Error {
  /// Whether the answer has more bytes than were to come at once.
  fileprivate var isTooLarge: Bool {
    if case .outcomeUnknown(_, .answerTooLarge, _) = self as? KVClientError { true } else { false }
  }

  /// Whether the time that there was for the request is over.
  fileprivate var isTimeout: Bool {
    switch self as? KVClientError {
    case .outcomeUnknown(_, .timedOut, _), .neverSent(_, .timedOut): true
    default: false
    }
  }
}

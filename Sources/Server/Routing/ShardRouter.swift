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
  /// Nodes that are tried.
  static let attemptsMax = 3
  /// Whoever has not answered by then is asked whether it leads at all.
  static let patience = TimeAmount.seconds(1)

  let shard: Int
  let isRead: Bool
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
    return isRead ? nil : ledElsewhere(lane)
  }

  /// The same for a request for another shard.
  func elsewhere(_ shard: Int, _ lane: StandardLane, isRead: Bool) -> Handling? {
    guard let cluster = node.cluster else { return nil }
    guard node.configuration.routing == .proxy else {
      return redirect(lane, to: cluster.reader(of: shard, source(isRead: isRead)))
    }
    return passOn(lane, Errand(shard: shard, isRead: isRead))
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
    let source = errand.attempts == 0 ? source(isRead: errand.isRead) : .leader
    let target = cluster.reader(of: errand.shard, source)
    let fields =
      errand.isRead && node.configuration.readFrom == .leader
      ? [(name: Errand.sourceField, value: "leader")] : []
    metrics.forwarded.increment()
    var isDone = false
    let watch = eventLoop.assumeIsolated().scheduleTask(in: Errand.patience) {
      self.findLeader(errand.shard, hint: nil) { leader in
        // Who is silent may have been replaced. What has been written there is not known.
        guard let leader, leader != target, errand.isRead, !isDone, lane.isOpen else { return }
        isDone = true
        lane.deliver(self.passOn(lane, errand.again))
      }
    }
    node.forwarder.forward(
      request, to: target, isRead: errand.isRead,
      waitMilliseconds: Parameters(request.query).map(timeoutMilliseconds)
        ?? limits.waitMilliseconds,
      fields: fields, on: eventLoop
    ).assumeIsolated().whenComplete { result in
      watch.cancel()
      guard !isDone, lane.isOpen else { return }
      isDone = true
      self.passed(lane, errand, target, result)
    }
    return .later
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
    findLeader(errand.shard, hint: hint) { leader in
      guard lane.isOpen else { return }
      guard leader != nil, next.attempts < Errand.attemptsMax else {
        return lane.deliver(.now(self.unreachable(target, error, isRead: errand.isRead)))
      }
      lane.deliver(self.passOn(lane, next))
    }
  }

  /// Calls `action` with who leads a shard.
  ///
  /// - Parameter hint: who does, as somebody says who does not.
  func findLeader(_ shard: Int, hint: String?, _ action: @escaping (NodeAddress?) -> Void) {
    guard let search = node.leaderSearch, let cluster = node.cluster else { return action(nil) }
    if let leader = hint.flatMap({ try? NodeAddress(parsing: $0) }),
      leader != cluster.leader(of: shard), cluster.nodes(of: shard).contains(leader)
    {
      cluster.note(leader: leader, epoch: nil, of: shard)
      return action(leader)
    }
    search.find(shard, on: eventLoop).assumeIsolated().whenSuccess(action)
  }

  /// What a read is told that only the leader is to answer, by a node that does not lead; nil where this
  /// one does.
  func misdirected(_ lane: StandardLane) -> Handling? {
    guard lane.request?.headers.first(name: Errand.sourceField)?.lowercased() == "leader",
      !node.isLeading
    else { return nil }
    writeError("this node does not lead the shard")
    let leader = node.following?.leader ?? node.configuration.leaderAddress
    return .fields(
      Answer(.misdirected, .json),
      leader.map { [(name: Errand.leaderField, value: $0)] } ?? [])
  }
}

/// Whether a status says that somebody else is to be asked.
func isMisdirection(_ status: Int, isRead: Bool) -> Bool {
  status == 421 || status == 403 && !isRead
}

extension KVClientError {
  /// A node that was asked as the leader of its shard, and is not.
  static func notLeading(_ node: NodeAddress) -> KVClientError {
    .neverSent(node, .system("it does not lead its shard, and nobody says that it does"))
  }
}

extension Error {
  /// Whether the time that there was for the request is over.
  fileprivate var isTimeout: Bool {
    switch self as? KVClientError {
    case .outcomeUnknown(_, .timedOut, _), .neverSent(_, .timedOut): true
    default: false
    }
  }
}

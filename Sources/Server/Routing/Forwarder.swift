import Client
import NIOCore
import NIOHTTP1

/// Hands requests that another node is to answer on to it, over connections that are kept open.
///
/// Method, target, headers and body go as they came. `X-KV-Forwarded-By` names every node that a request
/// has come through, which bounds how many these are.
final class Forwarder: Sendable {
  /// Nodes that hand a request on, at most.
  static let hopsMax = 3
  static let hopsField = "X-KV-Forwarded-By"
  static let retryPause = TimeAmount.milliseconds(20)
  /// What an answer takes on top of what its request waits for.
  static let answerMilliseconds: Int64 = 5_000

  /// This node.
  private let address: String
  let pool: KVPool
  /// For what this node asks by itself: no client's requests are in its way.
  let ownPool: KVPool

  /// - Parameter linkDelay: what anything takes on its way to another node, or from there; for tests.
  init(address: String, linkDelay: TimeAmount = .zero) {
    self.address = address
    pool = .ofNode(connectionsPerNodeMax: 64, linkDelay)
    ownPool = .ofNode(connectionsPerNodeMax: 8, linkDelay)
  }

  /// Ends what is under way where that comes to an end in time; the rest ends by its own deadlines.
  func close(within seconds: Int) async {
    let closed = [pool.close(), ownPool.close()]
    let (over, signal) = AsyncStream<Void>.makeStream()
    EventLoopFuture.andAllComplete(closed, on: closed[0].eventLoop).whenComplete { _ in
      signal.finish()
    }
    let timer = closed[0].eventLoop.scheduleTask(in: .seconds(Int64(seconds))) { signal.finish() }
    for await _ in over {}
    timer.cancel()
  }

  /// The nodes that a request has come through.
  static func hops(of request: StandardRequest) -> Int {
    request.headers[hopsField].reduce(0) { $0 + $1.split(separator: ",").count }
  }

  /// Sends a request to another node.
  ///
  /// - Parameters:
  ///   - isRead: it changes nothing.
  ///   - waitMilliseconds: for so long that node may wait before it answers.
  ///   - fields: what its head says on top.
  ///   - answerBytesMax: a larger answer fails it, as soon as its head is there.
  func forward(
    _ request: StandardRequest, to node: NodeAddress, isRead: Bool, waitMilliseconds: UInt64,
    fields: [(name: String, value: String)] = [], answerBytesMax: Int? = nil,
    on eventLoop: any EventLoop
  ) -> EventLoopFuture<KVResponse> {
    var target = String(decoding: request.path, as: UTF8.self)
    if !request.query.isEmpty { target += "?" + String(decoding: request.query, as: UTF8.self) }
    let time = Int64(clamping: waitMilliseconds) + Self.answerMilliseconds
    return pool.execute(
      // A GET of `/set` is none that may be done twice.
      KVRequest(
        request.method, target, headers: headers(for: request, adding: fields), body: request.body,
        isIdempotent: isRead, answerBytesMax: answerBytesMax),
      on: node,
      deadline: .now() + .milliseconds(time), eventLoop: eventLoop)
  }

  /// What the head of a request says that is handed on.
  ///
  /// - Parameter fields: on top of what the client has said.
  func headers(
    for request: StandardRequest, adding fields: [(name: String, value: String)]
  ) -> HTTPHeaders {
    var headers = KVRequest.endToEnd(request.headers)
    headers.add(name: Self.hopsField, value: address)
    for field in fields { headers.replaceOrAdd(name: field.name, value: field.value) }
    return headers
  }

  /// The headers of the other node's answer, as this one gives them to its client.
  ///
  /// - Parameter bodyBytes: what follows.
  func headers(of answer: KVResponse, bodyBytes: Int, isHead: Bool) -> HTTPHeaders {
    var headers = KVRequest.endToEnd(answer.headers)
    headers.remove(name: Self.hopsField)
    let status = Int(answer.status)
    if isHead {
      // Of what is not sent.
      for length in answer.headers["Content-Length"] {
        headers.add(name: "Content-Length", value: length)
      }
    } else if status >= 200, status != 204, status != 304 {
      headers.add(name: "Content-Length", value: String(bodyBytes))
    }
    headers.add(name: Self.hopsField, value: address)
    return headers
  }
}

extension LoopState {
  /// Hands the request of a lane on to another node.
  ///
  /// - Parameter retryUntil: what that node does not do yet it is asked for again until then.
  func forward(
    _ lane: StandardLane, to node: NodeAddress, isRead: Bool, waitMilliseconds: UInt64,
    fields: [(name: String, value: String)] = [], retryUntil: NIODeadline = .now()
  ) -> Handling {
    guard let request = lane.request else { preconditionFailure("a lane that answers nothing") }
    guard Forwarder.hops(of: request) < Forwarder.hopsMax else { return .now(loopDetected()) }
    self.node.forwarder.forward(
      request, to: node, isRead: isRead, waitMilliseconds: waitMilliseconds, fields: fields,
      on: eventLoop
    ).assumeIsolated().whenComplete { result in
      guard lane.isOpen else { return }
      if result.isNothingDone, !self.isDraining, .now() + Forwarder.retryPause < retryUntil {
        self.eventLoop.assumeIsolated().scheduleTask(in: Forwarder.retryPause) {
          guard lane.isOpen else { return }
          lane.deliver(
            self.forward(
              lane, to: node, isRead: isRead, waitMilliseconds: waitMilliseconds,
              fields: fields, retryUntil: retryUntil))
        }
        return
      }
      switch result {
      case .success(let answer): lane.deliver(.forwarded(answer))
      case .failure(let error): lane.deliver(.now(self.unreachable(node, error, isRead: isRead)))
      }
    }
    return .later
  }

  func loopDetected() -> Answer {
    writeError(
      "this request has come through \(Forwarder.hopsMax) nodes: do all of them have the same configuration?"
    )
    return Answer(.loopDetected, .json)
  }

  /// Why a request has no answer, which another node was to give.
  func unreachable(
    _ node: NodeAddress, _ error: any Error, isRead: Bool
  ) -> Answer {
    let isUnsent = (error as? KVClientError).map { !$0.mayHaveBeenSent } ?? false
    let outcome = isUnsent ? ": nothing was done" : isRead ? "" : ": outcome unknown"
    writeError("\(node) cannot be reached\(outcome). \(error)")
    return Answer(.badGateway, .json)
  }
}

extension Result<KVResponse, any Error> {
  /// Whether it is certain that the request has changed nothing, and may be made again.
  var isNothingDone: Bool {
    switch self {
    case .success(let answer): answer.status == 503
    case .failure(let error): (error as? KVClientError).map { !$0.mayHaveBeenSent } ?? false
    }
  }
}

import NIOHTTP1

/// Everything that can go wrong between a client and a node.
public enum KVClientError: Error, Equatable, Sendable {
  /// A text that is no address, and what is wrong with it.
  case badAddress(String, String)
  /// What cannot be sent at all.
  case badRequest(String)
  /// Nothing of the request left this process: the same can be sent again.
  case neverSent(NodeAddress, FailureCause)
  /// The request was sent, at least in part, and what came of it is not known.
  case outcomeUnknown(NodeAddress, FailureCause, HTTPMethod)
  /// The node answered that it was not done as asked: its status, and its own words. A 502 or 504 to
  /// a write says that something may have been written.
  case refused(NodeAddress, status: Int, message: String)
  /// An answer that a node does not give.
  case unexpectedAnswer(NodeAddress, String)
  /// One redirection led to the next. The address is of the node that was one too many.
  case tooManyRedirections(NodeAddress, max: Int)
  /// None of a shard's nodes leads it: its name, and what they say. Nothing was done.
  case noLeader(shard: String, String)

  /// False when it is certain that no node has seen the request.
  public var mayHaveBeenSent: Bool {
    switch self {
    case .badAddress, .badRequest, .neverSent: false
    case .outcomeUnknown, .refused, .unexpectedAnswer, .tooManyRedirections, .noLeader: true
    }
  }

  /// Whether a write was not done because its condition does not hold.
  public var isUnmetCondition: Bool {
    if case .refused(_, 412, _) = self { true } else { false }
  }

  /// Whether it is certain that the request has changed nothing: then the same can be sent again. False
  /// where that is not known, and where something was written.
  public var nothingWasDone: Bool {
    switch self {
    case .badAddress, .badRequest, .neverSent, .tooManyRedirections, .noLeader: true
    case .outcomeUnknown(_, _, let method): method.isRead
    case .refused(_, 502, let message): message.contains("nothing was done")
    case .refused(_, let status, _):
      (400..<500).contains(status) || [503, 507, 508].contains(status)
    case .unexpectedAnswer: false
    }
  }
}

extension KVClientError: CustomStringConvertible {
  public var description: String {
    switch self {
    case .badAddress(let text, let problem):
      "bad address \(text.debugDescription): \(problem)"
    case .badRequest(let problem):
      "cannot be sent: \(problem)"
    case .neverSent(let address, let cause):
      "\(address): \(cause): \(Self.advice(for: cause))"
    case .outcomeUnknown(let address, let cause, let method) where method.isRead:
      "\(address): \(cause): \(Self.advice(for: cause))"
    case .outcomeUnknown(let address, let cause, let method):
      "\(address): \(cause): the \(method.rawValue) was sent and may have been carried out: "
        + "read the key before you try again"
    case .refused(let address, let status, let message):
      "\(address): \(status) \(HTTPResponseStatus(statusCode: status).reasonPhrase): "
        + (message.isEmpty ? "" : "\(message): ") + Self.advice(for: status)
    case .unexpectedAnswer(let address, let problem):
      "\(address): \(problem): is this a node of Shiplog?"
    case .tooManyRedirections(let address, let max):
      "\(address): redirected more than \(max) times: do all nodes have the same configuration?"
    case .noLeader(let shard, let reason):
      "no node leads shard \(shard.debugDescription): \(reason): start the leader, or promote a replica"
    }
  }

  private static func advice(for cause: FailureCause) -> String {
    switch cause {
    case .connectionRefused: "is the node running?"
    case .unknownHost: "check the address"
    case .system: "check the address and the network"
    case .timedOut(.connecting): "is the node running, and can it be reached?"
    case .timedOut(.freeConnection), .tooManyWaiting: "the node is slow or overloaded: try later"
    case .timedOut(.answer): "the node is slow or overloaded: allow more time"
    case .connectionClosed: "the node may have been stopped: try again"
    case .malformedAnswer: "is this a node of Shiplog?"
    case .answerTooLarge: "ask for less"
    case .connectionInUse, .poolClosed: "use another"
    case .cancelled: "nothing is known to be wrong with the node"
    }
  }

  private static func advice(for status: Int) -> String {
    switch status {
    case 300: "write the key again to resolve its concurrent versions"
    case 400: "the request is wrong"
    case 403: "this node only reads: ask the leader of the shard"
    case 412: "the condition does not hold: read the key again"
    case 413, 414, 431: "send less"
    case 421: "this node does not lead the shard: ask the leader"
    case 502: "a node that has the key cannot be reached: check the cluster"
    case 503: "nothing was done: try again later"
    case 504: "written, but not confirmed by enough nodes: check the replicas"
    case 507: "nothing was written: make room on the node"
    case 508: "do all nodes have the same configuration?"
    default: "see the node's log"
    }
  }
}

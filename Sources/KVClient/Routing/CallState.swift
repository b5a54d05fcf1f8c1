import Client
import NIOCore

/// One call on its way from attempt to attempt: what it has tried, and whether it goes on. Takes what an
/// attempt has come to; does nothing itself.
///
/// Ends: by an answer, by its deadline, or behind `attemptsMax` attempts.
package struct CallState: Sendable {
  /// What is next.
  package enum Step: Equatable, Sendable {
    /// The caller gets what the attempt has come to.
    case deliver
    case goOn
    case pause(TimeAmount)
    case fail(KVClientError)
  }

  package static let attemptsMax = 20
  /// What a read that could be made elsewhere gets at least.
  package static let attemptLeast = TimeAmount.milliseconds(250)

  package let deadline: NIODeadline
  /// Of the call; a read of a session turns to the leader where a replica is behind.
  package private(set) var use: RoutingState.Use
  /// Nodes that were asked in vain.
  package private(set) var tried: [NodeAddress] = []
  /// Where the last answer has sent the request to.
  package private(set) var redirection: Redirection?
  /// The first seed was not enough: the configuration is to be known.
  package private(set) var needsRoutes = false
  /// The last node that did not lead.
  package private(set) var refusing: NodeAddress?

  private let retries: Bool
  private let mayRepeat: Bool
  private let hasSession: Bool
  private var redirections = 0
  private var failures = 0
  private var backoff = Backoff()
  /// The first attempt that may have been done: no later failure says that nothing was.
  private var unknown: KVClientError?
  private var last: KVClientError?

  package init(
    deadline: NIODeadline, use: RoutingState.Use, mayRepeat: Bool, retries: Bool = true,
    hasSession: Bool = false
  ) {
    self.deadline = deadline
    self.use = use
    self.mayRepeat = mayRepeat
    self.retries = retries
    self.hasSession = hasSession
  }

  /// Until when the next attempt may take. A read leaves time for another node.
  package func attemptDeadline(_ now: NIODeadline, nodes: Int) -> NIODeadline {
    guard use.isRead, nodes > 1, now < deadline else { return deadline }
    let half = TimeAmount.nanoseconds((deadline - now).nanoseconds / 2)
    return min(deadline, now + max(half, Self.attemptLeast))
  }

  /// A node has answered.
  ///
  /// - Parameters:
  ///   - nodes: how many its shard has, as far as that is known.
  ///   - isLeaderless: whether any of them takes any request.
  ///   - random: from 0 to 1.
  package mutating func answered(
    _ answer: KVResponse, by node: NodeAddress, nodes: Int, isLeaderless: Bool = false,
    _ now: NIODeadline, random: Double
  ) -> Step {
    redirection = nil
    var verdict = Verdict(answer, isRead: use.isRead, mayRepeat: mayRepeat)
    if !isLeaderless, turnsToLeader(answer, verdict) { verdict = .leader(nil) }
    let error = KeyExchange.refusal(answer, node)
    switch verdict {
    case .final, .unreachable: return .deliver
    case .redirected: return follow(answer, from: node)
    case .leader:
      refusing = node
      return goOn(behind: error, isStuck: false, now, random)
    case .later(let seconds):
      guard retries else { return .deliver }
      tried.append(node)
      return goOn(
        behind: error, isStuck: isLeaderless ? Set(tried).count >= nodes : !hasOthers(nodes), now,
        random, most: .seconds(seconds))
    case .again:
      guard retries else { return .deliver }
      if !use.isRead { unknown = unknown ?? error }
      tried.append(node)
      return goOn(behind: error, isStuck: nodes < 2, now, random)
    }
  }

  /// A node has not answered.
  package mutating func failed(
    _ error: KVClientError, at node: NodeAddress, nodes: Int, _ now: NIODeadline, random: Double
  ) -> Step {
    redirection = nil
    let verdict = Verdict(error, mayRepeat: mayRepeat)
    guard retries, verdict == .unreachable || verdict == .again else {
      return unknown.map { .fail($0) } ?? .deliver
    }
    if verdict == .again, !use.isRead { unknown = unknown ?? error }
    tried.append(node)
    return goOn(behind: error, isStuck: nodes < 2, now, random)
  }

  /// There is no node to ask: the configuration cannot be read, or nobody leads.
  package mutating func lost(
    _ error: KVClientError, _ now: NIODeadline, random: Double
  ) -> Step {
    guard retries, Verdict(error, mayRepeat: true) != .final || error.isWorthWaiting else {
      return .fail(unknown ?? error)
    }
    // When the time ends within the search, what was found before says more.
    if case .neverSent(_, .timedOut) = error, let last {
      return goOn(behind: last, isStuck: true, now, random)
    }
    return goOn(behind: error, isStuck: true, now, random)
  }

  /// The call ends from outside: its task was cancelled, or its time is over.
  package func end(_ error: KVClientError) -> KVClientError { unknown ?? error }

  /// A version that is not at a replica yet, or is not of the history that it knows so far, may be at the leader.
  private mutating func turnsToLeader(_ answer: KVResponse, _ verdict: Verdict) -> Bool {
    guard hasSession, case .read(let source) = use, source != .leader else { return false }
    guard answer.status == 412 || answer.status == 503 else { return false }
    use = .read(.leader)
    return true
  }

  private func hasOthers(_ nodes: Int) -> Bool {
    guard case .read(let source) = use, source != .leader else { return false }
    return Set(tried).count < nodes
  }

  private mutating func follow(_ answer: KVResponse, from node: NodeAddress) -> Step {
    redirections += 1
    guard redirections <= NodeClient.redirectionsMax else {
      return .fail(unknown ?? .tooManyRedirections(node, max: NodeClient.redirectionsMax))
    }
    guard let redirection = Redirection(answer, from: node) else {
      return .fail(unknown ?? .unexpectedAnswer(node, Redirection.isUnusable))
    }
    self.redirection = redirection
    return .goOn
  }

  /// - Parameters:
  ///   - isStuck: whether the same nodes are asked again.
  ///   - most: the longest pause.
  private mutating func goOn(
    behind error: KVClientError, isStuck: Bool, _ now: NIODeadline, _ random: Double,
    most: TimeAmount = Backoff.most
  ) -> Step {
    needsRoutes = true
    last = error
    failures += 1
    guard failures < Self.attemptsMax, now < deadline else { return .fail(unknown ?? error) }
    guard isStuck || failures > 1 else { return .goOn }
    let pause = backoff.pause(random: random, most: most)
    guard now + pause < deadline else { return .fail(unknown ?? error) }
    return .pause(pause)
  }
}

extension KVClientError {
  /// Nobody leads, or a node is starting: that may pass.
  fileprivate var isWorthWaiting: Bool {
    switch self {
    case .noLeader, .refused(_, 503, _): true
    default: false
    }
  }
}

import Client

/// What an attempt has come to, and so what is to be done next: the rules of repeating, without the doing.
///
/// What nobody has done is asked for again. What somebody may have done is only when twice is as good as
/// once (`mayRepeat`).
package enum Verdict: Hashable, Sendable {
  /// The caller gets it, whatever it is.
  case final
  /// Nothing was done: that node leads the shard, or it is to be found out who does.
  case leader(NodeAddress?)
  /// Nothing was done: the answer says who is to be asked.
  case redirected
  /// Nothing was done, because the node cannot now: it asks for a pause of so many seconds.
  case later(seconds: Int64)
  /// Nothing was done, because the node cannot be reached.
  case unreachable
  /// It may have been done, and may be done again.
  case again

  private static let pauseSecondsMax: Int64 = 5

  /// - Parameters:
  ///   - isRead: whether the request changes nothing.
  ///   - mayRepeat: whether it may be done twice.
  package init(_ answer: KVResponse, isRead: Bool, mayRepeat: Bool) {
    switch answer.status {
    case 307: self = .redirected
    case 403 where !isRead: self = .leader(nil)
    case 421:
      self = .leader(answer.headers.first(name: "X-KV-Leader").flatMap(NodeAddress.parsed))
    case 503:
      let asked = answer.headers.first(name: "Retry-After").flatMap { Int64($0) } ?? 1
      self = .later(seconds: min(max(asked, 0), Self.pauseSecondsMax))
    case 508: self = .later(seconds: 1)
    case 502:
      let isUndone = isRead || RefusalText.text(answer.body).contains("nothing was done")
      self = isUndone ? .later(seconds: 1) : mayRepeat ? .again : .final
    case 500: self = isRead ? .again : .final
    default: self = .final
    }
  }

  package init(_ error: KVClientError, mayRepeat: Bool) {
    switch error {
    case .neverSent(_, let cause), .outcomeUnknown(_, let cause, _):
      switch cause {
      // Of this process, not of the node.
      case .cancelled, .poolClosed, .connectionInUse, .tooManyWaiting, .timedOut(.freeConnection):
        self = .final
      // As large from every node.
      case .answerTooLarge: self = .final
      default:
        if case .neverSent = error {
          self = .unreachable
        } else {
          self = mayRepeat ? .again : .final
        }
      }
    default: self = .final
    }
  }
}

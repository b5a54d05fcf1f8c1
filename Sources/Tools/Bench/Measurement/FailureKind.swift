/// Why an operation came to nothing.
package enum FailureKind: Hashable, Sendable, Comparable {
  /// Its connection could not be made.
  case connect
  /// Its connection was closed before the answer was there: the outcome is unknown.
  case lost
  /// No answer within the time-out: the outcome is unknown.
  case timeout
  /// What came is no HTTP answer.
  case malformed
  /// An answer without the version by which staleness is judged.
  case unversioned
  case status(Int)

  /// As reports name it.
  package var name: String {
    switch self {
    case .connect: "cannot connect"
    case .lost: "connection lost"
    case .timeout: "timed out"
    case .malformed: "malformed answer"
    case .unversioned: "answer without a version"
    case .status(let code): "status \(code)"
    }
  }
}

import NIOCore
import NIOHTTP1
import NIOPosix

/// Why a request has no answer.
public enum FailureCause: Hashable, Sendable {
  case connectionRefused
  case unknownHost
  /// The operating system's words.
  case system(String)
  case timedOut(Stage)
  /// By the other side.
  case connectionClosed
  case malformedAnswer(String)
  case answerTooLarge(bytesMax: Int)
  /// The bound of requests that may wait for a connection.
  case tooManyWaiting(max: Int)
  /// The connection has another request under way.
  case connectionInUse
  case poolClosed
  /// The task that asked was cancelled.
  case cancelled

  /// What a request was waiting for when its time was over.
  public enum Stage: Hashable, Sendable {
    case freeConnection, connecting, answer
  }
}

extension FailureCause: CustomStringConvertible {
  public var description: String {
    switch self {
    case .connectionRefused: "connection refused"
    case .unknownHost: "unknown host"
    case .system(let text): text
    case .timedOut(.freeConnection): "no connection became free in time"
    case .timedOut(.connecting): "no connection in time"
    case .timedOut(.answer): "no answer in time"
    case .connectionClosed: "the connection was closed before the whole answer was there"
    case .malformedAnswer(let problem): "malformed answer (\(problem))"
    case .answerTooLarge(let bytesMax): "the answer has more than \(bytesMax) bytes"
    case .tooManyWaiting(let max): "\(max) requests wait for a connection already"
    case .connectionInUse: "the connection has another request under way"
    case .poolClosed: "the client was closed"
    case .cancelled: "the call was cancelled"
    }
  }
}

extension FailureCause {
  /// An attempt to connect that failed.
  package init(connecting error: any Error) {
    switch error {
    case let error as IOError where error.errnoCode == SystemErrorNumber.connectionRefused:
      self = .connectionRefused
    case is SelfConnection:
      self = .connectionRefused
    case ChannelError.connectTimeout:
      self = .timedOut(.connecting)
    case let error as NIOConnectionError:
      // One for each of the host's addresses; none if its name gave no address.
      if let first = error.connectionErrors.first {
        self.init(connecting: first.error)
      } else {
        self = .unknownHost
      }
    case let error as IOError:
      self = .system(error.description)
    default:
      self = .system("\(error)")
    }
  }

  /// An open connection that failed.
  init(exchanging error: any Error) {
    switch error {
    case HTTPParserError.invalidEOFState:
      self = .connectionClosed
    case let error as IOError where SystemErrorNumber.disconnections.contains(error.errnoCode):
      self = .connectionClosed
    case let error as IOError:
      self = .system(error.description)
    case is ChannelError:
      self = .connectionClosed
    default:
      self = .malformedAnswer("\(error)")
    }
  }
}

/// The few error numbers that are told apart, without a C library.
enum SystemErrorNumber {
  #if os(Linux)
    static let connectionRefused: CInt = 111
    /// EPIPE, ECONNABORTED, ECONNRESET
    static let disconnections: Set<CInt> = [32, 103, 104]
  #else
    static let connectionRefused: CInt = 61
    static let disconnections: Set<CInt> = [32, 53, 54]
  #endif
}

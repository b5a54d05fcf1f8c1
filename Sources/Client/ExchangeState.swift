import NIOCore
import NIOHTTP1

/// How a request over a connection ended.
enum ExchangeOutcome {
  case answered(KVResponse)
  case failed(ExchangeFailure)
}

struct ExchangeFailure {
  var cause: FailureCause
  /// Bytes of the request may have left.
  var wasSent: Bool
  /// Bytes came back.
  var didAnswerBegin: Bool

  static func unsent(_ cause: FailureCause) -> ExchangeFailure {
    ExchangeFailure(cause: cause, wasSent: false, didAnswerBegin: false)
  }
}

/// One request after the other over a connection, without the input and output.
///
/// An exchange that has begun ends with exactly one outcome, from `readCompleted` or from `end`.
struct ExchangeState {
  private enum Phase {
    case idle
    case running(Exchange)
    case ended
  }

  fileprivate struct Exchange {
    var method: HTTPMethod
    var answerBytesMax: Int
    var isRequestWritten = false
    var didAnswerBegin = false
    var answer: KVResponse?
    var isAnswerComplete = false
    /// Neither side wants to close, and nothing came that was not asked for.
    var keepsAlive = true
  }

  private let answerBytesMax: Int
  private var phase = Phase.idle

  init(answerBytesMax: Int) {
    self.answerBytesMax = answerBytesMax
  }

  /// Ready for a request.
  var isIdle: Bool {
    if case .idle = phase { true } else { false }
  }

  /// - Parameter answerBytesMax: where it is not the connection's.
  /// - Returns: why not, or nil: then the request is to be written.
  mutating func begin(_ method: HTTPMethod, answerBytesMax: Int? = nil) -> FailureCause? {
    switch phase {
    case .running: return .connectionInUse
    case .ended: return .connectionClosed
    case .idle:
      phase = .running(
        Exchange(method: method, answerBytesMax: answerBytesMax ?? self.answerBytesMax))
      return nil
    }
  }

  /// All of the request has been taken by the operating system.
  mutating func requestWritten() {
    update { $0.isRequestWritten = true }
  }

  /// Bytes came, which need not make up a part of an answer.
  ///
  /// - Returns: false when nothing was asked: the connection is to be closed.
  mutating func bytesArrived() -> Bool {
    update { $0.didAnswerBegin = true } != nil
  }

  /// - Returns: what is wrong with it: the exchange is to be ended with that.
  mutating func receive(_ part: HTTPClientResponsePart) -> FailureCause? {
    update { exchange in
      guard !exchange.isAnswerComplete else {
        // A second answer must not be taken for the next request's.
        exchange.keepsAlive = false
        return nil
      }
      switch part {
      case .head(let head):
        return exchange.receive(head)
      case .body(let bytes):
        return exchange.receive(bytes)
      case .end:
        exchange.isAnswerComplete = true
        return nil
      }
    } ?? nil
  }

  /// All that has arrived so far was received. Only then is an answer handed out, so that what came
  /// right behind it is seen first.
  ///
  /// - Returns: the answer when it is whole. The connection is to be closed unless it `isIdle` now.
  mutating func readCompleted() -> KVResponse? {
    guard case .running(let exchange) = phase, exchange.isAnswerComplete,
      let answer = exchange.answer
    else { return nil }
    phase = exchange.keepsAlive && exchange.isRequestWritten ? .idle : .ended
    return answer
  }

  /// The connection is at its end, or must be.
  mutating func end(_ cause: FailureCause) -> ExchangeOutcome? {
    defer { phase = .ended }
    guard case .running(let exchange) = phase else { return nil }
    if exchange.isAnswerComplete, let answer = exchange.answer { return .answered(answer) }
    return .failed(
      ExchangeFailure(cause: cause, wasSent: true, didAnswerBegin: exchange.didAnswerBegin))
  }

  @discardableResult
  private mutating func update<R>(_ body: (inout Exchange) -> R) -> R? {
    guard case .running(var exchange) = phase else { return nil }
    // The body's bytes have one owner while they grow.
    phase = .ended
    defer { phase = .running(exchange) }
    return body(&exchange)
  }
}

extension ExchangeState.Exchange {
  fileprivate mutating func receive(_ head: HTTPResponseHead) -> FailureCause? {
    guard head.status.code != 101 else { return .malformedAnswer("another protocol") }
    answer = KVResponse(status: Int(head.status.code), headers: head.headers)
    keepsAlive = keepsAlive && head.isKeepAlive
    if method != .HEAD,
      let length = head.headers.first(name: "Content-Length").flatMap({ Int($0) }),
      length > answerBytesMax
    {
      return .answerTooLarge(bytesMax: answerBytesMax)
    }
    return nil
  }

  fileprivate mutating func receive(_ bytes: ByteBuffer) -> FailureCause? {
    guard let size = answer?.body.readableBytes, size + bytes.readableBytes <= answerBytesMax else {
      return .answerTooLarge(bytesMax: answerBytesMax)
    }
    if size == 0 {
      answer?.body = bytes
    } else {
      answer?.body.writeImmutableBuffer(bytes)
    }
    return nil
  }
}

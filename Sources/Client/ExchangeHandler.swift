import NIOCore
import NIOHTTP1

/// Carries out what `ExchangeState` says, on one connection, behind NIOHTTP1's client handlers.
///
/// Confined to its event loop.
final class ExchangeHandler: ChannelInboundHandler {
  typealias InboundIn = HTTPClientResponsePart
  typealias OutboundOut = HTTPClientRequestPart
  typealias Completion = @Sendable (ExchangeOutcome) -> Void

  private var state: ExchangeState
  private var completion: Completion?
  private var timer: Scheduled<Void>?
  private var context: ChannelHandlerContext?
  /// Of the exchange that is under way.
  private var id: ObjectIdentifier?

  init(answerBytesMax: Int) {
    state = ExchangeState(answerBytesMax: answerBytesMax)
  }

  /// Ready for a request.
  var isIdle: Bool { state.isIdle && context?.channel.isActive == true }

  /// Calls `completion` exactly once, on the event loop.
  ///
  /// - Parameter id: for `cancel`.
  func execute(
    _ head: HTTPRequestHead, body: ByteBuffer, answerBytesMax: Int? = nil, deadline: NIODeadline,
    id: ObjectIdentifier?, completion: @escaping Completion
  ) {
    guard let context, context.channel.isActive else {
      return completion(.failed(.unsent(.connectionClosed)))
    }
    guard deadline > .now() else { return completion(.failed(.unsent(.timedOut(.connecting)))) }
    if let cause = state.begin(head.method, answerBytesMax: answerBytesMax) {
      return completion(.failed(.unsent(cause)))
    }
    self.completion = completion
    self.id = id
    let loop = context.eventLoop.assumeIsolated()
    if deadline < .distantFuture {
      timer = loop.scheduleTask(deadline: deadline) { self.end(.timedOut(.answer)) }
    }
    let written = context.eventLoop.makePromise(of: Void.self)
    written.futureResult.assumeIsolated().whenSuccess { self.state.requestWritten() }
    context.write(wrapOutboundOut(.head(head)), promise: nil)
    if body.readableBytes > 0 {
      context.write(wrapOutboundOut(.body(.byteBuffer(body))), promise: nil)
    }
    context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: written)
  }

  /// Ends that exchange, and the connection, if it is under way.
  func cancel(_ id: ObjectIdentifier) {
    if self.id == id { end(.cancelled) }
  }

  /// Bytes came in, whatever the decoder makes of them.
  func bytesArrived() {
    if !state.bytesArrived() { end(.connectionClosed) }
  }

  func handlerAdded(context: ChannelHandlerContext) {
    self.context = context
  }

  func handlerRemoved(context: ChannelHandlerContext) {
    end(.connectionClosed)
    self.context = nil
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if let cause = state.receive(unwrapInboundIn(data)) { end(cause) }
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    guard let answer = state.readCompleted() else { return }
    if !state.isIdle { context.close(promise: nil) }
    complete(.answered(answer))
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    end(FailureCause(exchanging: error))
  }

  func channelInactive(context: ChannelHandlerContext) {
    end(.connectionClosed)
    context.fireChannelInactive()
  }

  private func end(_ cause: FailureCause) {
    let outcome = state.end(cause)
    context?.close(promise: nil)
    if let outcome { complete(outcome) }
  }

  private func complete(_ outcome: ExchangeOutcome) {
    timer?.cancel()
    timer = nil
    // The next request may begin inside the call.
    let completion = self.completion
    self.completion = nil
    id = nil
    completion?(outcome)
  }
}

/// Sees bytes before they are decoded: half a status line is an answer that has begun.
final class ArrivalHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  private let exchanges: ExchangeHandler

  init(_ exchanges: ExchangeHandler) {
    self.exchanges = exchanges
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    exchanges.bytesArrived()
    context.fireChannelRead(data)
  }
}

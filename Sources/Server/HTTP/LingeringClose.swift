import NIOCore

/// Ends a connection so that the last answer arrives: waits until the system has all of it, says that
/// nothing more will come, then reads and drops what the client still sends, for a while and up to a
/// bound. Closing at once would drop what is not written yet, and make the system answer the client's
/// bytes with a reset, which can overtake the answer (RFC 9112, 9.6).
final class LingeringClose: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private static let bytesMax = 64 << 20

  private let limits: Limits
  private var isInputEnded: Bool
  private var isOutputEnded = false
  private var bytes = 0
  private var timer: Scheduled<Void>?

  private init(limits: Limits, isInputEnded: Bool) {
    self.limits = limits
    self.isInputEnded = isInputEnded
  }

  /// Puts itself in front of everything else and ends the output.
  static func begin(_ context: ChannelHandlerContext, limits: Limits, isInputEnded: Bool) {
    let channel = context.channel
    let handler = LingeringClose(limits: limits, isInputEnded: isInputEnded)
    do {
      try channel.pipeline.syncOperations.addHandler(handler, position: .first)
    } catch {
      return channel.close(promise: nil)
    }
    channel.read()
  }

  func handlerAdded(context: ChannelHandlerContext) {
    closeLater(context, seconds: limits.answerSeconds)
    // Behind everything that has been written.
    let promise = context.eventLoop.makePromise(of: Void.self)
    promise.futureResult.assumeIsolated().whenComplete { _ in self.outputDone(context) }
    context.writeAndFlush(wrapOutboundOut(ByteBuffer()), promise: promise)
  }

  private func outputDone(_ context: ChannelHandlerContext) {
    guard context.channel.isActive else { return }
    isOutputEnded = true
    guard !isInputEnded else { return context.close(promise: nil) }
    closeLater(context, seconds: limits.lingerSeconds)
    context.close(mode: .output, promise: nil)
  }

  private func closeLater(_ context: ChannelHandlerContext, seconds: Int) {
    timer?.cancel()
    let channel = context.channel
    timer = channel.eventLoop.scheduleTask(in: .seconds(Int64(seconds))) {
      channel.close(promise: nil)
    }
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    bytes += unwrapInboundIn(data).readableBytes
    if bytes > Self.bytesMax { context.close(promise: nil) }
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    context.read()
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    if case ChannelEvent.inputClosed = event {
      isInputEnded = true
      if isOutputEnded { context.close(promise: nil) }
    } else {
      context.fireUserInboundEventTriggered(event)
    }
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }

  func channelInactive(context: ChannelHandlerContext) {
    timer?.cancel()
    context.fireChannelInactive()
  }
}

import NIOCore

/// Ends a connection so that the last answer arrives: says that nothing more will come, then reads
/// and drops what the client still sends, for a while and up to a bound. Closing at once would make
/// the system answer those bytes with a reset, which can overtake the answer (RFC 9112, 9.6).
final class LingeringClose: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer

  private static let bytesMax = 64 << 20

  private var bytes = 0
  private var timer: Scheduled<Void>?

  /// Puts itself in front of everything else and ends the output.
  static func begin(_ context: ChannelHandlerContext, loop: LoopState, isInputEnded: Bool) {
    let channel = context.channel
    guard !isInputEnded else { return channel.close(promise: nil) }
    let handler = LingeringClose()
    do {
      try channel.pipeline.syncOperations.addHandler(handler, position: .first)
    } catch {
      return channel.close(promise: nil)
    }
    handler.timer = channel.eventLoop.scheduleTask(
      in: .seconds(Int64(loop.limits.lingerSeconds))
    ) { channel.close(promise: nil) }
    channel.close(mode: .output, promise: nil)
    channel.read()
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
      context.close(promise: nil)
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

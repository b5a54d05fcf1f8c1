import NIOCore

/// The far end of a connection's reads: opened by each that gets through the pipeline.
final class ReadGate: ChannelOutboundHandler {
  typealias OutboundIn = ByteBuffer

  private(set) var isOpen = false

  func close() { isOpen = false }

  func read(context: ChannelHandlerContext) {
    isOpen = true
    context.read()
  }
}

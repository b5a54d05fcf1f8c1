import NIOCore
import NIOPosix

/// A server that says whatever bytes it is told to, request by request.
final class RawPeer: Sendable {
  enum Reaction: Sendable {
    case bytes(String)
    case silence
    case close
    /// What comes, as it comes.
    case pieces(AsyncStream<String>)
  }

  /// Gets a request's head, and which one on its connection it is.
  typealias Script = @Sendable (Int, String) -> Reaction

  private let channel: any Channel

  var address: String { "127.0.0.1:\(channel.localAddress!.port!)" }

  static func with(
    _ script: @escaping Script, _ body: (RawPeer) async throws -> Void
  ) async throws {
    let peer = try await RawPeer(script)
    do {
      try await body(peer)
    } catch {
      try await peer.channel.close()
      throw error
    }
    try await peer.channel.close()
  }

  private init(_ script: @escaping Script) async throws {
    channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(RawPeerHandler(script))
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
  }
}

private final class RawPeerHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let script: RawPeer.Script
  private var received = ""
  private var count = 0

  init(_ script: @escaping RawPeer.Script) { self.script = script }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    received += String(buffer: unwrapInboundIn(data))
    while let end = received.firstRange(of: "\r\n\r\n") {
      let head = String(received[..<end.lowerBound])
      received = String(received[end.upperBound...])
      switch script(count, head) {
      case .bytes(let text):
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
      case .silence: break
      case .close: context.close(promise: nil)
      case .pieces(let pieces):
        let channel = context.channel
        Task {
          for await piece in pieces {
            channel.writeAndFlush(ByteBuffer(string: piece), promise: nil)
          }
        }
      }
      count += 1
    }
  }
}

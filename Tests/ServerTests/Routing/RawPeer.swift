import NIOCore
import NIOPosix
import Synchronization

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
  private let counts: Counts

  /// Of all connections.
  final class Counts: Sendable {
    /// Bytes that came.
    let received = Atomic(0)
    /// Bytes of pieces that the system has taken.
    let sent = Atomic(0)
    /// Connections that are open.
    let open = Atomic(0)
  }

  var receivedBytes: Int { counts.received.load(ordering: .relaxed) }
  var sentBytes: Int { counts.sent.load(ordering: .relaxed) }
  var openConnections: Int { counts.open.load(ordering: .relaxed) }

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
    let counts = Counts()
    self.counts = counts
    channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(RawPeerHandler(script, counts))
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
  }
}

private final class RawPeerHandler: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let script: RawPeer.Script
  private var received = ByteBuffer()
  /// Of these, in which no head ends.
  private var seen = 0
  private var count = 0

  private let counts: RawPeer.Counts

  init(_ script: @escaping RawPeer.Script, _ counts: RawPeer.Counts) {
    self.script = script
    self.counts = counts
  }

  func channelActive(context: ChannelHandlerContext) {
    counts.open.add(1, ordering: .relaxed)
  }

  func channelInactive(context: ChannelHandlerContext) {
    counts.open.subtract(1, ordering: .relaxed)
  }

  /// What stands before the next empty line.
  private func takeHead() -> String? {
    let end = Array("\r\n\r\n".utf8)
    let length = received.withUnsafeReadableBytes { bytes -> Int? in
      guard bytes.count >= end.count else { return nil }
      return (seen...bytes.count - end.count).first {
        bytes[$0] == end[0] && bytes[$0 + 1] == end[1] && bytes[$0 + 2] == end[2]
          && bytes[$0 + 3] == end[3]
      }
    }
    guard let length, let head = received.readString(length: length) else {
      seen = max(0, received.readableBytes - end.count + 1)
      return nil
    }
    seen = 0
    received.moveReaderIndex(forwardBy: end.count)
    return head
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    var bytes = unwrapInboundIn(data)
    counts.received.add(bytes.readableBytes, ordering: .relaxed)
    received.writeBuffer(&bytes)
    while let head = takeHead() {
      switch script(count, head) {
      case .bytes(let text):
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(string: text)), promise: nil)
      case .silence: break
      case .close: context.close(promise: nil)
      case .pieces(let pieces):
        let (channel, counts) = (context.channel, counts)
        Task {
          for await piece in pieces {
            channel.writeAndFlush(ByteBuffer(string: piece)).whenSuccess {
              counts.sent.add(piece.utf8.count, ordering: .relaxed)
            }
          }
        }
      }
      count += 1
    }
  }
}

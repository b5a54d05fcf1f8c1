import Logging
import NIOCore
import NIOPosix
import Synchronization
import WAL

/// The socket that a node listens on, its event loops, and the connections on them.
final class Listener: Sendable {
  private let group: MultiThreadedEventLoopGroup
  private let channel: any Channel
  let entrance: Entrance
  private let isDraining = Atomic(false)

  /// A connection that is not even told why.
  private struct TooManyRefused: Error {}

  /// Connections over the bound that are told so; those above that are closed at once. Descriptors
  /// are what they all take, and the log needs some.
  private static let refusalsMax = 64

  /// Binds and begins to accept. Who connects is told that the node is starting, until `open`.
  ///
  /// - Parameters:
  ///   - progress: what they are told of.
  ///   - onLoss: called when the socket was closed by anything but `drain` and `abandon`: NIO does that
  ///     when the system refuses to hand over a connection for a reason that it does not know.
  /// - Throws: what NIO says about the address.
  static func bind(
    _ configuration: Configuration, progress: StartProgress,
    onLoss: @escaping @Sendable () -> Void
  ) async throws -> Listener {
    let group = MultiThreadedEventLoopGroup(
      numberOfThreads: configuration.threads ?? max(1, System.coreCount - 1))
    do {
      let listener = try await Listener(
        configuration, Entrance(configuration, progress: progress), group)
      listener.channel.closeFuture.whenComplete { _ in
        if !listener.isDraining.load(ordering: .acquiring) { onLoss() }
      }
      return listener
    } catch {
      try await group.shutdownGracefully()
      throw error
    }
  }

  private init(
    _ configuration: Configuration, _ entrance: Entrance, _ group: MultiThreadedEventLoopGroup
  ) async throws {
    channel = try await ServerBootstrap(group: group)
      .serverChannelOption(.backlog, value: 4_096)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .serverChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHandler(
            AcceptGate(openMax: configuration.limits.startingConnectionsMax))
        }
      }
      .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
      .childChannelOption(.allowRemoteHalfClosure, value: true)
      // One read a turn: a second one would only find that there is no more.
      .childChannelOption(.maxMessagesPerRead, value: 1)
      .childChannelOption(
        .recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 16 << 10)
      )
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture { try entrance.admit(channel) }
      }
      .bind(host: configuration.host, port: configuration.port)
      .get()
    self.group = group
    self.entrance = entrance
  }

  /// Lets requests through to a node, on the same socket.
  func open(_ node: NodeState) async throws {
    let loops = group.makeIterator().map { LoopState(eventLoop: $0, node: node) }
    for loop in loops {
      try await loop.eventLoop.submit { loop.start() }.get()
    }
    node.loops = loops
    entrance.open(loops)
    let channel = channel
    try await channel.eventLoop.submit { try AcceptGate.lift(from: channel) }.get()
  }

  /// Has whoever connects be told again that the node has no data, and closes the connections that
  /// there are, those in progress as soon as they are answered.
  func suspend(_ limits: Limits) async throws {
    let channel = channel
    let loops = entrance.loops
    entrance.shut()
    try await channel.eventLoop.submit {
      try channel.pipeline.syncOperations.addHandler(
        AcceptGate(openMax: limits.startingConnectionsMax), position: .first)
    }.get()
    try await end(loops, limits)
    for loop in loops { try await loop.eventLoop.submit { loop.stop() }.get() }
  }

  /// Closes everything, where there never was a node to open it for.
  func abandon() async throws {
    isDraining.store(true, ordering: .releasing)
    for loop in entrance.loops { try await loop.eventLoop.submit { loop.stop() }.get() }
    try await group.shutdownGracefully()
  }

  static func configure(
    _ channel: any Channel, loop: LoopState, usesFastLane: Bool
  ) throws {
    let metrics = loop.metrics
    let open = metrics.connections.add(1, ordering: .relaxed).newValue
    channel.closeFuture.whenComplete { _ in metrics.connections.subtract(1, ordering: .relaxed) }
    let pipeline = channel.pipeline.syncOperations
    guard open <= loop.limits.connectionsMax else {
      metrics.connectionsRefused.increment()
      guard open <= loop.limits.connectionsMax + refusalsMax else { throw TooManyRefused() }
      return try pipeline.addHandler(ConnectionRefusal(loop: loop))
    }
    metrics.connectionsAccepted.increment()
    if usesFastLane {
      try pipeline.addHandler(FastLane(loop: loop))
    } else {
      _ = try StandardLane.add(to: pipeline, loop: loop, after: nil)
    }
  }

  /// Where it listens: of port 0, the port that the system gave.
  var port: Int? { channel.localAddress?.port }

  /// Accepts nothing more, lets what is in progress end, and closes the connections.
  func drain(_ limits: Limits) async throws {
    isDraining.store(true, ordering: .releasing)
    // It may have been closed before, by an error.
    try? await channel.close()
    try await end(entrance.loops, limits)
  }

  private func end(_ loops: [LoopState], _ limits: Limits) async throws {
    for loop in loops { try await loop.eventLoop.submit { loop.drain() }.get() }
    let deadline = NIODeadline.now() + .seconds(Int64(limits.drainSeconds))
    while try await openConnections(loops) > 0, NIODeadline.now() < deadline {
      try await Task.sleep(for: .milliseconds(10))
    }
    for loop in loops { try await loop.eventLoop.submit { loop.abortAll() }.get() }
  }

  private func openConnections(_ loops: [LoopState]) async throws -> Int {
    var open = 0
    for loop in loops {
      open += try await loop.eventLoop.submit { loop.connectionCount }.get()
    }
    return open
  }

  /// Ends the event loops; nothing that they were given may be on its way any more.
  func stop() async throws {
    for loop in entrance.loops { try await loop.eventLoop.submit { loop.stop() }.get() }
    try await group.shutdownGracefully()
  }
}

/// What a connection gets that is one too many.
private final class ConnectionRefusal: ChannelInboundHandler {
  typealias InboundIn = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let loop: LoopState

  init(loop: LoopState) { self.loop = loop }

  func channelActive(context: ChannelHandlerContext) {
    var answer = Answer(.unavailable)
    answer.closes = true
    answer.retryAfterSeconds = 1
    let text: StaticString = "too many connections"
    var buffer = context.channel.allocator.buffer(capacity: 512)
    loop.encoder.writeHead(answer, bodyBytes: text.utf8CodeUnitCount, into: &buffer)
    buffer.writeStaticString(text)
    context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    LingeringClose.begin(context, limits: loop.limits, isInputEnded: false)
  }
}

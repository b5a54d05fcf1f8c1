import Client
import NIOCore
import NIOHTTP1
import NIOPosix
import WAL

/// A request to another node, and its answer as it comes in, for a thread that waits for it.
///
/// Nothing more is read from the connection until what has come is taken, so what is held is bounded.
final class PeerAnswer {
  enum Part: Sendable {
    case head(status: Int)
    case body(ByteBuffer)
    case end
    case failed(String)
  }

  private static let connectSeconds: Int64 = 1
  /// Between two looks at whether the work was called off.
  private static let sliceNanoseconds: UInt64 = 100_000_000

  private let inbox = Inbox()
  private var taken: [Part] = []
  private var next = 0

  init(_ address: NodeAddress, _ target: String) {
    let inbox = inbox
    let bootstrap = ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .connectTimeout(.seconds(Self.connectSeconds))
      .channelOption(.autoRead, value: false)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHTTPClientHandlers()
          try channel.pipeline.syncOperations.addHandler(InboxHandler(inbox))
        }
      }
    bootstrap.connect(host: address.host, port: Int(address.port)).whenComplete {
      switch $0 {
      case .success(let channel):
        var head = HTTPRequestHead(version: .http1_1, method: .GET, uri: target)
        head.headers.add(name: "Host", value: "\(address)")
        head.headers.add(name: "Connection", value: "close")
        inbox.connected(channel)
        channel.write(HTTPClientRequestPart.head(head), promise: nil)
        channel.writeAndFlush(HTTPClientRequestPart.end(nil), promise: nil)
        channel.read()
      case .failure(let error):
        inbox.put(.failed("\(FailureCause(connecting: error))"))
      }
    }
  }

  deinit { inbox.close() }

  /// The next part.
  ///
  /// - Parameter seconds: how long nothing may come.
  /// - Throws: what `check` throws.
  func part(
    within seconds: UInt64, _ check: () throws(WALError) -> Void
  ) throws(WALError) -> Part {
    if next < taken.count {
      defer { next += 1 }
      return taken[next]
    }
    let clock = LogClock.system
    let deadline = clock.monotonicNanoseconds() + seconds * 1_000_000_000
    while true {
      try check()
      let now = clock.monotonicNanoseconds()
      guard now < deadline else { return .failed("it says nothing") }
      if let parts = inbox.take(untilNanoseconds: min(deadline, now + Self.sliceNanoseconds)) {
        taken = parts
        next = 1
        return parts[0]
      }
    }
  }

  /// The whole of a small answer.
  ///
  /// - Returns: nil, and why, when there is none.
  func whole(
    within seconds: UInt64, bytesMax: Int, _ check: () throws(WALError) -> Void
  ) throws(WALError) -> (answer: (status: Int, body: ByteBuffer)?, problem: String) {
    var status = 0
    var body = ByteBuffer()
    while true {
      switch try part(within: seconds, check) {
      case .head(let found): status = found
      case .body(var bytes):
        guard body.readableBytes + bytes.readableBytes <= bytesMax else {
          return (nil, "its answer is too long")
        }
        body.writeBuffer(&bytes)
      case .end: return ((status, body), "")
      case .failed(let reason): return (nil, reason)
      }
    }
  }

  /// What has come and was not taken, between the event loop and the thread that waits.
  private final class Inbox: Sendable {
    private struct State {
      var parts: [Part] = []
      var channel: (any Channel)?
      var isClosed = false
    }

    private let state = Monitor(State())

    func connected(_ channel: any Channel) {
      let isClosed = state.withLock { state in
        state.channel = channel
        return state.isClosed
      }
      if isClosed { channel.close(promise: nil) }
    }

    func put(_ part: Part) { state.signal { $0.parts.append(part) } }

    /// - Returns: nil when nothing comes until then.
    func take(untilNanoseconds deadline: UInt64) -> [Part]? {
      let found = state.wait(untilNanoseconds: deadline) { state -> ([Part], (any Channel)?)? in
        guard !state.parts.isEmpty else { return nil }
        defer { state.parts = [] }
        return (state.parts, state.channel)
      }
      guard let (parts, channel) = found else { return nil }
      channel?.read()
      return parts
    }

    func close() {
      let channel = state.withLock { state in
        state.isClosed = true
        return state.channel
      }
      channel?.close(promise: nil)
    }
  }

  private final class InboxHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPClientResponsePart

    private let inbox: Inbox

    init(_ inbox: Inbox) { self.inbox = inbox }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      switch unwrapInboundIn(data) {
      case .head(let head): inbox.put(.head(status: Int(head.status.code)))
      case .body(let bytes): inbox.put(.body(bytes))
      case .end: inbox.put(.end)
      }
    }

    func channelInactive(context: ChannelHandlerContext) {
      inbox.put(.failed("the connection was closed"))
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
      inbox.put(.failed("\(error)"))
      context.close(promise: nil)
    }
  }
}

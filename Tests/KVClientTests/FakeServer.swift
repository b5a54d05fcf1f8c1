import KVClient
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// A server that answers as it is told to. It has a loopback address of its own, so that nobody else is there
/// when it has gone, and it can come back.
final class FakeServer: Sendable {
  struct Request: Sendable {
    var method: String
    /// Path and query.
    var target: String
    var headers: HTTPHeaders
    var body: String

    var path: String { String(target.prefix { $0 != "?" }) }
    var query: [(name: String, value: String)] {
      target.split(separator: "?").dropFirst().joined().split(separator: "&").map { pair in
        let parts = pair.split(separator: "=", omittingEmptySubsequences: false)
        return (String(parts[0]), parts.count > 1 ? String(parts[1]) : "")
      }
    }
    func value(_ name: String) -> String? { query.first { $0.name == name }?.value }
  }

  struct Answer: Sendable {
    var status = 200
    var headers: [(String, String)] = []
    var body = ""
    /// Nothing is ever said.
    var isSilent = false
    /// The connection is closed in place of an answer.
    var isDrop = false
  }

  typealias Script = @Sendable (Request) -> Answer

  private static let count = Atomic(0)

  private final class Shared: Sendable {
    let script: Script
    let connections = Mutex<[any Channel]>([])
    let requests = Mutex<[Request]>([])

    init(_ script: @escaping Script) { self.script = script }
  }

  let address: NodeAddress
  private let shared: Shared
  private let listener: Mutex<(any Channel)?>

  init(_ script: @escaping Script) async throws {
    let number = Self.count.add(1, ordering: .relaxed).newValue
    let host = "127.98.\(number / 250).\(number % 250 + 1)"
    shared = Shared(script)
    let channel = try await Self.listen(host, 0, shared)
    address = NodeAddress(host: host, port: UInt16(channel.localAddress!.port!))
    listener = Mutex(channel)
  }

  private static func listen(
    _ host: String, _ port: Int, _ shared: Shared
  ) async throws -> any Channel {
    try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          shared.connections.withLock { $0.append(channel) }
          try channel.pipeline.syncOperations.configureHTTPServerPipeline()
          try channel.pipeline.syncOperations.addHandler(Handler(shared))
        }
      }
      .bind(host: host, port: port).get()
  }

  /// All that came, in order.
  var requests: [Request] { shared.requests.withLock { $0 } }

  func count(_ method: String, _ path: String) -> Int {
    requests.count { $0.method == method && $0.path == path }
  }

  /// Connections that are open.
  var openConnections: Int {
    shared.connections.withLock { $0.count { $0.isActive } }
  }

  /// Takes no connection any more, and ends those that there are once the other side has closed them: then no client
  /// takes one of them for open.
  func stop() async throws {
    if let channel = listener.withLock({ listener in
      defer { listener = nil }
      return listener
    }) {
      try await channel.close()
    }
    for channel in shared.connections.withLock({ $0 }) {
      channel.close(mode: .output, promise: nil)
      try await channel.closeFuture.get()
    }
  }

  /// Listens again, at the same address.
  func start() async throws {
    let channel = try await Self.listen(address.host, Int(address.port), shared)
    listener.withLock { $0 = channel }
  }

  private final class Handler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private let shared: Shared
    private var head: HTTPRequestHead?
    private var body = ""

    init(_ shared: Shared) { self.shared = shared }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      switch unwrapInboundIn(data) {
      case .head(let head):
        self.head = head
        body = ""
      case .body(let bytes): body += String(buffer: bytes)
      case .end:
        guard let head else { return }
        let request = Request(
          method: head.method.rawValue, target: head.uri, headers: head.headers, body: body)
        shared.requests.withLock { $0.append(request) }
        let answer = shared.script(request)
        if answer.isSilent { return }
        if answer.isDrop { return context.close(promise: nil) }
        var response = HTTPResponseHead(
          version: .http1_1, status: HTTPResponseStatus(statusCode: answer.status))
        for (name, value) in answer.headers { response.headers.add(name: name, value: value) }
        if answer.status != 204 {
          response.headers.add(name: "Content-Length", value: "\(answer.body.utf8.count)")
        }
        context.write(wrapOutboundOut(.head(response)), promise: nil)
        if answer.status != 204 {
          context.write(
            wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: answer.body)))), promise: nil)
        }
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
      }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
      context.close(promise: nil)
    }
  }
}

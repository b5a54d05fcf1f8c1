import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// A server that answers as it is told to: another member of a shard, as a node sees it.
final class FakeMember: Sendable {
  struct Request: Sendable {
    let head: HTTPRequestHead
    let body: String
  }

  struct Answer: Sendable {
    var status = 200
    var headers: [(String, String)] = []
    var body = ""
    /// Nothing is said, and the connection is closed.
    var isMissing = false
  }

  typealias Script = @Sendable (Request) async -> Answer

  private let channel: any Channel
  private let taken = Mutex<[Request]>([])

  var port: Int { channel.localAddress!.port! }
  var address: String { "127.0.0.1:\(port)" }
  /// What it was asked, but for how it is.
  var requests: [Request] { taken.withLock { $0 } }

  static func with(
    _ script: @escaping Script, _ body: (FakeMember) async throws -> Void
  ) async throws {
    let member = try await FakeMember(script)
    do {
      try await body(member)
    } catch {
      try await member.channel.close()
      throw error
    }
    try await member.channel.close()
  }

  private init(_ script: @escaping Script) async throws {
    let box = ScriptBox()
    channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.configureHTTPServerPipeline()
          try channel.pipeline.syncOperations.addHandler(FakeMemberHandler(box))
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    box.script.withLock { mine in
      mine = { [weak self] request in
        // A node asks the others how they are by itself.
        if !request.head.uri.hasPrefix("/wal/position"), request.head.uri != "/status" {
          self?.taken.withLock { $0.append(request) }
        }
        return await script(request)
      }
    }
  }
}

private final class ScriptBox: Sendable {
  let script = Mutex<FakeMember.Script?>(nil)
}

/// `@unchecked Sendable`: touched on its event loop only.
private final class FakeMemberHandler: ChannelInboundHandler, @unchecked Sendable {
  typealias InboundIn = HTTPServerRequestPart
  typealias OutboundOut = HTTPServerResponsePart

  private let box: ScriptBox
  private var head: HTTPRequestHead?
  private var body = ""

  init(_ box: ScriptBox) { self.box = box }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head(let head):
      self.head = head
      body = ""
      if head.headers.contains(name: "Expect") {
        context.writeAndFlush(
          wrapOutboundOut(.head(HTTPResponseHead(version: .http1_1, status: .continue))),
          promise: nil)
      }
    case .body(let bytes): body += String(buffer: bytes)
    case .end:
      let request = FakeMember.Request(head: head!, body: body)
      let script = box.script.withLock { $0 }
      let channel = context.channel
      Task {
        let answer = await script?(request) ?? FakeMember.Answer(status: 500)
        guard !answer.isMissing else { return channel.close(promise: nil) }
        var head = HTTPResponseHead(
          version: .http1_1, status: HTTPResponseStatus(statusCode: answer.status))
        for (name, value) in answer.headers { head.headers.add(name: name, value: value) }
        head.headers.add(name: "Content-Length", value: "\(answer.body.utf8.count)")
        channel.write(HTTPServerResponsePart.head(head), promise: nil)
        if request.head.method != .HEAD {
          channel.write(
            HTTPServerResponsePart.body(.byteBuffer(ByteBuffer(string: answer.body))),
            promise: nil)
        }
        channel.writeAndFlush(HTTPServerResponsePart.end(nil), promise: nil)
      }
    }
  }
}

import Client
import NIOCore
import NIOPosix
import Synchronization

/// A server that answers `/status` as a node does, and everything else as a test says. It has a loopback
/// address of its own: nobody else is there when it has gone.
final class FakeNode: Sendable {
  struct Request: Sendable {
    /// Of those that the test answers, from 1.
    var number: Int
    /// Which connection it came over, from 0.
    var connection: Int
    var method: String
    var target: String
    var body: String

    var isWrite: Bool { method == "PUT" }
    /// What stands behind `/kv/`.
    var key: String { String(target.dropFirst(4)) }
  }

  struct Answer: Sendable {
    var status = 200
    var version: UInt64? = 1
    var epoch = 1
    /// What a node of a leaderless set says.
    var context: String?
    var body = ""
    var delay = TimeAmount.zero
    /// The connection is closed in place of an answer.
    var isDrop = false
    var closes = false
  }

  private static let count = Atomic(0)

  private struct State {
    var count = 0
    var underWayMax = 0
    var connections: [any Channel] = []
  }

  typealias Script = @Sendable (Request) -> Answer

  let address: NodeAddress
  private let listener: any Channel
  private let state: Shared

  private final class Shared: Sendable {
    let mutex = Mutex(State())
    let status = Mutex("")
    /// Nil: it has none.
    let configuration = Mutex<String?>(nil)
  }

  init(
    role: String = "leader", shard: Int = 0, shards: Int = 1, replicas: [NodeAddress] = [],
    _ script: @escaping Script
  ) async throws {
    let state = Shared()
    let number = Self.count.add(1, ordering: .relaxed).newValue
    let host = "127.99.\(number / 250).\(number % 250 + 1)"
    listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let number = state.mutex.withLock {
            $0.connections.append(channel)
            return $0.connections.count - 1
          }
          try channel.pipeline.syncOperations.addHandler(Handler(number, script, state))
        }
      }
      .bind(host: host, port: 0).get()
    self.state = state
    address = NodeAddress(host: host, port: UInt16(listener.localAddress!.port!))
    let list = replicas.map { "{\"id\":\"r\",\"address\":\"\($0)\"}" }.joined(separator: ",")
    let text =
      "{\"node\":\"\(address)\",\"role\":\"\(role)\",\"version\":\"0\",\"keys\":0,"
      + "\"shard\":{\"name\":\"s\",\"index\":\(shard),\"count\":\(shards)},\"replicas\":[\(list)]}"
    state.status.withLock { $0 = text }
  }

  /// Has its status say that it leads in an epoch, or does not.
  func become(_ role: String, epoch: Int) {
    state.status.withLock { text in
      let rest = text.replacing(/"role":"[a-z]*"(,"epoch":[0-9]*,"epoch_node":"[0-9a-f]*")?/) { _ in
        "\"role\":\"\(role)\",\"epoch\":\(epoch),\"epoch_node\":\"00000000000000aa\""
      }
      text = rest
    }
  }

  /// Gives it the configuration, as JSON.
  func configure(_ json: String) { state.configuration.withLock { $0 = json } }

  /// Requests that the test has answered.
  var count: Int { state.mutex.withLock { $0.count } }

  /// Requests of one connection that were waiting for their answers at the same time.
  var underWayMax: Int { state.mutex.withLock { $0.underWayMax } }

  /// Takes no connection any more, and closes those that there are: soon, as it is called from what answers.
  func die() {
    listener.close(promise: nil)
    for channel in state.mutex.withLock({ $0.connections }) { channel.close(promise: nil) }
  }

  /// As ``die()``, and nothing listens when it returns.
  func gone() async throws {
    die()
    try await listener.closeFuture.get()
  }

  private final class Handler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let connection: Int
    private let script: Script
    private let state: Shared
    private var bytes = ByteBuffer()
    private var underWay = 0

    init(_ connection: Int, _ script: @escaping Script, _ state: Shared) {
      self.connection = connection
      self.script = script
      self.state = state
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      bytes.writeImmutableBuffer(unwrapInboundIn(data))
      while let (head, body) = next() {
        let words = head.prefix { $0 != "\r\n" }.split(separator: " ")
        let (method, target) = (String(words[0]), String(words[1]))
        if target == "/status" {
          send(Answer(body: state.status.withLock { $0 }), context.channel)
          continue
        }
        if target == "/admin/config" {
          let json = state.configuration.withLock { $0 }
          send(Answer(status: json == nil ? 404 : 200, body: json ?? ""), context.channel)
          continue
        }
        underWay += 1
        let number = state.mutex.withLock {
          $0.count += 1
          $0.underWayMax = max($0.underWayMax, underWay)
          return $0.count
        }
        let answer = script(
          Request(
            number: number, connection: connection, method: method, target: target, body: body))
        if answer.delay > .zero {
          let channel = context.channel
          channel.eventLoop.assumeIsolated().scheduleTask(in: answer.delay) {
            self.underWay -= 1
            self.send(answer, channel)
          }
        } else {
          underWay -= 1
          send(answer, context.channel)
        }
      }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
      context.close(promise: nil)
    }

    private func send(_ answer: Answer, _ channel: any Channel) {
      if answer.isDrop { return channel.close(promise: nil) }
      var head = "HTTP/1.1 \(answer.status) Some\r\nContent-Length: \(answer.body.utf8.count)\r\n"
      if let version = answer.version {
        head += "X-KV-Version: \(version)\r\n"
        head += "ETag: \"\(version).\(answer.epoch)-00000000000000aa\"\r\n"
      }
      if let context = answer.context { head += "X-KV-Context: \(context)\r\n" }
      if answer.closes { head += "Connection: close\r\n" }
      channel.writeAndFlush(ByteBuffer(string: head + "\r\n" + answer.body), promise: nil)
      if answer.closes { channel.close(promise: nil) }
    }

    private func next() -> (head: String, body: String)? {
      let text = String(buffer: bytes)
      guard let end = text.firstRange(of: "\r\n\r\n") else { return nil }
      let head = String(text[..<end.lowerBound])
      let field = head.lowercased().split(separator: "\r\n").first {
        $0.hasPrefix("content-length: ")
      }
      let size = field.flatMap { Int($0.dropFirst(16)) } ?? 0
      let headSize = text[..<end.upperBound].utf8.count
      guard bytes.readableBytes >= headSize + size else { return nil }
      bytes.moveReaderIndex(forwardBy: headSize)
      return (head, bytes.readString(length: size) ?? "")
    }
  }
}

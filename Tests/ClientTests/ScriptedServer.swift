import Client
import NIOCore
import NIOPosix
import Synchronization
import Testing

/// A server on 127.0.0.1 that reads requests and does with each what its script says, byte by byte.
final class ScriptedServer: Sendable {
  /// A request as it arrived.
  struct Arrival: Sendable {
    /// Which connection it came over, and which of its requests it was; both from 0.
    var connection: Int
    var request: Int
    var text: String
  }

  enum Step: Sendable {
    case send(String)
    case close
    /// Goes on with the next step when `release` is called.
    case hold
  }

  typealias Script = @Sendable (Arrival) -> [Step]

  private struct Record {
    var arrivals: [Arrival] = []
    var connections: [any Channel] = []
    var held: [@Sendable () -> Void] = []
  }

  let address: NodeAddress
  private let listener: any Channel
  private let record: SharedRecord

  private final class SharedRecord: Sendable {
    let state = Mutex(Record())
  }

  init(_ script: @escaping Script) async throws {
    let record = SharedRecord()
    listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
      .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
      .childChannelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let connection = record.state.withLock {
            $0.connections.append(channel)
            return $0.connections.count - 1
          }
          let handler = Handler(connection, script, record)
          try channel.pipeline.syncOperations.addHandler(handler)
        }
      }
      .bind(host: "127.0.0.1", port: 0).get()
    self.record = record
    address = NodeAddress(host: "127.0.0.1", port: UInt16(listener.localAddress!.port!))
  }

  /// The requests so far.
  var arrivals: [Arrival] { record.state.withLock { $0.arrivals } }

  /// Connections that were ever made.
  var connectionCount: Int { record.state.withLock { $0.connections.count } }

  /// Waits until so many requests are on hold, and lets them go on.
  func release(_ count: Int) async throws {
    try await eventually("\(count) requests are on hold") {
      record.state.withLock { $0.held.count } == count
    }
    release()
  }

  /// Lets everything go on that is on hold.
  func release() {
    let held = record.state.withLock { state in
      defer { state.held = [] }
      return state.held
    }
    for resume in held { resume() }
  }

  /// Closes the connections that clients have, as a node does that stops.
  func closeConnections() async throws {
    for channel in record.state.withLock({ $0.connections }) {
      channel.close(promise: nil)
      try await channel.closeFuture.get()
    }
  }

  func close() async throws {
    listener.close(promise: nil)
    try await listener.closeFuture.get()
    try await closeConnections()
  }

  private final class Handler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let connection: Int
    private let script: Script
    private let record: SharedRecord
    private var bytes = ByteBuffer()
    private var requestCount = 0

    init(_ connection: Int, _ script: @escaping Script, _ record: SharedRecord) {
      self.connection = connection
      self.script = script
      self.record = record
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
      bytes.writeImmutableBuffer(unwrapInboundIn(data))
      while let text = nextRequest() {
        let arrival = Arrival(connection: connection, request: requestCount, text: text)
        requestCount += 1
        let channel = context.channel
        record.state.withLock { $0.arrivals.append(arrival) }
        let steps = script(arrival)
        ScriptedServer.run(steps[...], on: channel, record)
      }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
      context.close(promise: nil)
    }

    private func nextRequest() -> String? {
      let text = String(buffer: bytes)
      guard let end = text.firstRange(of: "\r\n\r\n") else { return nil }
      let headers = text[..<end.lowerBound].lowercased().split(separator: "\r\n")
      let length = headers.first { $0.hasPrefix("content-length: ") }
      let bodySize = length.flatMap { Int($0.dropFirst(16)) } ?? 0
      let size = text[..<end.upperBound].utf8.count + bodySize
      guard bytes.readableBytes >= size else { return nil }
      return bytes.readString(length: size)
    }
  }

  private static func run(
    _ steps: ArraySlice<Step>, on channel: any Channel, _ record: SharedRecord
  ) {
    var steps = steps
    while let step = steps.popFirst() {
      switch step {
      case .send(let text): channel.writeAndFlush(ByteBuffer(string: text), promise: nil)
      case .close: channel.close(promise: nil)
      case .hold:
        let rest = steps
        record.state.withLock {
          $0.held.append { channel.eventLoop.execute { run(rest, on: channel, record) } }
        }
        return
      }
    }
  }
}

extension ScriptedServer.Step {
  /// A whole answer with a body of known length.
  static func answer(
    _ body: String = "", status: String = "200 OK", headers: [String] = []
  ) -> Self {
    let head = ["HTTP/1.1 \(status)", "Content-Length: \(body.utf8.count)"] + headers
    return .send(head.joined(separator: "\r\n") + "\r\n\r\n" + body)
  }
}

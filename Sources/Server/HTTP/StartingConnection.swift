import NIOCore
import WAL

/// A connection to a node that does not have its data yet. It is answered once, whatever was asked,
/// and closed: `/health` and `/ready` as ever, everything else with 503. One that has not sent its
/// request when the node has its data is that node's.
final class StartingConnection: ChannelInboundHandler, RemovableChannelHandler {
  typealias InboundIn = ByteBuffer
  typealias InboundOut = ByteBuffer
  typealias OutboundOut = ByteBuffer

  private let entrance: Entrance
  /// All that came.
  private var input = ByteBuffer()
  private var head = StartingHead()
  private var hasInputEnded = false
  /// Answered, closed or handed over.
  private var isDone = false
  private var timer: Scheduled<Void>?

  init(_ entrance: Entrance) { self.entrance = entrance }

  func handlerAdded(context: ChannelHandlerContext) {
    timer = context.eventLoop.assumeIsolated().scheduleTask(
      in: .seconds(Int64(entrance.limits.startingSeconds))
    ) {
      if !self.isDone, !self.handOver(context) { context.close(promise: nil) }
    }
  }

  func handlerRemoved(context: ChannelHandlerContext) {
    end()
  }

  func channelInactive(context: ChannelHandlerContext) {
    end()
    context.fireChannelInactive()
  }

  private func end() {
    isDone = true
    timer?.cancel()
    timer = nil
  }

  func errorCaught(context: ChannelHandlerContext, error: any Error) {
    context.close(promise: nil)
  }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard !isDone else { return }
    var bytes = unwrapInboundIn(data)
    bytes.withUnsafeReadableBytes { head.take($0) }
    input.writeBuffer(&bytes)
    guard !handOver(context) else { return }
    if head.isComplete || input.readableBytes > entrance.limits.headBytesMax { answer(context) }
  }

  func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
    guard case ChannelEvent.inputClosed = event else {
      return context.fireUserInboundEventTriggered(event)
    }
    hasInputEnded = true
    if !isDone, !handOver(context) { context.close(promise: nil) }
  }

  /// Gives the connection to the node.
  ///
  /// - Returns: false as long as that does not have its data.
  private func handOver(_ context: ChannelHandlerContext) -> Bool {
    guard entrance.isOpen else { return false }
    end()
    do {
      try entrance.admit(context.channel)
      context.fireChannelActive()
      if input.readableBytes > 0 {
        context.fireChannelRead(wrapInboundOut(input))
        context.fireChannelReadComplete()
      }
      if hasInputEnded { context.fireUserInboundEventTriggered(ChannelEvent.inputClosed) }
      context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
    } catch {
      context.close(promise: nil)
    }
    return true
  }

  private func answer(_ context: ChannelHandlerContext) {
    end()
    let body: String
    var answer: Answer
    switch head.subject {
    case .health:
      answer = Answer(.ok)
      body = "ok"
    case .readiness:
      answer = Answer(.unavailable)
      let isWaiting = entrance.progress.now.phase == .waiting
      body = (isWaiting ? "" : "recovering: ") + entrance.progress.text
    case .announcement(let query):
      (answer, body) = entrance.take(query)
    case .other:
      answer = Answer(.unavailable, .json)
      let standing = entrance.standing.map { ",\($0.text)" } ?? ""
      body =
        "{\"error\":\"the node is starting: \(entrance.progress.text)\",\"state\":\"\(entrance.progress.state)\"\(standing)}"
    }
    if answer.status == .unavailable { answer.retryAfterSeconds = 1 }
    answer.closes = true
    var encoder = AnswerEncoder(node: entrance.address, shard: 0)
    encoder.set(date: HTTPDate.text(secondsSince1970: HTTPDate.now()))
    var buffer = context.channel.allocator.buffer(capacity: 1_024)
    encoder.writeHead(answer, bodyBytes: body.utf8.count, into: &buffer)
    if !head.isHead { buffer.writeString(body) }
    context.writeAndFlush(wrapOutboundOut(buffer), promise: nil)
    var limits = entrance.limits
    limits.answerSeconds = limits.startingSeconds
    LingeringClose.begin(context, limits: limits, isInputEnded: hasInputEnded)
  }
}

/// As much of a request's head as says what is asked of a node that is starting.
struct StartingHead {
  enum Subject {
    case health
    case readiness
    /// And its query.
    case announcement([UInt8])
    case other
  }

  /// More than the lines that are told apart have.
  private static let lineBytesMax = 24 << 10

  private(set) var isComplete = false
  /// The start of the request's line.
  private var line: [UInt8] = []
  private var isInLine = true
  /// Of the line that is being read, its end not counted.
  private var lineBytes = 0

  mutating func take(_ bytes: UnsafeRawBufferPointer) {
    for byte in bytes where !isComplete {
      switch byte {
      case UInt8(ascii: "\n"):
        // Empty lines may come before the first one (RFC 9112, 2.2).
        if lineBytes == 0, !isInLine { isComplete = true }
        if lineBytes > 0 { isInLine = false }
        lineBytes = 0
      case UInt8(ascii: "\r"):
        break
      default:
        lineBytes += 1
        if isInLine, line.count < Self.lineBytesMax { line.append(byte) }
      }
    }
  }

  private var words: [ArraySlice<UInt8>] { line.split(separator: UInt8(ascii: " ")) }

  /// The answer has no body then.
  var isHead: Bool { words.first.map { $0.elementsEqual("HEAD".utf8) } ?? false }

  var subject: Subject {
    let words = words
    let announce = Array("/admin/announce?".utf8)
    if isComplete, words.count == 3, words[0].elementsEqual("POST".utf8),
      words[1].starts(with: announce)
    {
      return .announcement(Array(words[1].dropFirst(announce.count)))
    }
    guard isComplete, words.count == 3, isHead || words[0].elementsEqual("GET".utf8) else {
      return .other
    }
    switch String(decoding: words[1].prefix { $0 != UInt8(ascii: "?") }, as: UTF8.self) {
    case "/health", "/healthz": return .health
    case "/ready": return .readiness
    default: return .other
    }
  }
}

extension StartProgress {
  /// The same in a word, for other nodes.
  var state: String {
    switch now.phase {
    case .copying: "copying"
    case .waiting: "waiting"
    case .opening, .snapshot, .log, .finishing: "starting"
    }
  }

  /// What is being done, for people.
  var text: String {
    let (phase, done, total) = now
    return switch phase {
    case .opening: "opening the data directory"
    case .copying:
      total > 0 ? "copying, \(done) of \(total) bytes" : "copying: the leader is asked"
    case .snapshot: "snapshot \(total > 0 ? done * 100 / total : 100) %"
    case .log: "log, \(done) of \(total) bytes"
    case .finishing: "the log has been read"
    case .waiting: "waiting for a leader that has this node among its followers to announce itself"
    }
  }
}

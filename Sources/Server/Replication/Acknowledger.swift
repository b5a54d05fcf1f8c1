import Client
import Engine
import NIOCore
import NIOPosix
import WAL

/// Tells a leader how far this node is, always the newest position, over a connection of its own.
///
/// Where writes wait for what it tells, positions follow each other without waiting for the answers: each costs a
/// replica, and its leader, a few microseconds. Otherwise there is one now and then, so that a busy stream does not
/// cost a request a commit.
///
/// Belongs to its event loop.
package final class Acknowledger: ChannelInboundHandler {
  package typealias InboundIn = ByteBuffer
  package typealias OutboundOut = ByteBuffer

  private enum Connection {
    case none
    case connecting
    case open(ChannelHandlerContext)
  }

  private static let connectTimeout = TimeAmount.seconds(2)
  /// Between two of them where nobody waits.
  private static let pauseBetween = TimeAmount.milliseconds(5)
  private static let pauseBehindFailure = TimeAmount.milliseconds(500)
  /// Not answered yet, where somebody waits.
  private static let unansweredMax = 8

  private let leader: NodeAddress
  /// What every request says, before and behind the position.
  private let (start, rest): (String, String)
  private let loop: any EventLoop
  private let linkDelay: TimeAmount
  private let answerTimeout: TimeAmount
  private var newest: LogPosition?
  private var told: LogPosition?
  private var connection = Connection.none
  private var unanswered = 0
  /// On this connection something was.
  private var wasAnswered = false
  private var heardAt = NIODeadline.now()
  private var input = ByteBuffer()
  /// The end of a pause.
  private var pause: Scheduled<Void>?
  private var watch: Scheduled<Void>?
  private var isStopped = false
  /// Writes wait for what is told: so the leader said last.
  private(set) var isAwaited = false

  package init(
    _ leader: NodeAddress, id: String, origin: UInt64, loop: any EventLoop, linkDelay: TimeAmount,
    answerTimeout: TimeAmount = .seconds(5)
  ) {
    self.leader = leader
    start = "POST /wal/ack?replica=\(PercentEncoding.encode(id))&epoch="
    rest = "&origin=\(hexadecimal(origin)) HTTP/1.1\r\nHost: \(leader)\r\n\r\n"
    self.loop = loop
    self.linkDelay = linkDelay
    self.answerTimeout = answerTimeout
  }

  /// There is a new stream: the leader is there, and may not know anything.
  func begin() {
    told = nil
    pause?.cancel()
    pause = nil
  }

  /// Everything up to there is durable and applied here.
  package func applied(_ position: LogPosition) {
    newest = position
    tell()
  }

  package func stop() {
    isStopped = true
    pause?.cancel()
    end()
  }

  private func tell() {
    guard !isStopped, pause == nil, let newest, newest != told else { return }
    switch connection {
    case .none: connect()
    case .connecting: break
    case .open(let context):
      guard unanswered < (isAwaited ? Self.unansweredMax : 1) else { return }
      if unanswered == 0 { heardAt = .now() }
      unanswered += 1
      told = newest
      context.writeAndFlush(
        wrapOutboundOut(
          ByteBuffer(
            string: start + newest.epoch.text + "&seq=\(newest.sequence)&crc="
              + hexadecimal(newest.crc) + rest)), promise: nil)
    }
  }

  private func tell(in time: TimeAmount) {
    guard pause == nil, !isStopped else { return }
    pause = loop.assumeIsolated().scheduleTask(in: time) {
      self.pause = nil
      self.tell()
    }
  }

  // MARK: - The connection

  private func connect() {
    connection = .connecting
    let handler = NIOLoopBound(self, eventLoop: loop)
    let linkDelay = linkDelay
    ClientBootstrap(group: loop)
      .connectTimeout(Self.connectTimeout)
      .channelOption(.tcpOption(.tcp_nodelay), value: 1)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addLinkDelay(linkDelay)
          try channel.pipeline.syncOperations.addHandler(handler.value)
        }
      }
      .connect(host: leader.host, port: Int(leader.port))
      .assumeIsolated().whenFailure { _ in self.fail() }
  }

  package func channelActive(context: ChannelHandlerContext) {
    guard case .connecting = connection, !isStopped else { return context.close(promise: nil) }
    connection = .open(context)
    wasAnswered = false
    keepWatch()
    tell()
  }

  /// Gives the connection up when nothing was answered for too long.
  private func keepWatch() {
    let deadline = (unanswered > 0 ? heardAt : .now()) + answerTimeout
    watch = loop.assumeIsolated().scheduleTask(deadline: deadline) {
      if self.unanswered > 0, .now() >= self.heardAt + self.answerTimeout { return self.fail() }
      self.keepWatch()
    }
  }

  package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    guard case .open(let mine) = connection, mine === context else { return }
    var bytes = unwrapInboundIn(data)
    if input.readableBytes == 0 { input = bytes } else { input.writeBuffer(&bytes) }
    while input.readableBytes > 0, case .open = connection, takeAnswer() {}
    if input.readableBytes == 0 { input = ByteBuffer() }
    if isAwaited { tell() }
  }

  /// - Returns: false where bytes are missing, or the connection is given up.
  private func takeAnswer() -> Bool {
    let outcome = input.withUnsafeReadableBytes { RelayedHead.recognise($0, isHead: false) }
    if case .incomplete = outcome { return false }
    guard case .head(let head) = outcome, head.status == 204, unanswered > 0 else {
      fail()
      return false
    }
    input.moveReaderIndex(forwardBy: head.headBytes)
    unanswered -= 1
    wasAnswered = true
    heardAt = .now()
    isAwaited = head.isAwaited
    if head.closes {
      end()
      tell()
    } else if !isAwaited {
      tell(in: Self.pauseBetween)
    }
    return !head.closes
  }

  package func channelInactive(context: ChannelHandlerContext) { lost(context) }

  package func errorCaught(context: ChannelHandlerContext, error: any Error) { lost(context) }

  private func lost(_ context: ChannelHandlerContext) {
    guard case .open(let mine) = connection, mine === context else { return }
    guard wasAnswered else { return fail() }
    // It had nothing to do for long, maybe.
    end()
    tell()
  }

  private func fail() {
    end()
    tell(in: Self.pauseBehindFailure)
  }

  /// What was not answered may be unknown to the leader.
  private func end() {
    let former = connection
    connection = .none
    if unanswered > 0 { told = nil }
    unanswered = 0
    input = ByteBuffer()
    watch?.cancel()
    if case .open(let context) = former { context.close(promise: nil) }
  }
}

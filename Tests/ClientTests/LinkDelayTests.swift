import Client
import NIOCore
import NIOEmbedded
import NIOPosix
import Testing

@Suite("A link's latency", .timeLimit(.minutes(1)))
struct LinkDelayTests {
  private static let delay = TimeAmount.milliseconds(40)

  /// Counts how often the channel is asked to read.
  private final class ReadCounter: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    var count = 0

    func read(context: ChannelHandlerContext) {
      count += 1
      context.read()
    }
  }

  private func channel(awaitsReads: Bool = false) throws -> (EmbeddedChannel, ReadCounter) {
    let counter = ReadCounter()
    let channel = EmbeddedChannel()
    try channel.pipeline.syncOperations.addHandler(counter)
    try channel.pipeline.syncOperations.addHandler(
      LinkDelay(Self.delay, awaitsReads: awaitsReads))
    try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
    return (channel, counter)
  }

  private func inbound(_ channel: EmbeddedChannel) throws -> String {
    var text = ""
    while let buffer = try channel.readInbound(as: ByteBuffer.self) {
      text += String(buffer: buffer)
    }
    return text
  }

  private func outbound(_ channel: EmbeddedChannel) throws -> String {
    var text = ""
    while let buffer = try channel.readOutbound(as: ByteBuffer.self) {
      text += String(buffer: buffer)
    }
    return text
  }

  @Test("keeps everything back for so long, each way, in its order")
  func order() throws {
    let (channel, _) = try channel()
    let loop = channel.embeddedEventLoop
    for text in ["a", "b", "c"] {
      try channel.writeInbound(ByteBuffer(string: text))
      channel.writeAndFlush(ByteBuffer(string: text.uppercased()), promise: nil)
      loop.advanceTime(by: .milliseconds(15))
    }
    // Of 45 ms.
    #expect(try inbound(channel) == "a" && outbound(channel) == "A")
    loop.advanceTime(by: .milliseconds(9))
    #expect(try inbound(channel) == "" && outbound(channel) == "")
    loop.advanceTime(by: .milliseconds(1))
    #expect(try inbound(channel) == "b" && outbound(channel) == "B")
    loop.advanceTime(by: Self.delay)
    #expect(try inbound(channel) == "c" && outbound(channel) == "C")
    _ = try channel.finish()
  }

  @Test("is no bound on throughput: it reads ahead, but holds no more than a bound")
  func readingAhead() throws {
    let (channel, counter) = try channel()
    let piece = ByteBuffer(repeating: 7, count: 300_000)
    var before = counter.count
    for number in 1...4 {
      try channel.writeInbound(piece)
      // At 1.2 MB it asks for no more.
      #expect((counter.count > before) == (number < 4))
      before = counter.count
    }
    channel.embeddedEventLoop.advanceTime(by: Self.delay)
    #expect(counter.count > before)
    #expect(try inbound(channel).utf8.count == 1_200_000)
    _ = try channel.finish()
  }

  @Test("hands nothing on that is not asked for, where reads are")
  func backpressure() throws {
    let (channel, counter) = try channel(awaitsReads: true)
    channel.read()
    for text in ["a", "b"] { try channel.writeInbound(ByteBuffer(string: text)) }
    channel.embeddedEventLoop.advanceTime(by: .seconds(1))
    #expect(try inbound(channel) == "a")
    channel.read()
    channel.embeddedEventLoop.advanceTime(by: .nanoseconds(1))
    #expect(try inbound(channel) == "b")
    #expect(counter.count >= 2)
    _ = try channel.finish()
  }

  @Test("hands on at the end what has come, and says of what was not sent that it was not")
  func end() throws {
    let (channel, _) = try channel()
    try channel.writeInbound(ByteBuffer(string: "the end"))
    let written = channel.eventLoop.makePromise(of: Void.self)
    channel.writeAndFlush(ByteBuffer(string: "lost"), promise: written)
    channel.close(promise: nil)
    #expect(throws: ChannelError.self) { try written.futureResult.wait() }
    #expect(try inbound(channel) == "the end" && outbound(channel) == "")
    // What was due then finds nothing.
    channel.embeddedEventLoop.advanceTime(by: .seconds(1))
    #expect(try inbound(channel) == "")
  }

  @Test(
    "makes a request take twice as long, whatever it brings, and the pool none longer without it")
  func requests() async throws {
    let text = String(repeating: "abcdefghijklmnopqrstuvw", count: 130_000)
    var limits = KVLimits()
    limits.linkDelay = Self.delay
    try await withServer(limits: limits, { _ in [.answer(text)] }) { server, pool in
      for _ in 0..<3 {
        let begin = NIODeadline.now()
        let answer = pool.execute(KVRequest(.GET, "/kv/a"), on: server.address, deadline: .soon)
        try await expect(answer, toGiveText: text)
        #expect(NIODeadline.now() - begin >= .milliseconds(80))
      }
      #expect(server.connectionCount == 1)
    }
  }

  @Test("does not lose what comes before the end of a connection")
  func answerUntilClose() async throws {
    var limits = KVLimits()
    limits.linkDelay = Self.delay
    let answer = ScriptedServer.Step.send("HTTP/1.1 200 OK\r\n\r\nuntil the end")
    try await withServer(limits: limits, { _ in [answer, .close] }) { server, pool in
      try await expect(
        pool.execute(KVRequest(.GET, "/kv/a"), on: server.address, deadline: .soon),
        toGiveText: "until the end")
    }
  }
}

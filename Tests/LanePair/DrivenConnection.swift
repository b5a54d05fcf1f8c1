import NIOCore
import NIOEmbedded

/// A connection to a driven node.
///
/// It keeps to what a socket does: it hands over no more than was asked for, until the client has
/// ended its output; then all that has come is handed over at once.
struct DrivenConnection {
  /// The connection asks for nothing more although nothing is in its way.
  struct Stalled: Error {}

  private let node: DrivenNode
  private let channel: EmbeddedChannel
  private let gate = ReadGate()
  private var random: UInt64
  private var output: [UInt8] = []

  init(_ node: DrivenNode, usesFastLane: Bool, schedule: UInt64) throws {
    self.node = node
    random = schedule
    channel = EmbeddedChannel(loop: node.loop.embedded)
    try channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
    try channel.pipeline.syncOperations.addHandler(gate)
    try node.addLane(to: channel, usesFastLane: usesFastLane)
    channel.pipeline.syncOperations.read()
  }

  mutating func run(_ exchange: Exchange) throws -> Outcome {
    // Once the client has ended its output, the system hands over all that is there.
    let isPushed = exchange.endsInput && choose(4) == 0
    for piece in exchange.pieces {
      if !gate.isOpen, !isPushed {
        try resume()
        guard gate.isOpen || !channel.isActive else { throw Stalled() }
      }
      guard channel.isActive else { break }
      gate.close()
      try channel.writeInbound(ByteBuffer(bytes: piece))
      if channel.isActive { channel.pipeline.syncOperations.read() }
      switch choose(6) {
      case 0: node.settle()
      case 1: node.step()
      case 2: channel.isWritable = false
      case 3: try resume()
      default: break
      }
    }
    if exchange.endsInput, channel.isActive {
      channel.pipeline.syncOperations.fireUserInboundEventTriggered(ChannelEvent.inputClosed)
    }
    try resume()
    if exchange.endsInput, channel.isActive { throw Stalled() }
    let isClosed = !channel.isActive
    try collect()
    _ = try channel.finish(acceptAlreadyClosed: true)
    node.settle()
    return Outcome(output, isClosed: isClosed)
  }

  /// Takes everything out of the way, until nothing more happens.
  private mutating func resume() throws {
    node.settle()
    try collect()
    while channel.isActive, !channel.isWritable {
      channel.isWritable = true
      channel.pipeline.syncOperations.fireChannelWritabilityChanged()
      node.settle()
      try collect()
    }
    // What still waits, waits for time to pass.
    guard channel.isActive, !gate.isOpen else { return }
    node.passHour()
    node.settle()
    try collect()
  }

  private mutating func collect() throws {
    while let piece = try channel.readOutbound(as: ByteBuffer.self) {
      output += piece.readableBytesView
    }
  }

  private mutating func choose(_ count: UInt64) -> UInt64 {
    // The generator of Knuth's MMIX; its upper bits.
    random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return (random >> 33) % count
  }
}

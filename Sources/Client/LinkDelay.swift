import NIOCore

/// The latency of a network on one connection that this side has made, for tests: what it sends, and what
/// it is sent, goes on that much later, in its order.
///
/// Stands in front of all other handlers. It reads ahead, so that latency does not bound throughput, up to
/// `heldBytesMax` and what one read brings. What waits to be sent is bounded by who sends. When the
/// connection ends, what has come is handed on at once, and what was not sent is lost.
package final class LinkDelay: ChannelDuplexHandler {
  package typealias InboundIn = ByteBuffer
  package typealias InboundOut = ByteBuffer
  // Not looked at.
  package typealias OutboundIn = IOData
  package typealias OutboundOut = IOData

  /// What came in one turn.
  private struct Arrival {
    var due: NIODeadline
    var buffers: [ByteBuffer]
    var bytes: Int
  }

  /// What was sent with one flush.
  private struct Departure {
    var due: NIODeadline
    var writes: [Write]
  }

  private typealias Write = (data: NIOAny, promise: EventLoopPromise<Void>?)

  private static let heldBytesMax = 1 << 20

  private let delay: TimeAmount
  private let awaitsReads: Bool
  private var context: ChannelHandlerContext?
  private var arrivals = CircularBuffer<Arrival>()
  private var arriving: [ByteBuffer] = []
  private var heldBytes = 0
  /// More was asked for.
  private var isWanted = false
  private var isReadHeld = false
  private var departures = CircularBuffer<Departure>()
  private var unflushed: [Write] = []

  /// - Parameters:
  ///   - delay: one way.
  ///   - awaitsReads: of a channel that does not read by itself: nothing is handed on that is not asked for.
  package init(_ delay: TimeAmount, awaitsReads: Bool = false) {
    self.delay = delay
    self.awaitsReads = awaitsReads
  }

  package func handlerAdded(context: ChannelHandlerContext) { self.context = context }

  package func handlerRemoved(context: ChannelHandlerContext) {
    self.context = nil
    failDepartures()
    arrivals.removeAll()
    arriving.removeAll()
  }

  private func wake(at due: NIODeadline, _ context: ChannelHandlerContext) {
    _ = context.eventLoop.assumeIsolated().scheduleTask(deadline: due) {
      guard let context = self.context else { return }
      let now = context.eventLoop.now
      self.deliver(until: now)
      self.send(until: now)
    }
  }

  // MARK: - What comes

  package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    let buffer = unwrapInboundIn(data)
    heldBytes += buffer.readableBytes
    arriving.append(buffer)
  }

  package func channelReadComplete(context: ChannelHandlerContext) {
    let due = context.eventLoop.now + delay
    let bytes = arriving.reduce(0) { $0 + $1.readableBytes }
    arrivals.append(Arrival(due: due, buffers: arriving, bytes: bytes))
    arriving = []
    wake(at: due, context)
    // Whoever is behind this one asks again only when it has got this.
    readAhead(context)
  }

  package func read(context: ChannelHandlerContext) {
    isWanted = true
    if let first = arrivals.first { wake(at: first.due, context) }
    readAhead(context)
  }

  private func readAhead(_ context: ChannelHandlerContext) {
    isReadHeld = heldBytes >= Self.heldBytesMax
    if !isReadHeld { context.read() }
  }

  /// Hands on what is due, as far as it is asked for.
  private func deliver(until now: NIODeadline) {
    while let context, let first = arrivals.first, first.due <= now, isWanted || !awaitsReads {
      isWanted = false
      arrivals.removeFirst()
      hand(first, to: context)
      if isReadHeld, let context = self.context { readAhead(context) }
    }
  }

  private func hand(_ arrival: Arrival, to context: ChannelHandlerContext) {
    heldBytes -= arrival.bytes
    for buffer in arrival.buffers { context.fireChannelRead(wrapInboundOut(buffer)) }
    context.fireChannelReadComplete()
  }

  package func channelInactive(context: ChannelHandlerContext) {
    while !arrivals.isEmpty { hand(arrivals.removeFirst(), to: context) }
    failDepartures()
    context.fireChannelInactive()
  }

  // MARK: - What goes

  package func write(
    context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?
  ) {
    unflushed.append((data, promise))
  }

  package func flush(context: ChannelHandlerContext) {
    let due = context.eventLoop.now + delay
    departures.append(Departure(due: due, writes: unflushed))
    unflushed = []
    wake(at: due, context)
  }

  private func send(until now: NIODeadline) {
    while let context, let first = departures.first, first.due <= now {
      departures.removeFirst()
      for write in first.writes { context.write(write.data, promise: write.promise) }
      context.flush()
    }
  }

  package func close(
    context: ChannelHandlerContext, mode: CloseMode, promise: EventLoopPromise<Void>?
  ) {
    if mode != .input { failDepartures() }
    context.close(mode: mode, promise: promise)
  }

  private func failDepartures() {
    let writes = departures.flatMap(\.writes) + unflushed
    departures.removeAll()
    unflushed = []
    for write in writes { write.promise?.fail(ChannelError.ioOnClosedChannel) }
  }
}

extension ChannelPipeline.SynchronousOperations {
  /// Has everything on the connection take that much longer, each way; nothing where that is no time.
  ///
  /// - Parameter awaitsReads: of a channel that does not read by itself.
  package func addLinkDelay(_ delay: TimeAmount, awaitsReads: Bool = false) throws {
    guard delay > .zero else { return }
    try addHandler(LinkDelay(delay, awaitsReads: awaitsReads), position: .first)
  }
}

import NIOCore
import Synchronization
import WAL

/// Where connections come in: until the node has its data each is a `StartingConnection`, from then on
/// the lanes'.
final class Entrance: Sendable {
  let address: String
  let limits: Limits
  let progress: StartProgress
  private let usesFastLane: Bool
  private let told = Mutex<DoorStanding?>(nil)
  private let taker = Mutex<(@Sendable (Announcement) -> Void)?>(nil)
  /// Nil until the node has its data.
  private let opened = Mutex<[LoopState]?>(nil)

  init(_ configuration: Configuration, progress: StartProgress) {
    address = configuration.address
    limits = configuration.limits
    usesFastLane = configuration.usesFastLane
    self.progress = progress
  }

  /// How far the node's log is, once that is known.
  var standing: DoorStanding? {
    get { told.withLock { $0 } }
    set { told.withLock { $0 = newValue } }
  }

  /// Gets what leaders announce; nil where that is not waited for.
  var announcements: (@Sendable (Announcement) -> Void)? {
    get { taker.withLock { $0 } }
    set { taker.withLock { $0 = newValue } }
  }

  /// Answers an announcement to a node that serves nothing yet.
  func take(_ query: [UInt8]) -> (Answer, String) {
    guard let announcements else {
      return (Answer(.unavailable, .json), "{\"error\":\"the node is starting\"}")
    }
    do throws(Announcement.Refusal) {
      announcements(try Announcement(query))
      return (Answer(.noContent), "")
    } catch {
      var body = ByteBuffer()
      body.writeString("{\"error\":")
      var text = "no announcement: \(error)"
      text.withUTF8 { JSONText.writeString(UnsafeRawBufferPointer($0), into: &body) }
      body.writeString("}")
      return (Answer(.badRequest, .json), String(buffer: body))
    }
  }

  /// Those of the lanes; none before `open`.
  var loops: [LoopState] { opened.withLock { $0 } ?? [] }
  var isOpen: Bool { opened.withLock { $0 != nil } }

  /// From here on requests reach the node, on connections that are there already, too.
  func open(_ loops: [LoopState]) {
    opened.withLock { $0 = loops }
  }

  /// From here on they do not.
  func shut() {
    opened.withLock { $0 = nil }
  }

  /// Adds what a connection goes on with.
  func admit(_ channel: any Channel) throws {
    guard let loops = opened.withLock({ $0 }) else {
      return try channel.pipeline.syncOperations.addHandler(StartingConnection(self))
    }
    let loop = loops.first { $0.eventLoop === channel.eventLoop }!
    try Listener.configure(channel, loop: loop, usesFastLane: usesFastLane)
  }
}

/// Accepts no more than some connections at a time, as long as the node is starting; the others wait
/// in the system's queue until some of these are closed, or the node has started. In the pipeline of
/// the socket that listens.
final class AcceptGate: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = any Channel
  typealias InboundOut = any Channel
  typealias OutboundIn = Never
  typealias OutboundOut = Never

  private let openMax: Int
  private var open = 0
  private var isHeld = false
  private var context: ChannelHandlerContext?

  /// - Parameter openMax: accepting ends there; the system hands over a few at a time, which may be
  ///   more.
  init(openMax: Int) { self.openMax = openMax }

  func handlerAdded(context: ChannelHandlerContext) { self.context = context }

  func handlerRemoved(context: ChannelHandlerContext) { self.context = nil }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    open += 1
    unwrapInboundIn(data).closeFuture.hop(to: context.eventLoop).assumeIsolated()
      .whenComplete { _ in self.left() }
    context.fireChannelRead(data)
  }

  func read(context: ChannelHandlerContext) {
    if open < openMax { context.read() } else { isHeld = true }
  }

  private func left() {
    open -= 1
    if open < openMax { goOn() }
  }

  private func goOn() {
    guard isHeld, let context else { return }
    isHeld = false
    context.read()
  }

  /// Takes the gate out of a pipeline. On its event loop.
  static func lift(from channel: any Channel) throws {
    let pipeline = channel.pipeline.syncOperations
    let gate = try pipeline.handler(type: AcceptGate.self)
    gate.goOn()
    pipeline.removeHandler(gate, promise: nil)
  }
}

import NIOCore
import NIOHTTP1
import NIOPosix

/// One HTTP/1.1 connection to a node: one request at a time, kept open in between.
///
/// Every request ends: with the answer, or with an error by its deadline at the latest, after which
/// the connection is closed.
public final class KVConnection: Sendable {
  public let address: NodeAddress
  private let channel: any Channel
  private let handler: NIOLoopBound<ExchangeHandler>

  private init(_ address: NodeAddress, _ channel: any Channel, _ handler: ExchangeHandler) {
    self.address = address
    self.channel = channel
    self.handler = NIOLoopBound(handler, eventLoop: channel.eventLoop)
  }

  /// - Parameter answerBytesMax: the bound of an answer's body.
  /// - Returns: a connection on `eventLoop`, or `KVClientError.neverSent`.
  public static func connect(
    to address: NodeAddress, on eventLoop: any EventLoop, deadline: NIODeadline,
    answerBytesMax: Int = KVLimits().answerBytesMax
  ) -> EventLoopFuture<KVConnection> {
    open(address, on: eventLoop, deadline: deadline, answerBytesMax: answerBytesMax)
      .flatMapErrorThrowing { throw KVClientError.neverSent(address, FailureCause(connecting: $0)) }
  }

  /// Fails with whatever NIO says.
  static func open(
    _ address: NodeAddress, on eventLoop: any EventLoop, deadline: NIODeadline, answerBytesMax: Int,
    linkDelay: TimeAmount = .zero
  ) -> EventLoopFuture<KVConnection> {
    // Bounded, because NIO adds it to a later time.
    let left = min(deadline - .now(), .hours(24))
    guard left > .nanoseconds(0) else {
      return eventLoop.makeFailedFuture(ChannelError.connectTimeout(left))
    }
    let bootstrap = ClientBootstrap(group: eventLoop)
      .connectTimeout(left)
      .channelInitializer { channel in
        channel.eventLoop.makeCompletedFuture {
          let exchanges = ExchangeHandler(answerBytesMax: answerBytesMax)
          let pipeline = channel.pipeline.syncOperations
          try pipeline.addLinkDelay(linkDelay)
          try pipeline.addHandler(ArrivalHandler(exchanges))
          // What is sent has been validated.
          try pipeline.addHTTPClientHandlers(enableOutboundHeaderValidation: false)
          try pipeline.addHandler(exchanges)
        }
      }
    let connected: EventLoopFuture<any Channel>
    do {
      // Without a look-up, which would take a thread.
      let socket = try SocketAddress(ipAddress: address.host, port: Int(address.port))
      connected = bootstrap.connect(to: socket)
    } catch {
      connected = bound(
        bootstrap.connect(host: address.host, port: Int(address.port)), by: deadline, left)
    }
    return connected.flatMapThrowing { channel in
      // Where nobody listens on a port that the system also gives out, TCP can connect it to itself
      // (RFC 9293, section 3.5, simultaneous open).
      if let local = channel.localAddress, local == channel.remoteAddress {
        channel.close(promise: nil)
        throw SelfConnection()
      }
      let handler = try channel.pipeline.syncOperations.handler(type: ExchangeHandler.self)
      return KVConnection(address, channel, handler)
    }
  }

  /// Gives a connection up whose name is still being looked up at the deadline: the system takes its own
  /// time for that.
  private static func bound(
    _ connected: EventLoopFuture<any Channel>, by deadline: NIODeadline, _ left: TimeAmount
  ) -> EventLoopFuture<any Channel> {
    let promise = connected.eventLoop.makePromise(of: (any Channel).self)
    let isOver = NIOLoopBoundBox.makeBoxSendingValue(
      false, as: Bool.self, eventLoop: connected.eventLoop)
    let timer = connected.eventLoop.scheduleTask(deadline: deadline) {
      guard !isOver.value else { return }
      isOver.value = true
      promise.fail(ChannelError.connectTimeout(left))
    }
    connected.whenComplete { result in
      timer.cancel()
      guard !isOver.value else {
        if case .success(let channel) = result { channel.close(promise: nil) }
        return
      }
      isOver.value = true
      promise.completeWith(result)
    }
    return promise.futureResult
  }

  public var eventLoop: any EventLoop { channel.eventLoop }

  /// Succeeds once the connection is closed, by whichever side.
  public var closeFuture: EventLoopFuture<Void> { channel.closeFuture }

  /// Ready for a request. Only on its event loop.
  var isIdle: Bool { handler.value.isIdle }

  /// - Returns: the answer, whatever its status, or `KVClientError.badRequest`, `.neverSent` or
  ///   `.outcomeUnknown`.
  public func execute(_ request: KVRequest, deadline: NIODeadline) -> EventLoopFuture<KVResponse> {
    let promise = eventLoop.makePromise(of: KVResponse.self)
    do throws(KVClientError) {
      try request.validate()
    } catch {
      promise.fail(error)
      return promise.futureResult
    }
    exchange(request, deadline: deadline) { [address] outcome in
      switch outcome {
      case .answered(let answer): promise.succeed(answer)
      case .failed(let failure): promise.fail(KVClientError(failure, request, address))
      }
    }
    return promise.futureResult
  }

  /// Sends a request that has been validated, and calls `completion` exactly once, on the
  /// connection's event loop.
  ///
  /// - Parameter id: for `cancel`.
  func exchange(
    _ request: KVRequest, deadline: NIODeadline, id: ObjectIdentifier? = nil,
    completion: @escaping ExchangeHandler.Completion
  ) {
    let head = request.head(to: address)
    if eventLoop.inEventLoop {
      handler.value.execute(
        head, body: request.body, answerBytesMax: request.answerBytesMax, deadline: deadline,
        id: id,
        completion: completion)
    } else {
      eventLoop.execute { [handler] in
        handler.value.execute(
          head, body: request.body, answerBytesMax: request.answerBytesMax, deadline: deadline,
          id: id, completion: completion)
      }
    }
  }

  /// Has that exchange fail, and closes the connection, if it is under way.
  func cancel(_ id: ObjectIdentifier) {
    eventLoop.execute { [handler] in handler.value.cancel(id) }
  }

  /// Closes at once. A request under way fails.
  @discardableResult
  public func close() -> EventLoopFuture<Void> {
    channel.close(promise: nil)
    return channel.closeFuture
  }
}

/// Both ends of the connection are this one.
struct SelfConnection: Error {}

extension KVClientError {
  init(_ failure: ExchangeFailure, _ request: KVRequest, _ address: NodeAddress) {
    self =
      failure.wasSent
      ? .outcomeUnknown(address, failure.cause, request.method)
      : .neverSent(address, failure.cause)
  }
}

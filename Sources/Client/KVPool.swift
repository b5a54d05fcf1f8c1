import NIOCore
import NIOPosix
import Synchronization

/// Kept-open connections to nodes, for any number of requests from any thread.
///
/// A request to a node takes a kept-open connection, or makes one, or waits for one, within the
/// bounds of `KVLimits`; all of that counts towards its deadline. A request that finds its kept-open
/// connection closed by the node is sent once more, on a new connection, when that cannot do it
/// twice: nothing was sent, or it is idempotent and no byte of an answer had come.
public final class KVPool: Sendable {
  public let limits: KVLimits
  private let group: any EventLoopGroup
  private let state: Mutex<PoolState>
  /// Runs while connections are kept open.
  private let sweep = Mutex<Scheduled<Void>?>(nil)
  /// Made when the pool is closed.
  private let drained = Mutex<EventLoopPromise<Void>?>(nil)

  /// - Parameter group: outlives the pool, which does not shut it down.
  public init(
    group: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton, limits: KVLimits = KVLimits()
  ) {
    self.group = group
    self.limits = limits
    state = Mutex(PoolState(limits: limits))
  }

  /// - Parameter eventLoop: where the answer is wanted; by default the one that calls, if any does.
  /// - Returns: the answer, whatever its status, or `KVClientError.badRequest`, `.neverSent` or
  ///   `.outcomeUnknown`.
  public func execute(
    _ request: KVRequest, on address: NodeAddress, deadline: NIODeadline,
    eventLoop: (any EventLoop)? = nil
  ) -> EventLoopFuture<KVResponse> {
    let promise = (eventLoop ?? group.any()).makePromise(of: KVResponse.self)
    do throws(KVClientError) {
      try request.validate()
    } catch {
      promise.fail(error)
      return promise.futureResult
    }
    begin(PooledRequest(request, address, deadline, promise))
    return promise.futureResult
  }

  /// The same for a task, whose cancellation ends the request.
  ///
  /// - Throws: `KVClientError.badRequest`, `.neverSent` or `.outcomeUnknown`, with the cause `.cancelled`
  ///   for a task that was.
  public func answer(
    to request: KVRequest, on address: NodeAddress, deadline: NIODeadline
  ) async throws(KVClientError) -> KVResponse {
    try request.validate()
    let pooled = PooledRequest(
      request, address, deadline, group.any().makePromise(of: KVResponse.self))
    do {
      return try await withTaskCancellationHandler {
        begin(pooled)
        return try await pooled.promise.futureResult.get()
      } onCancel: {
        // What waited gives its turn up; what a connection is being made for leaves it to others.
        if !pooled.cancel() { _ = state.withLock { $0.withdraw(pooled) } }
      }
    } catch {
      // The pool fails with nothing else.
      throw error as? KVClientError
        ?? .outcomeUnknown(address, .system("\(error)"), request.method)
    }
  }

  private func begin(_ pooled: PooledRequest) {
    guard !pooled.isCancelled else { return }
    switch state.withLock({ $0.admit(pooled) }) {
    case .use(let connection): exchange(pooled, on: connection, isKept: true)
    case .connect: connect(pooled)
    case .wait:
      limitWait(of: pooled)
      // Cancelled in between: it was not among those who wait yet.
      if pooled.isCancelled { _ = state.withLock { $0.withdraw(pooled) } }
    case .refuse(let cause): pooled.fail(.unsent(cause))
    }
  }

  /// Admits nothing more. Requests that wait fail; those under way go on to their end.
  ///
  /// - Returns: when all connections are closed.
  @discardableResult
  public func close() -> EventLoopFuture<Void> {
    let drained = self.drained.withLock { drained in
      let promise = drained ?? group.any().makePromise()
      drained = promise
      return promise
    }
    let (waiting, kept) = state.withLock { $0.close() }
    sweep.withLock { $0?.cancel() }
    for request in waiting { request.fail(.unsent(.poolClosed)) }
    for connection in kept { connection.close() }
    completeIfDrained()
    return drained.futureResult
  }

  /// Connections that are open, in use or not.
  public var openConnections: Int { state.withLock { $0.openCount } }

  /// Places that requests hold. One that was cancelled holds its own until its connection is made or closed,
  /// which may be a moment after its task knows.
  package var heldPlaces: Int { state.withLock { $0.heldCount } }

  // MARK: - A request that has a place

  private func connect(_ pooled: PooledRequest) {
    guard !pooled.isCancelled else { return abandon(pooled, nil) }
    let latest = limits.connectTimeout.map { .now() + $0 } ?? pooled.deadline
    KVConnection.open(
      pooled.address, on: pooled.eventLoop, deadline: min(pooled.deadline, latest),
      answerBytesMax: limits.answerBytesMax, linkDelay: limits.linkDelay
    ).whenComplete { result in
      switch result {
      case .success(let connection):
        self.state.withLock { $0.opened() }
        connection.closeFuture.whenComplete { _ in
          self.state.withLock { $0.closed(connection) }
          self.completeIfDrained()
        }
        self.exchange(pooled, on: connection, isKept: false)
      case .failure(let error):
        self.release(pooled.address, nil)
        pooled.fail(.unsent(FailureCause(connecting: error)))
      }
    }
  }

  private func exchange(_ pooled: PooledRequest, on connection: KVConnection, isKept: Bool) {
    guard connection.eventLoop.inEventLoop else {
      return connection.eventLoop.execute { self.exchange(pooled, on: connection, isKept: isKept) }
    }
    guard pooled.enter(connection) else { return abandon(pooled, connection) }
    connection.exchange(
      pooled.request, deadline: pooled.deadline, id: ObjectIdentifier(pooled)
    ) { outcome in
      switch outcome {
      case .answered(let answer):
        self.release(pooled.address, connection.isIdle ? connection : nil)
        pooled.promise.succeed(answer)
      case .failed(let failure) where isKept && Self.mayRepeat(pooled.request, after: failure):
        pooled.leave()
        self.connect(pooled)
      case .failed(let failure):
        self.release(pooled.address, connection.isIdle ? connection : nil)
        pooled.fail(failure)
      }
    }
  }

  private static func mayRepeat(_ request: KVRequest, after failure: ExchangeFailure) -> Bool {
    switch failure.cause {
    case .connectionClosed, .system:
      !failure.wasSent || request.isIdempotent && !failure.didAnswerBegin
    default: false
    }
  }

  /// Gives back what a cancelled request has got.
  private func abandon(_ pooled: PooledRequest, _ connection: KVConnection?) {
    pooled.fail(.unsent(.cancelled))
    release(pooled.address, connection.flatMap { $0.isIdle ? $0 : nil })
  }

  private func release(_ address: NodeAddress, _ connection: KVConnection?) {
    let now = NIODeadline.now()
    switch state.withLock({ $0.release(address, connection, now: now) }) {
    case .use(let connection, let next):
      exchange(next, on: connection, isKept: true)
    case .connect(let next):
      // Not from here: where connections fail at once, each waiting request would be one call deeper.
      next.eventLoop.execute { self.connect(next) }
    case .close(let connection):
      connection.close()
    case .none:
      if connection != nil { sweepLater(at: now + limits.idleTimeout) }
    }
    completeIfDrained()
  }

  private func completeIfDrained() {
    guard state.withLock({ $0.becomesDrained() }) else { return }
    drained.withLock { $0 }?.succeed()
  }

  // MARK: - Time

  private func limitWait(of pooled: PooledRequest) {
    guard pooled.deadline < .distantFuture else { return }
    let timer = pooled.eventLoop.scheduleTask(deadline: pooled.deadline) {
      guard self.state.withLock({ $0.withdraw(pooled) }) else { return }
      pooled.fail(.unsent(.timedOut(.freeConnection)))
    }
    pooled.promise.futureResult.whenComplete { _ in timer.cancel() }
  }

  /// Unless a sweep is due already, which then sees to the next.
  private func sweepLater(at deadline: NIODeadline) {
    sweep.withLock { sweep in
      guard sweep == nil, !state.withLock({ $0.isClosed }) else { return }
      sweep = scheduleSweep(at: deadline)
    }
  }

  private func closeIdle() {
    let idle = sweep.withLock { sweep in
      let (idle, next) = state.withLock { $0.takeIdle(now: .now()) }
      sweep = next.map(scheduleSweep)
      return idle
    }
    for connection in idle { connection.close() }
  }

  private func scheduleSweep(at deadline: NIODeadline) -> Scheduled<Void> {
    group.any().scheduleTask(deadline: deadline) { self.closeIdle() }
  }
}

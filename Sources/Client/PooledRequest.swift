import NIOCore
import Synchronization

/// A request on its way through a pool.
final class PooledRequest: Sendable {
  private enum Place {
    /// It waits, or a connection is being made for it.
    case outside
    case on(KVConnection)
    case cancelled
  }

  let request: KVRequest
  let address: NodeAddress
  let deadline: NIODeadline
  /// May be completed more than once, when the request is cancelled; the first time counts.
  let promise: EventLoopPromise<KVResponse>
  private let place = Mutex(Place.outside)

  init(
    _ request: KVRequest, _ address: NodeAddress, _ deadline: NIODeadline,
    _ promise: EventLoopPromise<KVResponse>
  ) {
    self.request = request
    self.address = address
    self.deadline = deadline
    self.promise = promise
  }

  /// Where the answer is wanted, and a new connection made.
  var eventLoop: any EventLoop { promise.futureResult.eventLoop }

  func fail(_ failure: ExchangeFailure) {
    promise.fail(KVClientError(failure, request, address))
  }

  // MARK: - Cancellation

  var isCancelled: Bool {
    place.withLock { if case .cancelled = $0 { true } else { false } }
  }

  /// It is about to be sent over a connection.
  ///
  /// - Returns: false when it was cancelled: nothing is to be sent.
  func enter(_ connection: KVConnection) -> Bool {
    place.withLock { place in
      if case .cancelled = place { return false }
      place = .on(connection)
      return true
    }
  }

  /// It is not on that connection any more, and will be sent once more.
  func leave() {
    place.withLock { place in
      if case .on = place { place = .outside }
    }
  }

  /// Ends it early. What was sent already fails as of unknown outcome.
  ///
  /// - Returns: false when it holds no connection: then it has failed now.
  func cancel() -> Bool {
    let connection: KVConnection? = place.withLock { place in
      defer { place = .cancelled }
      if case .on(let connection) = place { return connection }
      return nil
    }
    guard let connection else {
      fail(.unsent(.cancelled))
      return false
    }
    connection.cancel(ObjectIdentifier(self))
    return true
  }
}

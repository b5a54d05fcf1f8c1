#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// One socket to one node, with the exchanges that wait for answers, in order.
final class Connection {
  enum State {
    /// Not there; the next attempt is at that time.
    case closed(retryAt: UInt64)
    case connecting(deadline: UInt64)
    case open
  }

  static let retryFirstNanoseconds: UInt64 = 5_000_000
  static let retryMaxNanoseconds: UInt64 = 500_000_000

  let number: Int
  let node: Int
  let address: SocketAddress
  let text: RequestText
  var state = State.closed(retryAt: 0)
  var descriptor: Int32 = -1
  var parser = AnswerParser()
  var output = OutputBuffer()
  /// The start of an answer whose rest has not come yet.
  var leftover: [UInt8] = []
  /// Whether room to write is being waited for.
  var awaitsRoom = false
  /// In the list of those that have something to send.
  var isListed = false
  /// Whether an attempt to connect has been made.
  var wasTried = false
  /// Doubled with every attempt that led to no answer.
  var retryNanoseconds: UInt64 = 0

  private let exchanges: UnsafeMutablePointer<Exchange>
  private let exchangesMax: Int
  private var first = 0
  private(set) var exchangeCount = 0

  /// Made once it is needed.
  private let isSpare: Bool

  init(
    number: Int, node: Int, address: SocketAddress, text: RequestText, exchangesMax: Int,
    isSpare: Bool
  ) {
    self.isSpare = isSpare
    self.number = number
    self.node = node
    self.address = address
    self.text = text
    self.exchangesMax = exchangesMax
    exchanges = .allocate(capacity: exchangesMax)
  }

  deinit {
    if descriptor >= 0 { close(descriptor) }
    while exchangeCount > 0 { _ = removeFirst() }
    exchanges.deallocate()
  }

  // MARK: - Exchanges

  /// - Returns: where it is, for `withExchange`.
  func append(_ exchange: Exchange) -> Int {
    precondition(exchangeCount < exchangesMax)
    let index = (first + exchangeCount) % exchangesMax
    (exchanges + index).initialize(to: exchange)
    exchangeCount += 1
    return index
  }

  /// Whether there is something to connect for.
  var isWanted: Bool { !isSpare || exchangeCount > 0 }

  var oldest: Exchange? { exchangeCount > 0 ? exchanges[first] : nil }

  func removeFirst() -> Exchange {
    precondition(exchangeCount > 0)
    let exchange = (exchanges + first).move()
    first = first + 1 == exchangesMax ? 0 : first + 1
    exchangeCount -= 1
    return exchange
  }

  /// Calls `body` with each that was not sent.
  func forUnsent(_ body: (inout Exchange) -> Void) {
    for offset in 0..<exchangeCount {
      let index = (first + offset) % exchangesMax
      if exchanges[index].sent == 0 { body(&exchanges[index]) }
    }
  }

  func withExchange(at index: Int, _ body: (inout Exchange) -> Void) { body(&exchanges[index]) }

  // MARK: - Socket

  /// Sends as much as goes.
  ///
  /// - Returns: false when the connection is broken.
  func send() -> Bool {
    while !output.isEmpty {
      let bytes = output.unsent
      let count = systemSend(descriptor, bytes.baseAddress!, bytes.count)
      if count > 0 {
        output.removeFirst(count)
      } else if errno == EAGAIN {
        return true
      } else if errno != EINTR {
        return false
      }
    }
    return true
  }

  /// Forgets the socket and what was on its way.
  func reset() {
    if descriptor >= 0 { close(descriptor) }
    descriptor = -1
    awaitsRoom = false
    output.clear()
    leftover.removeAll(keepingCapacity: true)
    parser = AnswerParser()
  }
}

private func systemSend(_ descriptor: Int32, _ bytes: UnsafeRawPointer, _ count: Int) -> Int {
  #if canImport(Glibc)
    send(descriptor, bytes, count, Int32(MSG_NOSIGNAL))
  #else
    send(descriptor, bytes, count, MSG_NOSIGNAL)
  #endif
}

import NIOCore

/// A client of one node, which follows where that node redirects it.
///
/// Each call ends within `timeout`, and when its task is cancelled. All of them fail with what `send`
/// fails with, and with `.refused` or `.unexpectedAnswer` for an answer that is not what they ask for.
/// Keys and values are bytes.
public struct NodeClient: Sendable {
  public let address: NodeAddress
  /// For each call, redirections included.
  public let timeout: Duration
  private let pool: KVPool

  /// As many as a request may be forwarded within the cluster.
  package static let redirectionsMax = 3

  /// - Parameter pool: closed by whoever made it.
  public init(_ address: NodeAddress, pool: KVPool, timeout: Duration = .seconds(5)) {
    self.address = address
    self.pool = pool
    self.timeout = timeout
  }

  /// Runs `body` with a client that has connections of its own, and closes them.
  public static func with<R>(
    _ address: NodeAddress, timeout: Duration = .seconds(5),
    _ body: (NodeClient) async throws(KVClientError) -> R
  ) async throws(KVClientError) -> R {
    let pool = KVPool()
    defer { pool.close() }
    return try await body(NodeClient(address, pool: pool, timeout: timeout))
  }

  /// - Returns: nil when the key is absent.
  public func get(_ key: [UInt8]) async throws(KVClientError) -> KVEntry? {
    let (answer, node) = try await answer(to: KVRequest(.GET, KeyExchange.target(key)))
    return try KeyExchange.entry(answer, node)
  }

  /// - Returns: the number of the write.
  public func put(
    _ key: [UInt8], _ value: [UInt8], if condition: KVCondition? = nil
  ) async throws(KVClientError) -> UInt64 {
    let request = KeyExchange.put(try KeyExchange.target(key), value, if: condition)
    let (answer, node) = try await answer(to: request)
    guard answer.status == 200 || answer.status == 201 else {
      throw KeyExchange.refusal(answer, node)
    }
    return try KeyExchange.version(answer, node)
  }

  /// - Returns: false when the key was absent already.
  public func delete(
    _ key: [UInt8], if condition: KVCondition? = nil
  ) async throws(KVClientError) -> Bool {
    let request = KeyExchange.delete(try KeyExchange.target(key), if: condition)
    let (answer, node) = try await answer(to: request)
    return try KeyExchange.deleted(answer, node)
  }

  /// - Returns: the node's status, JSON in UTF-8.
  public func status() async throws(KVClientError) -> [UInt8] {
    let (answer, node) = try await answer(to: KVRequest(.GET, "/status"))
    guard answer.status == 200 else { throw KeyExchange.refusal(answer, node) }
    return Array(answer.body.readableBytesView)
  }

  /// Sends any request, and follows what a 307 says.
  ///
  /// - Returns: the answer, whatever its status.
  /// - Throws: `KVClientError.badRequest`, `.neverSent`, `.outcomeUnknown`, `.tooManyRedirections`, or
  ///   `.unexpectedAnswer` for a redirection to nowhere.
  public func send(_ request: KVRequest) async throws(KVClientError) -> KVResponse {
    try await answer(to: request).0
  }

  /// The answer, and the node that gave it.
  private func answer(
    to request: KVRequest
  ) async throws(KVClientError) -> (KVResponse, NodeAddress) {
    let deadline = NIODeadline.now() + TimeAmount(timeout)
    var (request, node) = (request, address)
    for _ in 0...Self.redirectionsMax {
      let answer = try await pool.answer(to: request, on: node, deadline: deadline)
      guard answer.status == 307 else { return (answer, node) }
      guard let redirection = Redirection(answer, from: node) else {
        throw .unexpectedAnswer(node, Redirection.isUnusable)
      }
      (request.target, node) = (redirection.target, redirection.address)
    }
    throw .tooManyRedirections(node, max: Self.redirectionsMax)
  }
}

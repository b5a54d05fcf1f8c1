import NIOCore
import NIOHTTP1

/// A value as it was read.
public struct KVEntry: Hashable, Sendable {
  public var value: [UInt8]
  /// The number of the write that it comes from.
  public var version: UInt64
  /// What `KVCondition.matches` takes. Opaque.
  public var etag: String
}

/// What must hold for a write to be done.
public enum KVCondition: Hashable, Sendable {
  /// `If-Match`: the key has this ETag; `*` for any.
  case matches(String)
  /// `If-None-Match`: the key does not have this ETag; `*`: it is absent.
  case matchesNot(String)

  var header: (name: String, value: String) {
    switch self {
    case .matches(let etag): ("If-Match", etag)
    case .matchesNot(let etag): ("If-None-Match", etag)
    }
  }
}

/// A client of one node, which sees to it that the right node answers.
///
/// Each call ends within `timeout`. Cancelling the task does not end it earlier. All of them fail with
/// what `send` fails with, and with `.refused` or `.unexpectedAnswer` for an answer that is not what
/// they ask for. Keys and values are bytes.
public struct KVClient: Sendable {
  public let address: NodeAddress
  /// For each call, redirections included.
  public let timeout: Duration
  private let pool: KVPool

  /// As many as a request may be forwarded within the cluster.
  private static let redirectionsMax = 3

  /// - Parameter pool: closed by whoever made it.
  public init(_ address: NodeAddress, pool: KVPool, timeout: Duration = .seconds(5)) {
    self.address = address
    self.pool = pool
    self.timeout = timeout
  }

  /// Runs `body` with a client that has connections of its own, and closes them.
  public static func with<R>(
    _ address: NodeAddress, timeout: Duration = .seconds(5),
    _ body: (KVClient) async throws(KVClientError) -> R
  ) async throws(KVClientError) -> R {
    let pool = KVPool()
    defer { pool.close() }
    return try await body(KVClient(address, pool: pool, timeout: timeout))
  }

  /// - Returns: nil when the key is absent.
  public func get(_ key: [UInt8]) async throws(KVClientError) -> KVEntry? {
    let (answer, node) = try await answer(to: KVRequest(.GET, Self.target(key)))
    switch answer.status {
    case 200:
      guard let etag = answer.etag else {
        throw .unexpectedAnswer(node, "the answer has no ETag")
      }
      return KVEntry(
        value: Array(answer.body.readableBytesView), version: try Self.version(answer, node),
        etag: etag)
    case 404: return nil
    default: throw .refused(node, status: answer.status, message: RefusalText.text(answer.body))
    }
  }

  /// - Returns: the number of the write.
  public func put(
    _ key: [UInt8], _ value: [UInt8], if condition: KVCondition? = nil
  ) async throws(KVClientError) -> UInt64 {
    var request = KVRequest(.PUT, try Self.target(key), body: ByteBuffer(bytes: value))
    if let (name, value) = condition?.header { request.headers.add(name: name, value: value) }
    let (answer, node) = try await answer(to: request)
    switch answer.status {
    case 200, 201: return try Self.version(answer, node)
    default: throw .refused(node, status: answer.status, message: RefusalText.text(answer.body))
    }
  }

  /// - Returns: false when the key was absent already.
  public func delete(
    _ key: [UInt8], if condition: KVCondition? = nil
  ) async throws(KVClientError) -> Bool {
    var request = KVRequest(.DELETE, try Self.target(key))
    if let (name, value) = condition?.header { request.headers.add(name: name, value: value) }
    let (answer, node) = try await answer(to: request)
    switch answer.status {
    case 200, 204: return true
    case 404: return false
    default: throw .refused(node, status: answer.status, message: RefusalText.text(answer.body))
    }
  }

  /// - Returns: the node's status, JSON in UTF-8.
  public func status() async throws(KVClientError) -> [UInt8] {
    let (answer, node) = try await answer(to: KVRequest(.GET, "/status"))
    guard answer.status == 200 else {
      throw .refused(node, status: answer.status, message: RefusalText.text(answer.body))
    }
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
      let answer = try await answer(to: request, on: node, deadline: deadline)
      guard answer.status == 307 else { return (answer, node) }
      guard let location = answer.headers.first(name: "Location"),
        let redirection = Redirection(location: location, from: node)
      else { throw .unexpectedAnswer(node, "a redirection without a usable Location") }
      (request.target, node) = (redirection.target, redirection.address)
    }
    throw .tooManyRedirections(node, max: Self.redirectionsMax)
  }

  private func answer(
    to request: KVRequest, on node: NodeAddress, deadline: NIODeadline
  ) async throws(KVClientError) -> KVResponse {
    do {
      return try await pool.execute(request, on: node, deadline: deadline).get()
    } catch {
      // The pool fails with nothing else.
      throw error as? KVClientError
        ?? .outcomeUnknown(node, .system("\(error)"), request.method)
    }
  }

  private static func target(_ key: [UInt8]) throws(KVClientError) -> String {
    guard !key.isEmpty else { throw .badRequest("the key is empty: every key has a byte at least") }
    return KeyTarget.path(key)
  }

  private static func version(
    _ answer: KVResponse, _ node: NodeAddress
  ) throws(KVClientError) -> UInt64 {
    guard let version = answer.version else {
      throw .unexpectedAnswer(node, "the answer has no X-KV-Version")
    }
    return version
  }
}

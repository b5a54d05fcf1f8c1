import Client
import NIOCore
import NIOPosix
import Testing

/// Runs `body` with a server and a pool, and closes both. Nothing may be open then.
func withServer(
  limits: KVLimits = KVLimits(), _ script: @escaping ScriptedServer.Script,
  body: (ScriptedServer, KVPool) async throws -> Void
) async throws {
  let server = try await ScriptedServer(script)
  let pool = KVPool(limits: limits)
  var failure: (any Error)?
  do {
    try await body(server, pool)
  } catch {
    failure = error
  }
  server.release()
  try await pool.close().get()
  #expect(pool.openConnections == 0)
  try await server.close()
  if let failure { throw failure }
}

/// Runs `body` with a server and one connection to it.
func withConnection(
  answerBytesMax: Int = 1 << 20, _ script: @escaping ScriptedServer.Script,
  body: (ScriptedServer, KVConnection) async throws -> Void
) async throws {
  try await withServer(script) { server, _ in
    let connection = try await KVConnection.connect(
      to: server.address, on: MultiThreadedEventLoopGroup.singleton.next(), deadline: .soon,
      answerBytesMax: answerBytesMax
    ).get()
    try await body(server, connection)
    try await connection.close().get()
  }
}

/// Runs `body` with a port of 127.0.0.1 where nobody listens, and nobody else will meanwhile: it is
/// that of a connection's near end.
func withRefusingPort(
  of server: ScriptedServer, body: (UInt16) async throws -> Void
) async throws {
  let near = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
    .connect(host: server.address.host, port: Int(server.address.port)).get()
  try await body(UInt16(near.localAddress!.port!))
  try await near.close()
}

/// Waits until something becomes true that no future tells of.
func eventually(
  _ what: Comment, sourceLocation: SourceLocation = #_sourceLocation,
  _ condition: () async throws -> Bool
) async throws {
  let end = ContinuousClock.now + .seconds(10)
  while try await !condition() {
    try #require(ContinuousClock.now < end, what, sourceLocation: sourceLocation)
    try await Task.sleep(for: .milliseconds(1))
  }
}

func expect(
  _ answer: EventLoopFuture<KVResponse>, toGiveText text: String,
  sourceLocation: SourceLocation = #_sourceLocation
) async throws {
  let answer = try await answer.get()
  #expect(answer.text == text, sourceLocation: sourceLocation)
}

func expect(
  _ answer: EventLoopFuture<KVResponse>, toGiveStatus status: Int,
  sourceLocation: SourceLocation = #_sourceLocation
) async throws {
  let answer = try await answer.get()
  #expect(answer.status == status, sourceLocation: sourceLocation)
}

/// The request must fail, with this error.
func expect<Value: Sendable>(
  _ answer: EventLoopFuture<Value>, toFailWith error: KVClientError,
  sourceLocation: SourceLocation = #_sourceLocation
) async throws {
  let failure = try await answer.failure(sourceLocation: sourceLocation)
  try #require(failure == error, sourceLocation: sourceLocation)
}

extension EventLoopFuture where Value: Sendable {
  /// The client's error, which must come.
  func failure(sourceLocation: SourceLocation = #_sourceLocation) async throws -> KVClientError {
    let error = await #expect(throws: KVClientError.self, sourceLocation: sourceLocation) {
      _ = try await self.get()
    }
    return try #require(error, sourceLocation: sourceLocation)
  }
}

extension NIODeadline {
  /// Later than a test takes.
  static var soon: NIODeadline { .now() + .seconds(10) }
}

extension KVResponse {
  var text: String { String(buffer: body) }
}

/// The bytes of a text.
func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

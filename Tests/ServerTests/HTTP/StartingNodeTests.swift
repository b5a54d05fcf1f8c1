import Foundation
import Logging
import Server
import TemporaryFiles
import Testing
import WAL

@Suite("A node that is starting")
struct StartingNodeTests {
  private let directory = TemporaryDirectory()

  private var dataDirectory: String { directory.path + "/data" }

  private func configuration(_ lane: ConfiguredLane = .fast) -> Configuration {
    var configuration = Configuration(dataDirectory: dataDirectory, host: "127.0.0.1", port: 0)
    configuration.usesFastLane = lane == .fast
    configuration.threads = 1
    configuration.syncPolicy = .none
    configuration.segmentBytes = Format.segmentBytesMin
    configuration.limits.startingSeconds = 60
    return configuration
  }

  /// Starts a node.
  ///
  /// - Parameter body: runs while the node has its port, and nothing else.
  private func start(
    _ configuration: Configuration, progress: StartProgress = StartProgress(),
    _ body: (Int) async throws -> Void
  ) async throws -> Node {
    try await Node.start(
      configuration, logger: Logger.silent, progress: progress,
      prepare: { port in try await body(try #require(port)) }
    ) { _ in }
  }

  @Test("answers every request once, and has touched no file")
  func answers() async throws {
    let node = try await start(configuration()) { port in
      func ask(_ method: String, _ target: String, body: String = "") async throws -> ClientAnswer {
        let connection = try ClientConnection(port: port)
        let answer = try await connection.ask(method, target, body: body)
        #expect(answer["connection"] == "close" && answer["date"] != nil)
        #expect(try await connection.isEnded(), "\(method) \(target)")
        return answer
      }
      for target in ["/health", "/healthz", "/health?a=b"] {
        let health = try await ask("GET", target)
        #expect(health.status == 200 && health.text == "ok" && health["retry-after"] == nil)
      }
      let head = try await ask("HEAD", "/health")
      #expect(head.status == 200 && head["content-length"] == "2")
      let ready = try await ask("GET", "/ready")
      #expect(ready.status == 503 && ready["retry-after"] == "1")
      #expect(ready.text == "recovering: opening the data directory")
      for (method, target, body) in [
        ("GET", "/kv/a", ""), ("PUT", "/kv/a", "v"), ("GET", "/set?key=a&value=v", ""),
        ("POST", "/health", "x"), ("GET", "/status", ""), ("GET", "/none", ""),
        ("PUT", "/kv/a", String(repeating: "v", count: 4 << 20)),
        ("GET", "/" + String(repeating: "a", count: 70_000), ""),
      ] {
        let refusal = try await ask(method, target, body: body)
        #expect(refusal.status == 503 && refusal["retry-after"] == "1")
        #expect(refusal["content-type"] == "application/json")
        #expect(
          refusal.text
            == #"{"error":"the node is starting: opening the data directory","state":"starting"}"#)
      }
      #expect(!FileManager.default.fileExists(atPath: dataDirectory))
    }
    let connection = try ClientConnection(port: try #require(node.port))
    #expect(try await connection.ask("GET", "/kv/a").status == 404)
    #expect(try await connection.ask("GET", "/ready").text == "ready")
    try await node.stop()
  }

  @Test(
    "goes on with the connections that have not sent their request",
    arguments: ConfiguredLane.allCases)
  func handsOver(lane: ConfiguredLane) async throws {
    var silent: ClientConnection?
    var begun: ClientConnection?
    let node = try await start(configuration(lane)) { port in
      silent = try ClientConnection(port: port)
      begun = try ClientConnection(port: port)
      try begun?.send("PUT /kv/a HTTP/1.1\r\nHost: x\r\nContent-Len")
      // What came before this was read before.
      for _ in 0..<3 {
        #expect(try await ClientConnection(port: port).ask("GET", "/health").status == 200)
      }
    }
    let (first, second) = (try #require(silent), try #require(begun))
    try second.send("gth: 5\r\n\r\nvalue")
    #expect(try await second.answer().status == 201)
    #expect(try await second.ask("GET", "/kv/a").text == "value")
    #expect(try await first.ask("GET", "/kv/a").text == "value")
    #expect(try await first.ask("GET", "/metrics").text.contains("shiplog_connections 2"))
    try await node.stop()
  }

  @Test("closes a connection whose head does not come")
  func closesSlow() async throws {
    var configuration = configuration()
    configuration.limits.startingSeconds = 1
    let node = try await start(configuration) { port in
      let silent = try ClientConnection(port: port)
      let begun = try ClientConnection(port: port)
      try begun.send("GET /health HTTP/1.1\r\n")
      let ended = try ClientConnection(port: port)
      ended.endOutput()
      #expect(try await ended.isEnded())
      #expect(try await begun.isEnded())
      #expect(try await silent.isEnded())
    }
    try await node.stop()
  }

  @Test("lets those above the bound wait, and serves them when it has started")
  func bound() async throws {
    var configuration = configuration()
    configuration.limits.startingConnectionsMax = 4
    var silent: [ClientConnection] = []
    var waiting: ClientConnection?
    let node = try await start(configuration) { port in
      for _ in 0..<16 { silent.append(try ClientConnection(port: port)) }
      waiting = try ClientConnection(port: port)
      try waiting?.send("GET", "/ready")
      // Long enough for an answer that must not come yet.
      try await Task.sleep(for: .milliseconds(200))
    }
    #expect(try await waiting?.answer().text == "ready")
    for connection in silent {
      #expect(try await connection.ask("GET", "/ready").text == "ready")
    }
    try await node.stop()
  }

  @Test("goes on to accept when connections that it has answered are gone")
  func accepts() async throws {
    var configuration = configuration()
    configuration.limits.startingConnectionsMax = 1
    let node = try await start(configuration) { port in
      for _ in 0..<50 {
        let connection = try ClientConnection(port: port)
        #expect(try await connection.ask("GET", "/health").status == 200)
      }
    }
    try await node.stop()
  }

  @Test("says that the address is taken before it has touched a file")
  func addressTaken() async throws {
    let first = try await start(configuration()) { _ in }
    var taken = configuration()
    taken.port = try #require(first.port)
    taken.dataDirectory = directory.path + "/other"
    await #expect(throws: NodeError.self) {
      _ = try await self.start(taken) { _ in Issue.record("it has no port") }
    }
    #expect(!FileManager.default.fileExists(atPath: taken.dataDirectory))
    try await first.stop()
  }

  @Test("gives up when it is told to, and has lost nothing by that")
  func cancelled() async throws {
    let first = try await start(configuration()) { _ in }
    let connection = try ClientConnection(port: try #require(first.port))
    #expect(try await connection.ask("PUT", "/kv/a", body: "value").status == 201)
    try await first.stop()
    let progress = StartProgress()
    var port = 0
    await #expect(throws: WALError.cancelled) {
      _ = try await self.start(self.configuration(), progress: progress) {
        port = $0
        progress.cancel()
      }
    }
    #expect(throws: ClientConnection.Failure.self) { _ = try ClientConnection(port: port) }
    let again = try await start(configuration()) { _ in }
    let other = try ClientConnection(port: try #require(again.port))
    #expect(try await other.ask("GET", "/kv/a").text == "value")
    try await again.stop()
  }
}

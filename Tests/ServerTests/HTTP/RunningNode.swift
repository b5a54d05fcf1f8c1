import Logging
import Server
import TemporaryFiles
import WAL

/// The lane that connections begin in.
enum ConfiguredLane: String, CaseIterable, Sendable {
  case fast
  case standard
}

/// A node on a port and in a directory of its own.
final class RunningNode: Sendable {
  private let node: Node
  let port: Int
  private let configuration: Configuration
  private let directory: TemporaryDirectory

  /// Runs `body` beside a node, and stops that.
  ///
  /// - Parameter configure: changes what the node is told at its start.
  static func with(
    _ lane: ConfiguredLane, _ configure: (inout Configuration) -> Void = { _ in },
    _ body: (RunningNode) async throws -> Void
  ) async throws {
    let running = try await start(lane, configure)
    do {
      try await body(running)
    } catch {
      try await running.stop()
      throw error
    }
    try await running.stop()
  }

  /// Starts a node, which whoever calls this stops.
  static func start(
    _ lane: ConfiguredLane, _ configure: (inout Configuration) -> Void = { _ in }
  ) async throws -> RunningNode {
    let directory = TemporaryDirectory()
    var configuration = Configuration(
      dataDirectory: directory.path, host: "127.0.0.1", port: 0)
    configuration.nodeID = "node"
    configuration.usesFastLane = lane == .fast
    configuration.threads = 1
    configuration.syncPolicy = .none
    configuration.segmentBytes = Format.segmentBytesMin
    // However busy the machine is: what is about time sets its own.
    configuration.limits.headSeconds = 60
    configuration.limits.bodySeconds = 60
    configuration.limits.drainSeconds = 60
    configuration.limits.waitMilliseconds = 600_000
    configuration.limits.positionSeconds = 60
    configuration.limits.leaderSearchMilliseconds = 60_000
    configuration.limits.silenceMilliseconds = 60_000
    configure(&configuration)
    if configuration.writeQuorum > 1 {
      // An empty one would wait for members that are not there: it might lack what it has acknowledged.
      var alone = configuration
      alone.writeQuorum = 1
      try await RunningNode(alone, directory).stop()
    }
    return try await RunningNode(configuration, directory)
  }

  private init(_ configuration: Configuration, _ directory: TemporaryDirectory) async throws {
    self.configuration = configuration
    self.directory = directory
    node = try await Node.start(configuration, logger: Logger.silent) { _ in }
    port = node.port!
  }

  func stop() async throws { try await node.stop() }

  /// Another node with the same data, once this one has stopped.
  func reopened() async throws -> RunningNode { try await RunningNode(configuration, directory) }

  func connect() throws -> ClientConnection { try ClientConnection(port: port) }

  /// The answer to one request on a connection of its own.
  func ask(
    _ method: String, _ target: String, _ headers: [String] = [], body: String = ""
  ) async throws -> ClientAnswer {
    try await connect().ask(method, target, headers, body: body)
  }

  var dataDirectory: String { directory.path }

  /// The address that the node gives as its own.
  var address: String { node.address }
}

extension Logger {
  static var silent: Logger { Logger(label: "shiplog") { _ in SwiftLogNoOpLogHandler() } }
}

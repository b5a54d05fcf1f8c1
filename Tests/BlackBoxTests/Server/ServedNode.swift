import Foundation
import Testing

/// A process of `kv serve`.
final class ServedNode: Sendable {
  /// What is said about a process that traces others.
  enum TraceError: Error, CustomStringConvertible {
    case cannotAttach(String)

    var description: String {
      switch self {
      case .cannotAttach(let reason):
        "strace cannot attach here: these tests need ptrace (of Docker: --cap-add SYS_PTRACE): "
          + reason
      }
    }
  }

  /// What it was started with, to start it again.
  struct Settings: Sendable {
    var directory: TemporaryDirectory
    var data: String
    var address = LoopbackAddress.fresh()
    var flags = ["--segment-bytes", "65536"]
    var environment: [String: String] = [:]
    /// A program and its arguments that become the node; none when empty. Not together with tracing.
    var launcher: [String] = []
    /// Arguments of strace, without the file for its output; nil for no tracing.
    var tracing: [String]?

    init(in directory: TemporaryDirectory, data: String? = nil) {
      self.directory = directory
      self.data = data ?? directory.path("data")
    }
  }

  let settings: Settings
  let process: RunningProcess
  /// What strace says about it.
  let trace: URL

  var address: LoopbackAddress { settings.address }

  /// Starts the process and waits for nothing.
  init(_ settings: Settings) throws {
    self.settings = settings
    trace = settings.directory.freshFile("trace")
    let serve =
      ["serve", "--data-dir", settings.data, "--http-addr", "\(settings.address)"] + settings.flags
    let environment = Self.environment(settings.environment)
    guard let tracing = settings.tracing else {
      var words = settings.launcher + [Executable.kv.url.path] + serve
      let program = words.removeFirst()
      process = try RunningProcess(
        .installed(program), words, environment: environment, in: settings.directory)
      return
    }
    // -D: the node is our child, and strace its own: signals and exit codes are the node's.
    process = try RunningProcess(
      .installed("strace"),
      ["-D", "-f", "-y", "-o", trace.path] + tracing + [Executable.kv.url.path] + serve,
      environment: environment, in: settings.directory)
  }

  /// Starts the process and waits until it listens.
  static func start(_ settings: Settings) async throws -> ServedNode {
    if settings.tracing != nil { try await requireTracing(in: settings.directory) }
    let node = try ServedNode(settings)
    _ = try await node.process.errors { $0.contains("listening on ") }
    return node
  }

  /// That of the tests, without what the node would take from it.
  static func environment(_ added: [String: String]) -> [String: String] {
    var environment = ProcessInfo.processInfo.environment
    for name in [
      "PORT", "NODE_ID", "FAST_LANE", "W", "R", "NODE_TYPE", "FOLLOWER_URLS", "PEER_URLS",
    ] {
      environment[name] = nil
    }
    return environment.merging(added) { $1 }
  }

  private static func requireTracing(in directory: TemporaryDirectory) async throws {
    let outcome = try await Executable.installed("strace").run(
      ["-f", "-o", "/dev/null", "true"], in: directory)
    guard outcome.status == 0 else { throw TraceError.cannotAttach(outcome.errors) }
  }

  func connect() throws -> HTTPConnection { try HTTPConnection(to: address) }

  /// Kills it, and waits until it is gone.
  func kill() async throws {
    process.send(SIGKILL)
    _ = try await process.outcome()
  }

  /// Stops it in order.
  @discardableResult
  func stop(_ signal: Int32 = SIGTERM) async throws -> Outcome {
    process.send(signal)
    let outcome = try await process.outcome()
    #expect(outcome.status == 0, "\(outcome.errors)")
    return outcome
  }

  /// All that strace has said, once the node has ended.
  func traceText() async throws -> String {
    let deadline = ContinuousClock.now + .seconds(20)
    while ContinuousClock.now < deadline {
      let text = String(decoding: try Data(contentsOf: trace), as: UTF8.self)
      let last = text.split(separator: "\n").last { $0.hasPrefix("\(process.id) ") }
      if let last, last.contains(" +++ ") { return text }
      try await Task.sleep(for: .milliseconds(5))
    }
    throw TraceError.cannotAttach("it has not written to its end")
  }

  // MARK: - What the system says about it

  /// Bytes of memory that are its own at this moment.
  func residentBytes() throws -> Int {
    let text = try String(contentsOfFile: "/proc/\(process.id)/statm", encoding: .utf8)
    return try #require(Int(text.split(separator: " ")[1])) * Int(getpagesize())
  }

  func openDescriptors() throws -> Int {
    try FileManager.default.contentsOfDirectory(atPath: "/proc/\(process.id)/fd").count
  }
}

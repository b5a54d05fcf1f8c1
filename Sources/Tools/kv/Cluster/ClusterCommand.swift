import ArgumentParser
import Sharding
import UnixSignals

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#else
  import Darwin
#endif

struct ClusterCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cluster",
    abstract: "Runs every node of a configuration on this machine, and shows their logs.",
    discussion: """
      Each node is a process of its own (`kv serve`), with its data in a directory of its own below \
      --data-dir: NAME-leader, NAME-replica-1, … Nothing is ever deleted. What stands behind -- goes to \
      every node: `kv cluster --config-file sharding.json -- --sync none`.

      A node that ends before all have begun to listen ends the cluster, exit 1. From then on one that \
      ends is started again after a second, then two, four, … up to 30; after a minute of work the next \
      wait is a second again.

      Ctrl-C or SIGTERM stops all nodes in order; a second one kills them, and so do 15 s.
      """,
    version: Version.current)

  @Option(
    name: [.customLong("config-file"), .customLong("config")],
    help: ArgumentHelp("The configuration.", valueName: "sharding.json"))
  var configFile: String

  @Option(
    name: [.customLong("data-dir"), .customLong("db-location")],
    help: ArgumentHelp("Where the nodes' directories are.", valueName: "directory"))
  var dataDirectory = "./data"

  @Flag(inversion: .prefixedNo, help: "Start nodes that end again.")
  var restart = true

  @Argument(
    parsing: .postTerminator, help: ArgumentHelp("Flags of `kv serve`.", valueName: "flags"))
  var nodeFlags: [String] = []

  func validate() throws {
    guard !dataDirectory.isEmpty else { throw ValidationError("--data-dir is empty") }
  }

  func run() async throws {
    signal(SIGPIPE, SIG_IGN)
    // From here on, so that no child is left out.
    let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
    let map = try ConfigurationFile.read(configFile)
    let nodes = ClusterNode.all(of: map, in: dataDirectory)
    do {
      try DataDirectory.make(dataDirectory)
    } catch {
      throw Output.failure("\(error)")
    }
    let program = try Self.program()
    let labels = NodeLabels(nodes, hasColors: Output.hasColors(on: STDERR_FILENO))
    let (events, continuation) = AsyncStream.makeStream(of: ClusterEvent.self)
    let supervisors = nodes.indices.map { index in
      NodeSupervisor(
        nodes[index],
        launch: NodeLaunch(
          program: program, configFile: configFile, node: nodes[index], flags: nodeFlags),
        label: labels[index], restarts: restart
      ) { continuation.yield(ClusterEvent(index: index, kind: $0)) }
    }
    let listening = Task {
      for await _ in signals { continuation.yield(ClusterEvent(index: nil, kind: .signal)) }
    }
    defer { listening.cancel() }
    try await ClusterRun(
      nodes: nodes, supervisors: supervisors, configFile: configFile, events: continuation
    ).run(events)
  }

  /// The path of this program's own file.
  private static func program() throws -> String {
    let link = "/proc/self/exe"
    var code: CInt = 0
    let path = String(unsafeUninitializedCapacity: Int(PATH_MAX)) { room in
      let count = room.withMemoryRebound(to: CChar.self) {
        readlink(link, $0.baseAddress!, $0.count)
      }
      if count < 0 { code = errno }
      return max(0, count)
    }
    guard code == 0 else {
      throw Output.failure("\(link): cannot read: \(String(cString: strerror(code)))")
    }
    return path
  }
}

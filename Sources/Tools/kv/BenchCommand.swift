import ArgumentParser
import Bench
import Client
import Server

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

extension BenchParameters.Distribution: ExpressibleByArgument {}
extension BenchParameters.ReadSource: ExpressibleByArgument {}
extension BenchParameters.Route: ExpressibleByArgument {}
extension BenchParameters.Load: ExpressibleByArgument {}
extension ArrivalSchedule.Spacing: ExpressibleByArgument {}

struct BenchCommand: AsyncParsableCommand {
  enum Report: String, ExpressibleByArgument, CaseIterable {
    case full
    case classic
  }

  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measures latency, throughput and staleness of a node.",
    discussion: """
      Without --qps the loop is closed: each connection begins a request when the one before is \
      answered. With --qps it is open: requests begin on a schedule, whatever the node does, and \
      latency counts from the time at which a request was to begin.
      It writes keys of its own: KEY-PREFIX and 12 digits. Ctrl-C ends the run, prints what was \
      measured, and exits with 0; a second one ends the command with 130.
      Exit code 1 when no request succeeded, or when a run by --requests had to be given up.
      """,
    version: Version.current)

  @Option(
    parsing: .singleValue,
    help: ArgumentHelp(
      "A node of a cluster, or of a shard. Give several for several. (default: 127.0.0.1:8080)",
      valueName: "host:port"),
    transform: { text in
      do throws(KVClientError) {
        return try NodeAddress(parsing: text)
      } catch {
        throw ValidationError(error.description)
      }
    })
  var target: [NodeAddress] = []

  @Option(help: "YCSB's core workload: a, b, c, d, e or f.")
  var workload: String?

  @Option(help: ArgumentHelp("The part of writes, 0 to 1. (default: 0.5)", valueName: "part"))
  var writeRatio: Double?

  @Option(help: ArgumentHelp("Keys that are read and written.", valueName: "count"))
  var keys: UInt64 = 100_000

  @Option(help: ArgumentHelp("What they begin with.", valueName: "text"))
  var keyPrefix = "key:"

  @Option(
    help: "Which keys are asked for. (default: uniform; zipfian with --workload, latest with d)")
  var distribution: BenchParameters.Distribution?

  @Option(help: ArgumentHelp("Size of the values.", valueName: "bytes"))
  var valueSize = 100

  @Option(
    help: ArgumentHelp("Clients, each with its connection to every node.", valueName: "count"))
  var connections = 64

  @Option(help: ArgumentHelp("Requests that each has under way at most.", valueName: "count"))
  var pipeline = 1

  @Option(help: ArgumentHelp("Threads of the load tester.", valueName: "count"))
  var threads = 1

  @Option(
    help: ArgumentHelp("Operations a second, begun on a schedule: an open loop.", valueName: "rate")
  )
  var qps: Double?

  @Option(help: "How the schedule of --qps spaces them.")
  var arrivals = ArrivalSchedule.Spacing.uniform

  @Option(
    help: ArgumentHelp(
      "How long to measure. (default: 10, without --requests)", valueName: "seconds"))
  var duration: Double?

  @Option(help: ArgumentHelp("How many operations to measure.", valueName: "count"))
  var requests: UInt64?

  @Option(help: ArgumentHelp("How long to run before measuring.", valueName: "seconds"))
  var warmup = 1.0

  @Option(help: "Who is asked for reads.")
  var readFrom = BenchParameters.ReadSource.leader

  @Option(
    help: ArgumentHelp(
      "Where a cluster's requests are sent: to a node of the key's shard, or to --target, which hands them on.",
      valueName: "direct|entry"))
  var route = BenchParameters.Route.direct

  @Option(
    name: [.customLong("w"), .customLong("write-quorum")],
    help: ArgumentHelp(
      "Members that must have a write before it is answered. (default: as the node is configured)",
      valueName: "count"))
  var writeQuorum: Int?

  @Option(
    name: [.customLong("r"), .customLong("read-quorum")],
    help: ArgumentHelp(
      "Members that are asked for a read. (default: as the node is configured)", valueName: "count")
  )
  var readQuorum: Int?

  @Flag(help: "Compare what reads return with what was acknowledged before they began.")
  var staleCheck = false

  @Option(help: "Whether to store the keys first. auto: when keys to be read are absent.")
  var load = BenchParameters.Load.auto

  @Option(help: ArgumentHelp("When a request has failed without an answer.", valueName: "seconds"))
  var timeout = 10.0

  @Option(help: ArgumentHelp("The same seed makes the same requests.", valueName: "number"))
  var seed: UInt64 = 1

  @Option(help: ArgumentHelp("Write the result as JSON.", valueName: "file.json"))
  var output: String?

  @Option(help: "full, or classic: a line for each connection, and the total.")
  var report = Report.full

  /// The flags as one run.
  ///
  /// - Throws: `ValidationError`.
  private func parameters() throws -> BenchParameters {
    guard workload == nil || writeRatio == nil else {
      throw ValidationError("--workload and --write-ratio exclude each other")
    }
    var mix = WorkloadMix(writeRatio: 0.5)
    if let workload {
      guard let named = WorkloadMix(ycsb: workload) else {
        throw ValidationError("--workload must be one of a, b, c, d, e, f")
      }
      mix = named
    } else if let writeRatio {
      guard (0...1).contains(writeRatio) else {
        throw ValidationError("--write-ratio must be from 0 to 1")
      }
      mix = WorkloadMix(writeRatio: writeRatio)
    }
    let targets = target.isEmpty ? [NodeAddress(host: "127.0.0.1", port: 8080)] : target
    var parameters = BenchParameters(targets: targets, mix: mix)
    parameters.workload = workload
    parameters.keys = keys
    parameters.keyPrefix = keyPrefix
    parameters.distribution =
      distribution ?? (workload == nil ? .uniform : workload == "d" ? .latest : .zipfian)
    parameters.valueBytes = valueSize
    parameters.connections = connections
    parameters.pipeline = pipeline
    parameters.threads = threads
    parameters.operationsPerSecond = qps
    parameters.arrivals = arrivals
    parameters.durationSeconds = duration ?? (requests == nil ? 10 : nil)
    parameters.operations = requests
    parameters.warmupSeconds = warmup
    parameters.readFrom = readFrom
    parameters.route = route
    parameters.writeQuorum = writeQuorum
    parameters.readQuorum = readQuorum
    parameters.checksStaleness = staleCheck
    parameters.load = load
    parameters.timeoutSeconds = timeout
    parameters.seed = seed
    return parameters
  }

  func validate() throws {
    do {
      try parameters().validate()
    } catch let error as BenchError {
      throw ValidationError(error.description)
    }
  }

  func run() async throws {
    // Before the run, so that it is not for nothing.
    try write("")
    Interruption.install()
    let result: BenchResult
    do {
      result = try await BenchRun(parameters(), descriptorsMax: DescriptorLimit.raise()).run()
    } catch let error as BenchError {
      throw Output.failure(error.description)
    }
    try Output.write(
      (report == .classic ? ClassicReport(result).text : TextReport(result).text).utf8)
    try write(JSONReport(result).text + "\n")
    if let failure = result.failure { throw Output.failure(failure) }
  }

  /// Makes the file of `--output` anew.
  private func write(_ text: String) throws {
    guard let output else { return }
    do {
      try Data(text.utf8).write(to: URL(fileURLWithPath: output))
    } catch {
      throw Output.failure("\(output): cannot write: \(error)")
    }
  }
}

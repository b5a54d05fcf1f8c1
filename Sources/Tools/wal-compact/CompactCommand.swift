import ArgumentParser
import Engine
import Sharding
import Terminal
import WAL

/// Folds a log into a snapshot.
@main
struct CompactCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "wal-compact",
    abstract: "Folds the log of a data directory into a snapshot. No node may be using it.",
    discussion: """
      In place it leaves the same keys with the same versions, and a node starts from that at once. \
      With --out it makes a new data directory instead and changes nothing else: of all that there is, \
      or, with --to-seq or --to-time, of the state at that point. The latter begins a new epoch.

      Exit codes: 0 done; 1 an error, said in one line on stderr; 64 usage.
      """,
    version: "0.1.0")

  @Option(
    name: [.customLong("data-dir"), .customLong("db-location")],
    help: ArgumentHelp("The data directory.", valueName: "directory"))
  var dataDirectory: String

  @Option(
    help: ArgumentHelp(
      "Make a new data directory there: nothing, or an empty directory.", valueName: "directory"))
  var out: String?

  @Option(help: ArgumentHelp("The state behind that sequence number.", valueName: "number"))
  var toSeq: UInt64?

  @Option(
    help: ArgumentHelp(
      "The state behind the last frame that is not later: 2026-11-21T18:05:00Z, or milliseconds since 1970.",
      valueName: "time"))
  var toTime: Moment?

  @Option(help: "How keys are spread over shards, where no snapshot says it: fnv1-64, fnv1-64-mix.")
  var hash = HashName(hash: .fnv1)

  @Flag(help: "Print JSON.")
  var json = false

  func validate() throws {
    if toSeq != nil, toTime != nil {
      throw ValidationError("--to-seq and --to-time cannot be combined. Choose one")
    }
    if toSeq != nil || toTime != nil, out == nil {
      throw ValidationError(
        "an earlier point needs --out: what came behind it would be lost in place")
    }
    if toSeq == 0 { throw ValidationError("--to-seq is 1 or more") }
    if out?.isEmpty == true || dataDirectory.isEmpty {
      throw ValidationError("a directory's name is empty")
    }
  }

  private var point: LogPoint {
    if let toSeq { return .sequence(toSeq) }
    return toTime.map { .time($0.milliseconds) } ?? .end
  }

  func run() throws {
    let pace = Pace()
    let bar = ProgressBar(out == nil ? "compacting" : "copying") {
      (pace.doneBytes, pace.totalBytes)
    }
    let result: Result<OfflineReport, WALError>
    do throws(WALError) {
      // A number that no other history has: epochs of one number are told apart by it.
      let node = UInt64.random(in: 1 ... .max)
      let directory = trimmed(dataDirectory)
      if let out {
        result = .success(
          try Restoration.run(
            directory, to: trimmed(out), at: point, hash: hash.hash, node: node, pace: pace))
      } else {
        result = .success(try Compaction.run(directory, hash: hash.hash, node: node, pace: pace))
      }
    } catch {
      result = .failure(error)
    }
    bar?.end()
    switch result {
    case .success(let report): try tell(CompactSummary(report, readBytes: pace.doneBytes))
    case .failure(let error):
      Say.error("wal-compact: \(error)")
      throw ExitCode(1)
    }
  }

  private func tell(_ summary: CompactSummary) throws {
    for line in summary.notices { Say.error("wal-compact: \(line)") }
    if let code = Say.result(json ? summary.json : summary.text) {
      Say.error("wal-compact: standard output: cannot write: \(Say.message(code))")
      throw ExitCode(1)
    }
  }

  private func trimmed(_ path: String) -> String {
    var path = path
    while path.utf8.count > 1, path.hasSuffix("/") { path.removeLast() }
    return path
  }
}

struct HashName: ExpressibleByArgument {
  let hash: ShardHash

  init(hash: ShardHash) { self.hash = hash }

  init?(argument: String) {
    guard let hash = ShardHash(name: argument) else { return nil }
    self.hash = hash
  }

  var defaultValueDescription: String { hash.name }
}

import ArgumentParser
import Engine
import Terminal
import WAL

/// Splits a data directory by shards.
@main
struct SplitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "snapshot-split",
    abstract: "Makes a data directory for each child shard of one. No node may be using it.",
    discussion: """
      The directory of shard I of M becomes OUT/shard-J-of-N/ for every J below N with J mod M = I; a \
      directory that says nothing of shards is shard 0 of 1. Keys keep their versions and expiry. Each \
      child begins a new epoch, and its log begins with a purge of what the others have. What is split \
      is not changed. A child has its name once all of them are whole and on the disk: what ends in \
      .partial is what an interrupted run has left.

      Exit codes: 0 done; 1 an error, said in one line on stderr; 64 usage.
      """,
    version: "0.1.0")

  @Option(
    name: [.customLong("data-dir"), .customLong("db-location")],
    help: ArgumentHelp("The data directory to split.", valueName: "directory"))
  var dataDirectory: String

  @Option(
    help: ArgumentHelp(
      "How many shards there are to be in all: a multiple of how many there are.",
      valueName: "number"))
  var shards: UInt32

  @Option(
    help: ArgumentHelp(
      "Where the children's directories are made. It may exist, and have those of other shards.",
      valueName: "directory"))
  var out: String

  @Flag(
    help: """
      Read everything again before the children get their names, and prove that they have each key \
      of the parent once, and nothing else.
      """)
  var verify = false

  @Flag(help: "Print JSON.")
  var json = false

  func validate() throws {
    if shards == 0 { throw ValidationError("--shards is 1 or more") }
    if out.isEmpty || dataDirectory.isEmpty {
      throw ValidationError("a directory's name is empty")
    }
  }

  func run() throws {
    let directory = trimmed(dataDirectory)
    let place = trimmed(out)
    if SplitPlace(place).isInside(directory) {
      throw failure(
        "\(place): it is in \(directory), which is not changed. Choose an --out beside it")
    }
    let pace = Pace(isAlone: true)
    // A number that no other history has: epochs of one number are told apart by it.
    var options = Splitter.Options(node: UInt64.random(in: 1...UInt64.max >> 1))
    options.verifies = verify
    options.pace = pace
    let progress: @Sendable () -> (done: Int, total: Int) = { (pace.doneBytes, pace.totalBytes) }
    let bar = ProgressBar("splitting", progress: progress)
    let log = bar == nil ? ProgressLog("snapshot-split: splitting", progress: progress) : nil
    let result: Result<SplitReport, WALError>
    do throws(WALError) {
      result = .success(
        try Splitter.run(directory, into: shards, out: place, options: options))
    } catch {
      result = .failure(error)
    }
    bar?.end()
    log?.end()
    switch result {
    case .success(let report): try tell(SplitSummary(report, doneBytes: pace.doneBytes))
    case .failure(let error): throw failure(explanation(error))
    }
  }

  /// What happened: a full disk does not go on by itself here, as it does for a node.
  private func explanation(_ error: WALError) -> String {
    switch error {
    case .diskFull(let path):
      fullDisk(path)
    case .system(_, let path, _) where error.isFullDisk:
      fullDisk(path)
    default: "\(error)"
    }
  }

  private func fullDisk(_ path: String) -> String {
    "\(path): no space left on the disk. No shard was made, and what was written is removed. Make "
      + "room, or choose an --out on another disk, and run it again"
  }

  private func tell(_ summary: SplitSummary) throws {
    for line in summary.notices { Say.error("snapshot-split: \(line)") }
    if let code = Say.result(json ? summary.json : summary.text) {
      throw failure("standard output: cannot write: \(Say.message(code))")
    }
  }

  private func failure(_ text: String) -> ExitCode {
    Say.error("snapshot-split: \(text)")
    return ExitCode(1)
  }

  private func trimmed(_ path: String) -> String {
    var path = path
    while path.utf8.count > 1, path.hasSuffix("/") { path.removeLast() }
    return path
  }
}

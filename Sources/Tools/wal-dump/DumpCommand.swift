import ArgumentParser
import WAL

/// Shows what is in a log, and whether it is whole. Never changes anything.
@main
struct DumpCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "wal-dump",
    abstract: "Shows the records of a log, and checks it.",
    discussion: """
      A line a record: seq epoch time type key value-size crc. A PATH is a data directory, a \
      directory of segments, segments of one log, a snapshot, or - for standard input. Of a snapshot \
      there is a line an entry: its crc is that of the block, its time that of the snapshot.

      Exit codes: 0 clean; 1 unreadable; 2 torn tail (not known to have been acknowledged); \
      3 corrupt (acknowledged data is damaged); 4 --diff found a difference; 64 usage.
      """,
    version: "0.1.0")

  @Argument(help: "What to read.")
  var paths: [String] = ["./data"]

  @Flag(help: "Print JSON, an object a line.")
  var json = false

  @Flag(help: "Print the values too.")
  var values = false

  @Option(
    help: ArgumentHelp(
      "Only the log with this id, of a leaderless shard's directory.", valueName: "id"))
  var origin: String?

  @Option(help: "Begin with this sequence number.")
  var fromSeq: UInt64?

  @Option(help: "End with this sequence number.")
  var toSeq: UInt64?

  @Option(help: "Only records of this key.")
  var key: String?

  @Option(help: "Only records of keys that begin like this.")
  var prefix: String?

  @Option(help: "Only records of this type; may be given again.")
  var type: [TypeName] = []

  @Flag(help: "Wait for more at the end, until SIGINT or SIGTERM.")
  var follow = false

  @Flag(help: "Count records, bytes and keys instead.")
  var stats = false

  @Flag(help: "Read everything and print only the verdict.")
  var verify = false

  @Option(help: ArgumentHelp("Find the first difference to another log.", valueName: "other"))
  var diff: String?

  func validate() throws {
    let modes = [
      follow ? "--follow" : nil, stats ? "--stats" : nil, verify ? "--verify" : nil,
      diff == nil ? nil : "--diff",
    ].compactMap { $0 }
    if modes.count > 1 {
      throw ValidationError("\(modes[0]) and \(modes[1]) cannot be combined. Choose one")
    }
    if let fromSeq, let toSeq, fromSeq > toSeq {
      throw ValidationError("--from-seq \(fromSeq) is behind --to-seq \(toSeq)")
    }
    if verify || diff != nil {
      if filter.isByContent {
        throw ValidationError("--key, --prefix and --type cannot be combined with \(modes[0])")
      }
      if json { throw ValidationError("--json cannot be combined with \(modes[0])") }
    }
    if values, verify || stats {
      throw ValidationError("--values cannot be combined with \(modes[0])")
    }
    if let origin, origin.utf8.count != 16 || UInt64(origin, radix: 16) == nil {
      throw ValidationError("--origin must be a log's id: 16 hex digits")
    }
    if key?.isEmpty == true {
      throw ValidationError("--key is empty. Every key has a byte at least")
    }
    if paths.count(where: { $0 == "-" }) > 1 {
      throw ValidationError("- is given twice. Standard input can be read once")
    }
    if diff == "-" || (diff != nil && paths.contains("-")) {
      throw ValidationError("--diff reads both logs at once, which - does not allow. Use files")
    }
    if follow || diff != nil, paths.count > 1 {
      throw ValidationError("\(modes[0]) takes one PATH")
    }
  }

  var filter: RecordFilter {
    RecordFilter(
      from: fromSeq ?? 0, to: toSeq ?? .max, key: key.map { Array($0.utf8) },
      prefix: prefix.map { Array($0.utf8) }, types: Set(type.map(\.type)))
  }

  func run() throws {
    let code: Int32
    do {
      code = try DumpRun(self).run()
    } catch let error as DumpError {
      System.writeLine("wal-dump: \(error)")
      throw ExitCode(Exit.unreadable)
    }
    if code != Exit.clean { throw ExitCode(code) }
  }
}

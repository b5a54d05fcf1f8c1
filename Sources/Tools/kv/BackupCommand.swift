import ArgumentParser
import Bench
import Client
import Engine
import Sharding
import Terminal
import WAL

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

struct BackupCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "backup",
    abstract: "Copies all keys of a running node into a new data directory.",
    discussion: """
      The node writes a snapshot of everything that it has acknowledged so far; that is fetched, and \
      every checksum in it verified. `kv serve --data-dir` starts from the copy, in a new epoch. \
      Interrupted, it goes on where it was when it is run again. --timeout is for each piece of 4 MiB.
      """,
    version: Version.current)

  @Option(
    help: ArgumentHelp("Where: nothing, or an empty directory.", valueName: "directory"))
  var out: String

  @OptionGroup var options: ClientOptions

  func validate() throws {
    guard !out.isEmpty else { throw ValidationError("--out is empty") }
  }

  func run() async throws {
    let start = LogClock.system.monotonicNanoseconds()
    let draft = try logged { () throws(WALError) in
      try DirectoryDraft(out, keeping: Backup.suffix)
    }
    let file = try await Backup(
      nodes: NodeSnapshots(options, replica: replica),
      directory: SnapshotDirectory(draft.path)
    ).run()
    try logged { () throws(WALError) in try draft.finish() }
    try tell(file, seconds: Double(LogClock.system.monotonicNanoseconds() - start) / 1e9)
  }

  private func tell(_ file: SnapshotInfo, seconds: Double) throws {
    if options.json {
      return try Output.writeLine(
        JSONText.object([
          ("directory", JSONText.string(out)), ("sequence", "\(file.sequence)"),
          ("keys", "\(file.keys)"), ("bytes", "\(file.bytes)"),
          ("digest", JSONText.string(hexadecimal(file.digest.sum))),
          ("seconds", "\((seconds * 1_000).rounded() / 1_000)"),
        ]))
    }
    let rate = Double(file.bytes) / 1e6 / max(seconds, 1e-6)
    try Output.writeLine(
      "\(out): \(file.keys) key\(file.keys == 1 ? "" : "s") at sequence number \(file.sequence), "
        + "\(file.bytes) bytes, verified; "
        + "\(FixedText.fixed(seconds, places: 3)) s, \(FixedText.fixed(rate, places: 1)) MB/s")
  }

  /// The same whenever the same backup is begun again.
  private var replica: String {
    var name = [CChar](repeating: 0, count: 256)
    gethostname(&name, name.count - 1)
    let place = URL(fileURLWithPath: out).standardizedFileURL.path
    let bytes = name.map { UInt8(bitPattern: $0) } + Array(place.utf8)
    return "backup-" + hexadecimal(bytes.withUnsafeBytes { ShardHash.fnv1Mixed($0) })
  }
}

/// Runs `body`; an error is said, and ends the command.
func logged<R: ~Copyable>(_ body: () throws(WALError) -> R) throws -> R {
  do throws(WALError) {
    return try body()
  } catch {
    throw Output.failure("\(error)")
  }
}

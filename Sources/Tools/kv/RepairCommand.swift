import ArgumentParser
import Client
import Engine
import Server
import Sharding
import WAL

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

struct RepairCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "repair",
    abstract: "Finds what is damaged on a node's disk, and heals it with what other nodes have.",
    discussion: """
      With --data-dir it works on the directory of a node that is stopped: what is missing is fetched \
      from the nodes that --from and --config-file name, checked against what is in front of it and \
      behind it, and written; what was damaged is kept in quarantine/. Otherwise the running node at \
      --http-addr reads all that does not change any more, and heals it with the help of its members.
      """,
    version: Version.current)

  @Option(
    name: [.customLong("data-dir"), .customLong("db-location")],
    help: ArgumentHelp("The data directory of a stopped node.", valueName: "directory"))
  var dataDirectory: String?

  @Option(
    help: ArgumentHelp(
      "A node that has the same log; several may be given.", valueName: "host:port"),
    transform: { text in
      do throws(KVClientError) {
        return try NodeAddress(parsing: text)
      } catch {
        throw ValidationError(error.description)
      }
    })
  var from: [NodeAddress] = []

  @Option(
    name: [.customLong("config-file"), .customLong("config")],
    help: ArgumentHelp("All nodes of the directory's shard.", valueName: "sharding.json"))
  var configFile: String?

  @Flag(
    help: ArgumentHelp(
      "Where nothing says how far the log went, take what the most advanced node has for all of it."
    ))
  var acceptEnd = false

  @OptionGroup var options: ClientOptions

  func validate() throws {
    guard dataDirectory != nil || from.isEmpty && configFile == nil && !acceptEnd else {
      throw ValidationError("--from, --config-file and --accept-end need --data-dir")
    }
    guard dataDirectory?.isEmpty != true else { throw ValidationError("--data-dir is empty") }
  }

  func run() async throws {
    guard let dataDirectory else { return try await repairNode() }
    var path = dataDirectory
    while path.utf8.count > 1, path.hasSuffix("/") { path.removeLast() }
    var repair = PeerRepair(path, from: try addresses(path))
    repair.takesUnknownEnd = acceptEnd
    let report: RepairReport
    do {
      report = try await repair.run()
    } catch {
      throw Output.failure("\(error)")
    }
    if options.json {
      try Output.writeLine(try json(RepairAnswer(report)))
    } else {
      try tell(report, path)
    }
    guard !report.isWhole else { return }
    let unhealed = report.unhealed.map { "\($0)" } + report.badSnapshots.map { "\($0.error)" }
    throw Output.failure(
      unhealed.joined(separator: "; ")
        + ". Name nodes that have the same log with --from, or restore the files from a backup")
  }

  private func tell(_ report: RepairReport, _ path: String) throws {
    for healed in report.healed { try Output.writeLine("\(healed)") }
    for bad in report.quarantined { try Output.writeLine("\(bad.error); moved to \(bad.path)") }
    for left in report.left { try Output.writeLine("nothing is lost by it: \(left)") }
    if let snapshot = report.snapshot {
      try Output.writeLine("a snapshot up to \(snapshot.sequence) covers what is missing")
    }
    guard report.isWhole else { return }
    let found = report.wasWhole ? "nothing is damaged" : "repaired"
    try Output.writeLine("\(path): \(found); \(report.checkedBytes) bytes read")
  }

  private func json(_ answer: RepairAnswer) throws -> String {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return String(decoding: try encoder.encode(answer), as: UTF8.self)
  }

  // MARK: - Who is asked

  private func addresses(_ path: String) throws -> [NodeAddress] {
    var found = from
    if let configFile {
      let map = try ConfigurationFile.read(configFile)
      let note = try logged { () throws(WALError) in
        try ShardNote.read(in: path, fileSystem: SystemFileSystem())
      }
      let index = Int(note?.index ?? 0)
      guard map.shards.count == Int(note?.count ?? 1), index < map.shards.count else {
        throw Output.failure(
          "\(configFile): its shards are not those that \(path) is of: name nodes with --from")
      }
      for text in map.shards[index].nodes {
        let address = try NodeAddress(parsing: text)
        if !found.contains(address) { found.append(address) }
      }
    }
    return found
  }

  // MARK: - A running node

  private func repairNode() async throws {
    let text = try await options.ask(timeoutSeconds: 86_400) { client throws(KVClientError) in
      // Somebody who does not answer at all is noticed here.
      _ = try await client.status()
      return try await client.send(KVRequest(.POST, "/admin/repair"))
    }
    let body = Data(text.body.readableBytesView)
    guard text.status == 200 else {
      let said = QuotedText.printable(String(decoding: body.prefix(1_024), as: UTF8.self))
      throw Output.failure("\(options.address): \(text.status): \(said)")
    }
    let answer: RepairAnswer
    do {
      answer = try JSONDecoder().decode(RepairAnswer.self, from: body)
    } catch {
      throw Output.failure(
        "\(options.address): the answer is not known: is this a node of Shiplog?")
    }
    if options.json { return try Output.writeLine(try json(answer)) }
    for healed in answer.healed {
      let range = healed.from.map { "sequence numbers \($0) to \(healed.through ?? $0)" }
      try Output.writeLine(
        "\(healed.files.joined(separator: ", ")): \(range ?? "written anew") healed"
          + (healed.sources.isEmpty ? "" : " from \(healed.sources.joined(separator: ", "))"))
    }
    for covered in answer.covered {
      try Output.writeLine(
        "\(covered.file): nobody has what is missing; a snapshot covers it: "
          + covered.reasons.joined(separator: "; "))
    }
    for path in answer.quarantined { try Output.writeLine("\(path): damaged, and replaced") }
    let isWhole = answer.healed.isEmpty && answer.covered.isEmpty && answer.quarantined.isEmpty
    try Output.writeLine(
      "\(options.address): \(isWhole ? "nothing is damaged" : "repaired"); "
        + "\(answer.checked_bytes) bytes read")
  }
}

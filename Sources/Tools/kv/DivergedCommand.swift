import ArgumentParser
import Client
import Engine
import WAL

struct DivergedCommand: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "diverged",
    abstract: "Lists the writes that were lost to another leader's history, or writes them back.",
    discussion: """
      A leader that comes back and finds another one in a higher epoch takes its log back to where the two \
      part, and keeps what was behind: that is listed, from a data directory (its node may run) or from a \
      node. With --replay the last lost write of each key goes to --http-addr, the leader, if nothing was \
      written to that key since: what was is listed, and left alone. Doing so again changes nothing.
      """,
    version: Version.current)

  @Option(
    help: ArgumentHelp("The data directory that has the writes; read only.", valueName: "path"))
  var dataDir: String?

  @Option(
    help: ArgumentHelp(
      "With --replay: the node that has the writes. (default: --http-addr)",
      valueName: "host:port"),
    transform: { text in
      do throws(KVClientError) {
        return try NodeAddress(parsing: text)
      } catch {
        throw ValidationError(error.description)
      }
    })
  var from: NodeAddress?

  @Option(help: ArgumentHelp("Only this one.", valueName: "name"))
  var tail: String?

  @Flag(help: "Show the values.")
  var values = false

  @Flag(help: "Write back what was not written since.")
  var replay = false

  @OptionGroup var options: ClientOptions

  func validate() throws {
    if from != nil, !replay { throw ValidationError("--from goes with --replay; else --http-addr") }
    if from != nil, dataDir != nil { throw ValidationError("either --from or --data-dir") }
    if values, replay { throw ValidationError("--values does not go with --replay") }
  }

  func run() async throws {
    let pool = KVPool()
    defer { pool.close() }
    func client(_ address: NodeAddress) -> NodeClient {
      NodeClient(address, pool: pool, timeout: .seconds(options.timeout))
    }
    let asked = from ?? options.address
    let source =
      if let dataDir { try LostWrites.directory(dataDir) } else {
        LostWrites.node(asked, client(asked))
      }
    var found = try await source.tails()
    if let tail {
      found.tails.removeAll { $0.name != tail }
      guard !found.tails.isEmpty else { throw Output.failure("no tail is named \(tail)") }
      found.others = []
    }
    guard replay else { return try await list(found.tails, found.others, source) }
    var replay = LostWriteReplay(
      source: source, target: client(options.address), address: options.address,
      isJSON: options.json)
    try await replay.run(found.tails)
  }

  // MARK: - Listing

  private func list(
    _ tails: [ListedTail], _ others: [String], _ source: LostWrites
  ) async throws {
    for tail in tails {
      if !options.json {
        try Output.writeLine(
          """
          \(tail.name): log \(tail.origin), lost behind \(tail.fork) of epoch \(tail.epoch), up to \
          \(tail.last)
          """)
      }
      let lines = LineBuffer()
      try await source.forEach(of: tail, values: values) { write in
        try lines.append(options.json ? json(write, tail) : text(write))
      }
      try lines.flush()
    }
    let records = tails.reduce(0) { $0 + $1.records }
    guard !options.json else {
      return try Output.writeLine(
        JSONText.object([("tails", "\(tails.count)"), ("records", "\(records)")]))
    }
    for name in others {
      try Output.writeLine(
        "\(name): put away as a whole, and nothing says where it parted: see wal-dump")
    }
    try Output.writeLine(
      "\(tails.count) tail\(tails.count == 1 ? "" : "s"), \(records) write\(records == 1 ? "" : "s")"
    )
  }

  private func text(_ write: LoggedWrite) -> String {
    var line = "  \(write.sequence)  epoch \(write.epoch.number)  "
    line += "\(Moment.text(write.timeMilliseconds))  \(write.kind.rawValue)"
    if !write.key.isEmpty { line += "  \(DivergedText.quoted(write.key))" }
    if write.kind == .put { line += "  \(write.valueBytes) bytes" }
    if let expiry = write.expiryMilliseconds { line += "  expires \(Moment.text(expiry))" }
    if let value = write.value { line += "  \(DivergedText.quoted(value))" }
    return line
  }

  private func json(_ write: LoggedWrite, _ tail: ListedTail) -> String {
    var members = [
      ("tail", JSONText.string(tail.name)), ("seq", "\(write.sequence)"),
      ("epoch", "\(write.epoch.number)"),
      ("epoch_node", JSONText.string(hexadecimal(write.epoch.node))),
      ("time", "\(write.timeMilliseconds)"), ("type", JSONText.string(write.kind.rawValue)),
    ]
    if !write.key.isEmpty { members.append(JSONText.member("key", write.key)) }
    members.append(("value_size", "\(write.valueBytes)"))
    if let value = write.value { members.append(JSONText.member("value", value)) }
    if let expiry = write.expiryMilliseconds { members.append(("expiry", "\(expiry)")) }
    return JSONText.object(members)
  }
}

/// Lines that are written many at a time.
private final class LineBuffer {
  private var text = ""

  func append(_ line: String) throws {
    text += line + "\n"
    if text.utf8.count > 64 << 10 { try flush() }
  }

  func flush() throws {
    try Output.write(text.utf8)
    text = ""
  }
}

/// Keys and values for a terminal.
enum DivergedText {
  /// In quotes; as base64 where it is no text.
  static func quoted(_ bytes: [UInt8]) -> String {
    guard let text = String(validating: bytes, as: UTF8.self) else {
      return JSONText.member("bytes", bytes).value + " (base64)"
    }
    return QuotedText.quoted(text)
  }
}

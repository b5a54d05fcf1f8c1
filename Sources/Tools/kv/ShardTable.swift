/// The nodes of a shard, a row each.
struct ShardTable {
  let survey: ShardSurvey

  private static let columns = [
    "node", "role", "state", "epoch", "applied", "lag", "keys", "snapshot", "uptime",
  ]

  // MARK: - For a person

  func text(hasColors: Bool) -> String {
    let rows = survey.nodes.map { node in
      [
        CellText(text: QuotedText.printable(node.address.map { "\($0)" } ?? node.id)),
        CellText(name: "role", value: .string(role(node))),
        CellText(text: QuotedText.printable(node.state), color: Self.color(node.state)),
        survey.isLeaderless ? CellText(text: "-") : Self.cell(node.status?["epoch"]),
        Self.cell(node.status?["sequence"]?["applied"]), lag(node), Self.cell(node.status?["keys"]),
        Self.cell(node.status?["snapshot"]?["sequence"]), Self.uptime(node.status),
      ]
    }
    let errors = survey.nodes.compactMap(\.error).map { "\(QuotedText.printable($0))\n" }
    return TableText(hasColors: hasColors).text(Self.columns, rows) + errors.joined()
  }

  private func role(_ node: ShardSurvey.Node) -> String {
    survey.isLeaderless ? "leaderless" : node.role
  }

  private static func color(_ state: String) -> CellText.Color {
    switch state {
    case "ready", "streaming": .green
    case "catching-up", "copying": .yellow
    case "offline", "unreachable": .red
    default: .plain
    }
  }

  private static func cell(_ value: JSONValue?) -> CellText {
    CellText(text: value?.number ?? "-")
  }

  /// What is not known is not 0.
  private func lag(_ node: ShardSurvey.Node) -> CellText {
    if survey.isLeaderless {
      guard let records = survey.lackedRecords(of: node) else {
        return CellText(text: "unknown", color: .yellow)
      }
      return records == 0
        ? CellText(text: "0") : CellText(text: "\(records) records", color: .yellow)
    }
    if node.isLeader { return CellText(text: "-") }
    guard let records = node.row?["lag_records"]?.number else {
      return CellText(text: "unknown", color: .yellow)
    }
    guard records != "0" else { return CellText(text: "0") }
    let seconds = node.row?["lag_seconds"]?.seconds.map { ", \(Self.rounded($0)) s" } ?? ""
    return CellText(text: "\(records) records\(seconds)", color: .yellow)
  }

  private static func uptime(_ status: JSONValue?) -> CellText {
    guard let seconds = status?["uptime_seconds"]?.seconds, (0..<1e15).contains(seconds) else {
      return CellText(text: "-")
    }
    return CellText(text: CellText.time(seconds: UInt64(seconds)))
  }

  private static func rounded(_ seconds: Double) -> Double { (seconds * 10).rounded() / 10 }

  // MARK: - For a program

  /// One object; what is not known is null.
  var json: String {
    let nodes = survey.nodes.map { node in
      // What a leaderless node says of another is of its own log alone.
      let row = survey.isLeaderless ? nil : node.row
      return JSONText.object([
        ("node", JSONText.string(node.status?["node"]?.string ?? node.id)),
        ("address", node.address.map { JSONText.string("\($0)") } ?? "null"),
        ("role", JSONText.string(role(node))), ("state", JSONText.string(node.state)),
        ("epoch", Self.json(node.status?["epoch"])),
        ("applied", Self.json(node.status?["sequence"]?["applied"])),
        ("lag_records", lagRecords(node)),
        ("lag_bytes", Self.json(row?["lag_bytes"])),
        ("lag_seconds", Self.json(row?["lag_seconds"])),
        ("keys", Self.json(node.status?["keys"])),
        ("snapshot", Self.json(node.status?["snapshot"]?["sequence"])),
        ("uptime_seconds", Self.json(node.status?["uptime_seconds"])),
        ("error", node.error.map { JSONText.string($0) } ?? "null"),
      ])
    }
    return JSONText.object([("nodes", "[\(nodes.joined(separator: ","))]")])
  }

  private func lagRecords(_ node: ShardSurvey.Node) -> String {
    guard survey.isLeaderless else { return Self.json(node.row?["lag_records"]) }
    return survey.lackedRecords(of: node).map { "\($0)" } ?? "null"
  }

  private static func json(_ value: JSONValue?) -> String { value?.number ?? "null" }
}

/// A node's status for a person: a line a field, and a table for each list of objects.
struct StatusSummary {
  private let output: TableText

  init(hasColors: Bool) { output = TableText(hasColors: hasColors) }

  /// A field behind the names of what it is in: `sequence.appended`.
  private typealias Field = (name: String, value: JSONValue)

  func text(_ status: JSONValue) -> String {
    let fields = Self.fields(of: status, named: "")
    let (lists, lines) = fields.reduce(into: ([Field](), [Field]())) { parts, field in
      if Self.rows(of: field.value) == nil { parts.1.append(field) } else { parts.0.append(field) }
    }
    let width = lines.map(\.name.count).max() ?? 0
    var text = ""
    for (name, value) in lines {
      let value = CellText(name: name, value: value)
      text += output.paint(output.padded(name, to: width), .bold) + "  "
      text += output.paint(value.text, value.color) + "\n"
    }
    for (name, value) in lists {
      text += output.paint(name, .bold) + "\n" + table(Self.rows(of: value) ?? [])
    }
    return text
  }

  private func table(_ rows: [[Field]]) -> String {
    var columns: [String] = []
    for name in rows.joined().map(\.name) where !columns.contains(name) { columns.append(name) }
    let cells = rows.map { row in
      columns.map { column in
        CellText(name: column, value: row.first { $0.name == column }?.value ?? .null)
      }
    }
    return output.text(columns, cells)
  }

  // MARK: - Structure

  /// The fields of an object and of those in it, or the value itself.
  private static func fields(of value: JSONValue, named name: String) -> [Field] {
    guard case .object(let members) = value, !members.isEmpty else { return [(name, value)] }
    return members.sorted { isBefore($0.key, $1.key) }.flatMap { member in
      let path = QuotedText.printable(member.key)
      return fields(of: member.value, named: name.isEmpty ? path : "\(name).\(path)")
    }
  }

  /// The fields of each object in a list; nil for whatever is not a list of objects.
  private static func rows(of value: JSONValue) -> [[Field]]? {
    guard case .array(let elements) = value, !elements.isEmpty else { return nil }
    var rows: [[Field]] = []
    for element in elements {
      guard case .object = element else { return nil }
      rows.append(fields(of: element, named: ""))
    }
    return rows
  }

  /// In the order in which one asks; what is not known comes behind, by name.
  private static let order = [
    "id", "node", "address", "role", "state", "version", "uptime_seconds", "shard", "name", "index",
    "count", "epoch", "epoch_node", "origin", "origins", "sequence", "appended", "durable",
    "confirmed", "applied", "lag_records", "lag_bytes", "lag_seconds", "keys", "digest", "wal",
    "segments", "bytes", "oldest_sequence", "snapshot", "leader", "replicas",
  ]

  private static func isBefore(_ left: String, _ right: String) -> Bool {
    let places = [left, right].map { order.firstIndex(of: $0) ?? order.count }
    return places[0] == places[1] ? left < right : places[0] < places[1]
  }
}

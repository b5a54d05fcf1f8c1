import Sharding

/// Configurations for a person.
enum ShardMapText {
  /// A line about the whole, and one a shard.
  static func summary(_ map: ShardMap) -> String {
    var head = "\(map.file): \(counted(map.shards.count, "shard")), "
    head += "\(counted(map.addresses.count, "node")), \(map.hash.name), "
    head += "write quorum \(map.writeQuorum), read quorum \(map.readQuorum)"
    if map.mode == .leaderless { head += ", leaderless" }
    let rows = map.shards.map { ["\($0.index)", $0.name] + nodes($0) }
    return head + "\n" + table(rows)
  }

  private static func nodes(_ shard: ShardMap.Shard) -> [String] {
    guard let leader = shard.leader else { return ["nodes", shard.nodes.joined(separator: ", ")] }
    let replicas = shard.replicas.joined(separator: ", ")
    return ["leader \(leader)", replicas.isEmpty ? "no replica" : "replicas \(replicas)"]
  }

  /// What would move, where to, and which nodes would be others.
  static func difference(_ old: ShardMap, _ new: ShardMap) -> String {
    let difference = ShardMapDifference(from: old, to: new)
    var text = "\(old.file) -> \(new.file): \(old.shards.count) -> "
    text += "\(counted(new.shards.count, "shard"))\n"
    if old.hash != new.hash { text += "hash: \(old.hash.name) -> \(new.hash.name)\n" }
    if old.mode != new.mode { text += "mode: \(old.mode) -> \(new.mode)\n" }
    for (name, before, after) in [
      ("write quorum", old.writeQuorum, new.writeQuorum),
      ("read quorum", old.readQuorum, new.readQuorum),
    ] where before != after {
      text += "\(name): \(before) -> \(after)\n"
    }
    text +=
      difference.moves.isEmpty
      ? "no key moves\n" : "\(percent(difference.movedShare)) of the keys move\n"
    text += table(difference.moves.map { ["\($0.from) -> \($0.to)", percent($0.share)] })
    if !difference.nodes.isEmpty { text += "nodes:\n" }
    text += table(
      difference.nodes.map { [$0.shard, list($0.before, "new"), "->", list($0.after, "gone")] })
    return text
  }

  private static func list(_ nodes: [String]?, _ absent: String) -> String {
    nodes?.joined(separator: ", ") ?? "(\(absent))"
  }

  /// With two digits behind the point at most.
  private static func percent(_ share: Double) -> String {
    let hundredths = Int((share * 10_000).rounded())
    let fraction = hundredths % 100
    var text = "\(hundredths / 100)"
    if fraction > 0 { text += ".\(fraction / 10)" }
    if fraction % 10 > 0 { text += "\(fraction % 10)" }
    return text + " %"
  }

  private static func counted(_ count: Int, _ noun: String) -> String {
    "\(count) \(noun)\(count == 1 ? "" : "s")"
  }

  /// Columns of equal width, two blanks before each.
  static func table(_ rows: [[String]]) -> String {
    let columns = rows.map(\.count).max() ?? 0
    let widths = (0..<columns).map { column in
      rows.map { column < $0.count ? $0[column].count : 0 }.max() ?? 0
    }
    return rows.map { row in
      row.indices.map { column in
        let isLast = column == row.count - 1
        let width = isLast ? 0 : widths[column] - row[column].count
        return "  " + row[column] + String(repeating: " ", count: width)
      }.joined() + "\n"
    }.joined()
  }
}

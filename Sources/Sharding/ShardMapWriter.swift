extension ShardMap {
  /// The configuration as `sharding.json` holds it, always in the same form: of two that mean the same,
  /// the bytes are the same. What reads a file reads this.
  public var json: [UInt8] {
    var text = "{\n  \"version\": \(version), \"hash\": \(quoted(hash.name)),"
    if mode == .leaderless { text += " \"mode\": \"leaderless\"," }
    text += " \"write_quorum\": \(writeQuorum), \"read_quorum\": \(readQuorum),\n  \"shards\": [\n"
    text += shards.map { "    " + Self.object($0) }.joined(separator: ",\n")
    return Array((text + "\n  ]\n}\n").utf8)
  }

  /// Whether two configurations mean the same, wherever they were read.
  public func isSame(as other: ShardMap) -> Bool { json == other.json }

  private static func object(_ shard: Shard) -> String {
    var text = "{\"name\": \(quoted(shard.name)), \"index\": \(shard.index), "
    if let leader = shard.leader {
      text += "\"leader\": \(quoted(leader)), \"replicas\": \(list(shard.replicas))"
    } else {
      text += "\"nodes\": \(list(shard.nodes[...]))"
    }
    return text + "}"
  }

  private static func list(_ texts: ArraySlice<String>) -> String {
    "[" + texts.map(quoted).joined(separator: ", ") + "]"
  }
}

/// A string literal of JSON (RFC 8259, section 7).
private func quoted(_ text: String) -> String {
  var literal = "\""
  for scalar in text.unicodeScalars {
    switch scalar {
    case "\"", "\\": literal += "\\\(scalar)"
    case ..<" ":
      let digits = String(scalar.value, radix: 16)
      literal += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
    default: literal.unicodeScalars.append(scalar)
    }
  }
  return literal + "\""
}

import Engine
import WAL

/// What a run has come to, for people and for scripts.
struct SplitSummary {
  private let report: SplitReport
  private let rate: Double

  /// - Parameter doneBytes: read and written in all.
  init(_ report: SplitReport, doneBytes: Int) {
    self.report = report
    rate = Double(doneBytes) / 1e6 / max(report.seconds, 1e-6)
  }

  /// What is not as it was expected.
  var notices: [String] {
    var lines: [String] = []
    if let damage = report.cut { lines.append("\(damage): it is left out") }
    if report.foreignKeys > 0 {
      lines.append(
        "\(report.source): \(keys(report.foreignKeys)) of other shards, which no child has: they "
          + "were to be purged")
    }
    return lines
  }

  /// A line a child, and one for all.
  var text: String {
    var lines = report.children.map { child in
      "\(child.directory): \(keys(child.snapshot.keys)), \(child.snapshot.bytes) bytes, at sequence "
        + "number \(child.snapshot.sequence), epoch \(child.epoch.number)"
    }
    lines.append(
      "\(report.source): \(report.parent), \(keys(report.keys)), into "
        + "\(report.children.count) of \(report.children.first?.shard.count ?? 0) shards"
        + (report.isVerified ? ", verified" : "")
        + "; \(decimal(report.seconds, 3)) s, \(Int(rate.rounded())) MB/s")
    return lines.joined(separator: "\n")
  }

  var json: String {
    let children = report.children.map { child in
      "{\"directory\":\(quoted(child.directory)),\"index\":\(child.shard.index),"
        + "\"count\":\(child.shard.count),\"snapshot\":\(quoted(child.snapshot.path)),"
        + "\"sequence\":\(child.snapshot.sequence),\"epoch\":\"\(child.epoch)\","
        + "\"keys\":\(child.snapshot.keys),\"bytes\":\(child.snapshot.bytes),"
        + "\"digest\":\"\(digits(child.snapshot.digest.sum))\"}"
    }
    return "{\"source\":\(quoted(report.source)),\"index\":\(report.parent.index),"
      + "\"count\":\(report.parent.count),\"hash\":\"\(report.parent.hash.name)\","
      + "\"sequence\":\(report.position.sequence),\"keys\":\(report.keys),"
      + "\"foreign_keys\":\(report.foreignKeys),\"blocks_copied\":\(report.copiedBlocks),"
      + "\"blocks_written\":\(report.writtenBlocks),\"log_folded\":\(report.hasFolded),"
      + "\"cut\":\(report.cut != nil),\"verified\":\(report.isVerified),"
      + "\"seconds\":\(decimal(report.seconds, 6)),\"mb_per_second\":\(decimal(rate, 1)),"
      + "\"children\":[\(children.joined(separator: ","))]}"
  }

  private func keys(_ count: UInt64) -> String { "\(count) key\(count == 1 ? "" : "s")" }

  private func digits(_ number: UInt64) -> String {
    let text = String(number, radix: 16)
    return String(repeating: "0", count: 16 - text.count) + text
  }

  private func decimal(_ number: Double, _ digits: Int) -> String {
    let factor = (0..<digits).reduce(1) { power, _ in power * 10 }
    let scaled = Int((number * Double(factor)).rounded())
    let fraction = String(scaled % factor)
    return "\(scaled / factor)." + String(repeating: "0", count: digits - fraction.count) + fraction
  }

  /// A string of JSON.
  private func quoted(_ text: String) -> String {
    var json = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"", "\\": json += "\\\(scalar)"
      case "\0"..<" ":
        let digits = String(scalar.value, radix: 16)
        json += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: json.unicodeScalars.append(scalar)
      }
    }
    return json + "\""
  }
}

import Engine
import WAL

/// What a run has come to, for people and for scripts.
struct CompactSummary {
  private let report: OfflineReport
  private let rate: Double

  /// - Parameter readBytes: read and written in all.
  init(_ report: OfflineReport, readBytes: Int) {
    self.report = report
    rate = Double(readBytes) / 1e6 / max(report.seconds, 1e-6)
  }

  /// What is not as it was expected.
  var notices: [String] {
    var lines: [String] = []
    if let (damage, saved) = report.cut {
      let place = saved.isEmpty ? "it is left out" : "saved in \(saved.joined(separator: ", "))"
      lines.append("\(damage): \(place)")
    }
    for path in report.quarantined { lines.append("damaged, and not needed: moved to \(path)") }
    return lines
  }

  var text: String {
    let keys = report.snapshot.keys
    return "\(report.directory): \(keys) key\(keys == 1 ? "" : "s") at sequence number "
      + "\(report.position.sequence), epoch \(report.epoch.number); \(report.bytesBefore) bytes "
      + "before, \(report.bytesAfter) after; \(decimal(report.seconds, 3)) s, "
      + "\(Int(rate.rounded())) MB/s"
  }

  var json: String {
    "{\"directory\":\(quoted(report.directory)),\"snapshot\":\(quoted(report.snapshot.path)),"
      + "\"sequence\":\(report.position.sequence),\"epoch\":\"\(report.epoch)\","
      + "\"keys\":\(report.snapshot.keys),\"bytes_before\":\(report.bytesBefore),"
      + "\"bytes_after\":\(report.bytesAfter),\"seconds\":\(decimal(report.seconds, 6)),"
      + "\"mb_per_second\":\(decimal(rate, 1)),\"cut\":\(report.cut != nil),"
      + "\"quarantined\":[\(report.quarantined.map(quoted).joined(separator: ","))]}"
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

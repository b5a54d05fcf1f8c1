/// How far something long is, in one line: a bar, bytes, rate and time left.
package struct ProgressLine {
  private static let barCells = 24

  package let label: String

  package init(_ label: String) { self.label = label }

  /// - Parameters:
  ///   - total: an estimate; 0 when there is none.
  ///   - seconds: since the beginning.
  package func text(done: Int, total: Int, seconds: Double) -> String {
    let rate = seconds > 0 ? Double(done) / seconds : 0
    var text = "\(label) "
    if total > 0 {
      let part = min(1, Double(done) / Double(total))
      let full = Int(part * Double(Self.barCells))
      text += "[" + String(repeating: "#", count: full)
      text += String(repeating: ".", count: Self.barCells - full) + "] "
      text += "\(Int(part * 100)) %, "
    }
    text += "\(Self.size(done)), \(Self.size(Int(rate)))/s"
    if total > done, rate > 0 {
      text += ", \(Self.time(seconds: Double(total - done) / rate)) left"
    }
    return text
  }

  /// In decimal units, as disks and networks are measured.
  package static func size(_ bytes: Int) -> String {
    if bytes < 10_000 { return "\(bytes) B" }
    if bytes < 10_000_000 { return "\(bytes / 1_000) kB" }
    if bytes < 10_000_000_000 { return "\(bytes / 1_000_000) MB" }
    return "\(bytes / 1_000_000_000) GB"
  }

  static func time(seconds: Double) -> String {
    let whole = Int(min(seconds, 1e9).rounded(.up))
    if whole < 60 { return "\(whole) s" }
    if whole < 3_600 { return "\(whole / 60) min \(whole % 60) s" }
    return "\(whole / 3_600) h \(whole / 60 % 60) min"
  }
}

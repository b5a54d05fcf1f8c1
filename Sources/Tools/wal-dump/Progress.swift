import WAL

/// Says on a terminal how far a long reading has come; nothing where there is no terminal.
struct Progress {
  private let isShown: Bool
  private let totalBytes: UInt64
  private let start: UInt64
  private var nextLook: UInt64
  private var wasShown = false

  private static let firstNanoseconds: UInt64 = 1_000_000_000
  private static let laterNanoseconds: UInt64 = 200_000_000

  /// - Parameter totalBytes: 0 when that is not known.
  init(isWanted: Bool, totalBytes: UInt64) {
    isShown = isWanted && System.isTerminal(System.standardError)
    self.totalBytes = totalBytes
    start = LogClock.system.monotonicNanoseconds()
    nextLook = start + Self.firstNanoseconds
  }

  var seconds: Double { Double(LogClock.system.monotonicNanoseconds() - start) / 1e9 }

  mutating func note(_ bytes: UInt64) {
    guard isShown else { return }
    let now = LogClock.system.monotonicNanoseconds()
    guard now >= nextLook else { return }
    nextLook = now + Self.laterNanoseconds
    wasShown = true
    let rate = Double(bytes) / 1e6 / (Double(now - start) / 1e9)
    var text = "\r\(bytes / 1_000_000) MB, \(Int(rate)) MB/s"
    if totalBytes > 0 { text += ", \(min(100, bytes * 100 / totalBytes)) %" }
    write(text + "\u{1B}[K")
  }

  /// Takes the line away again.
  mutating func erase() {
    if wasShown { write("\r\u{1B}[K") }
    wasShown = false
  }

  private func write(_ text: String) {
    // A progress line that cannot be shown is no reason to stop.
    _ = Array(text.utf8).withUnsafeBytes { System.write($0, to: System.standardError) }
  }
}

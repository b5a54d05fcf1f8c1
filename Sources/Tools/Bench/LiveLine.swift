#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A line on the terminal that is replaced again and again.
public struct LiveLine: Sendable {
  /// - Returns: nil where standard error is no terminal: nobody looks.
  public init?() {
    guard isatty(STDERR_FILENO) == 1 else { return nil }
  }

  public func show(_ text: String) { write("\r" + text + "\u{1B}[K") }

  /// Takes the line away.
  public func end() { write("\r\u{1B}[K") }

  /// That it cannot be shown is no reason to stop.
  private func write(_ text: String) {
    let bytes = Array(text.utf8)
    _ = bytes.withUnsafeBytes { bytes in
      #if canImport(Glibc)
        Glibc.write(STDERR_FILENO, bytes.baseAddress, bytes.count)
      #else
        Musl.write(STDERR_FILENO, bytes.baseAddress, bytes.count)
      #endif
    }
  }
}

/// How far a run is, in one line.
package struct RunLine {
  private let warmupSeconds: Double
  private let totalText: String
  private var lastSeconds = 0.0
  private var lastAnswered: UInt64 = 0
  private var rate = 0.0

  package init(_ parameters: BenchParameters) {
    warmupSeconds = parameters.warmupSeconds
    if let seconds = parameters.durationSeconds {
      totalText = " of \(FixedText.trimmed(seconds)) s"
    } else {
      totalText = " s, \(FixedText.count(parameters.operations ?? 0)) requests in all"
    }
  }

  /// - Parameter seconds: since the warm-up began; not less than at the last call.
  package mutating func text(
    seconds: Double, answered: UInt64, failed: UInt64, behindSeconds: Double
  ) -> String {
    if seconds - lastSeconds >= 0.5 {
      rate = Double(answered - min(lastAnswered, answered)) / (seconds - lastSeconds)
      (lastSeconds, lastAnswered) = (seconds, answered)
    }
    let time = seconds - warmupSeconds
    var text = time < 0 ? "warming up" : "\(FixedText.fixed(time, places: 1))\(totalText)"
    text += "  \(FixedText.count(UInt64(rate)))/s"
    if failed > 0 { text += "  \(FixedText.count(failed)) failed" }
    if behindSeconds >= 0.01 { text += "  \(FixedText.fixed(behindSeconds, places: 2)) s behind" }
    return text
  }
}

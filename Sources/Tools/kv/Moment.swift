#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// A moment as text, `2025-11-21T09:18:00.123Z`.
enum Moment {
  /// - Parameter milliseconds: since 1970.
  static func text(_ milliseconds: UInt64) -> String {
    // Half of one on top: what is shown is cut off, and a number of seconds may be a little too low.
    let date = Date(timeIntervalSince1970: (Double(milliseconds) + 0.5) / 1_000)
    return date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
  }

  /// Milliseconds since 1970.
  static var now: UInt64 { UInt64(max(0, Date().timeIntervalSince1970 * 1_000)) }
}

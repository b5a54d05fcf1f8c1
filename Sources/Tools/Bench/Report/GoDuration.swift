/// Durations as Go prints them (`time.Duration.String`): `1.5µs`, `12.345678ms`, `1m2.5s`.
package enum GoDuration {
  package static func text(_ nanoseconds: UInt64) -> String {
    if nanoseconds == 0 { return "0s" }
    if nanoseconds < 1_000 { return "\(nanoseconds)ns" }
    if nanoseconds < 1_000_000 { return decimal(nanoseconds, unit: 1_000) + "µs" }
    if nanoseconds < 1_000_000_000 { return decimal(nanoseconds, unit: 1_000_000) + "ms" }
    let minutes = nanoseconds / 60_000_000_000
    let seconds = decimal(nanoseconds % 60_000_000_000, unit: 1_000_000_000) + "s"
    if minutes == 0 { return seconds }
    if minutes < 60 { return "\(minutes)m" + seconds }
    return "\(minutes / 60)h\(minutes % 60)m" + seconds
  }

  private static func decimal(_ number: UInt64, unit: UInt64) -> String {
    let (whole, rest) = number.quotientAndRemainder(dividingBy: unit)
    guard rest > 0 else { return "\(whole)" }
    let places = String(unit).count - 1
    var digits = String(rest)
    digits = String(repeating: "0", count: places - digits.count) + digits
    while digits.last == "0" { digits.removeLast() }
    return "\(whole).\(digits)"
  }
}

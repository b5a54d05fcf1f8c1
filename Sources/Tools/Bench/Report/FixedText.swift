#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Numbers for people.
package enum FixedText {
  /// `1,234,567`
  package static func count(_ number: UInt64) -> String {
    let digits = Array(String(number))
    var text = ""
    for (index, digit) in digits.enumerated() {
      if index > 0, (digits.count - index).isMultiple(of: 3) { text += "," }
      text.append(digit)
    }
    return text
  }

  /// With that many digits behind the point, and commas in front of it. Not negative.
  package static func fixed(_ number: Double, places: Int) -> String {
    guard number.isFinite else { return "–" }
    let factor = pow(10, Double(places))
    let scaled = (max(0, number) * factor).rounded()
    guard scaled < 1e18 else { return "\(number)" }
    let (whole, rest) = UInt64(scaled).quotientAndRemainder(dividingBy: UInt64(factor))
    guard places > 0 else { return count(whole) }
    let digits = String(rest)
    return count(whole) + "." + String(repeating: "0", count: places - digits.count) + digits
  }

  /// Without zeros at the end.
  package static func trimmed(_ number: Double, places: Int = 3) -> String {
    var text = fixed(number, places: places)
    guard text.contains(".") else { return text }
    while text.last == "0" { text.removeLast() }
    if text.last == "." { text.removeLast() }
    return text
  }

  /// Three digits at least, in µs, ms or s.
  package static func duration(_ nanoseconds: Double) -> String {
    let scales = [(1e3, "µs"), (1e6, "ms"), (1e9, "s")]
    let (scale, unit) = scales.first { nanoseconds < $0.0 * 1_000 } ?? (1e9, "s")
    let value = nanoseconds / scale
    return fixed(value, places: value < 10 ? 2 : value < 100 ? 1 : 0) + " " + unit
  }

  package static func right(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }

  package static func left(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }
}

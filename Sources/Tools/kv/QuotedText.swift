/// Text for a terminal, which must not take any of it for a command.
enum QuotedText {
  /// In quotes, with quotes and backslashes escaped.
  static func quoted(_ text: String) -> String {
    let escaped = text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
    return "\"" + printable(escaped) + "\""
  }

  /// With `\u{…}` for what cannot be seen, or changes how the rest is seen.
  static func printable(_ text: String) -> String {
    var printable = String.UnicodeScalarView()
    for scalar in text.unicodeScalars {
      switch scalar.properties.generalCategory {
      case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned:
        printable.append(contentsOf: "\\u{\(String(scalar.value, radix: 16))}".unicodeScalars)
      default:
        printable.append(scalar)
      }
    }
    return String(printable)
  }
}

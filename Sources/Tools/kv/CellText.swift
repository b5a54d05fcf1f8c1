/// A value of a status as a person reads it.
struct CellText {
  enum Color: String {
    case plain = ""
    case bold = "1"
    case dim = "2"
    case red = "31"
    case green = "32"
    case yellow = "33"
  }

  var text: String
  var color = Color.plain
}

extension CellText {
  /// - Parameter name: of the field, whose end says the unit.
  init(name: String, value: JSONValue) {
    self.init(text: Self.text(value))
    switch value {
    case .unsigned(let number):
      if name.hasSuffix("bytes"), number >= 1_024 {
        text += " (\(Self.size(bytes: number)))"
      } else if name.hasSuffix("seconds"), number >= 60 {
        text += " (\(Self.time(seconds: number)))"
      }
    case .double(let number):
      if name.hasSuffix("seconds"), number >= 60, number < 1e15 {
        text += " (\(Self.time(seconds: UInt64(number))))"
      }
    case .string("streaming"), .string("leader"): color = .green
    case .string("catching-up"), .string("copying"): color = .yellow
    case .string("offline"): color = .red
    default: break
    }
  }

  private static func text(_ value: JSONValue) -> String {
    switch value {
    case .null: "-"
    case .bool(let bool): bool ? "true" : "false"
    case .unsigned(let number): String(number)
    case .signed(let number): String(number)
    case .double(let number): String(number)
    case .string(let text): text.isEmpty ? "\"\"" : QuotedText.printable(text)
    case .array(let elements) where elements.isEmpty: "none"
    // Such as a digest of each of many parts, which says nothing to a reader.
    case .array(let elements) where elements.count > 8: "\(elements.count) values"
    case .array(let elements): elements.map(text).joined(separator: ", ")
    case .object(let members):
      members.isEmpty
        ? "none"
        : members.sorted { $0.key < $1.key }
          .map { "\(QuotedText.printable($0.key)) \(text($0.value))" }.joined(separator: ", ")
    }
  }

  /// With one digit behind the point, in powers of 1024.
  private static func size(bytes: UInt64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    var (size, unit) = (Double(bytes) / 1_024, 0)
    while size >= 1_024, unit < units.count - 1 { (size, unit) = (size / 1_024, unit + 1) }
    let tenths = UInt64((size * 10).rounded())
    return "\(tenths / 10).\(tenths % 10) \(units[unit])"
  }

  static func time(seconds: UInt64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400)
    return if days > 0 {
      "\(days) d \(hours % 24) h"
    } else if hours > 0 {
      "\(hours) h \(minutes % 60) min"
    } else {
      "\(minutes) min \(seconds % 60) s"
    }
  }
}

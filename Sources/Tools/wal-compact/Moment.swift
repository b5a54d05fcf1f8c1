import ArgumentParser

/// A moment as an argument: ISO 8601, or milliseconds since 1970.
struct Moment: ExpressibleByArgument, Hashable {
  /// Since 1970.
  let milliseconds: UInt64

  init?(argument: String) {
    if argument.utf8.allSatisfy(Self.isDigit), let number = UInt64(argument) {
      milliseconds = number
      return
    }
    var rest = Substring(argument)
    guard let year = Self.number(&rest, 4), Self.take("-", &rest),
      let month = Self.number(&rest, 2), Self.take("-", &rest), let day = Self.number(&rest, 2),
      (1970...9999).contains(year), (1...12).contains(month),
      (1...Self.days(in: month, of: year)).contains(day)
    else { return nil }
    var time = 0
    if !rest.isEmpty {
      guard Self.take("T", &rest) || Self.take("t", &rest) || Self.take(" ", &rest),
        let found = Self.time(&rest)
      else { return nil }
      time = found
    }
    guard let zone = Self.zone(&rest), rest.isEmpty else { return nil }
    let result = (Self.days(year, month, day) * 86_400 - zone * 60) * 1_000 + time
    guard result >= 0 else { return nil }
    milliseconds = UInt64(result)
  }

  private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

  private static func take(_ character: Character, _ rest: inout Substring) -> Bool {
    guard rest.first == character else { return false }
    rest.removeFirst()
    return true
  }

  private static func number(_ rest: inout Substring, _ count: Int) -> Int? {
    let digits = rest.prefix(count)
    guard digits.utf8.count == count, digits.utf8.allSatisfy(isDigit) else { return nil }
    rest.removeFirst(count)
    return Int(digits)
  }

  /// `HH:MM`, `HH:MM:SS` or `HH:MM:SS.fff`: milliseconds since midnight.
  private static func time(_ rest: inout Substring) -> Int? {
    guard let hour = number(&rest, 2), hour < 24, take(":", &rest), let minute = number(&rest, 2),
      minute < 60
    else { return nil }
    var milliseconds = (hour * 60 + minute) * 60_000
    guard take(":", &rest) else { return milliseconds }
    guard let second = number(&rest, 2), second < 60 else { return nil }
    milliseconds += second * 1_000
    guard take(".", &rest) else { return milliseconds }
    let digits = rest.prefix { $0.isASCII && $0.isNumber }
    guard (1...9).contains(digits.count), let fraction = Int((digits + "00").prefix(3)) else {
      return nil
    }
    rest.removeFirst(digits.count)
    return milliseconds + fraction
  }

  /// Minutes east of Greenwich; none given is UTC.
  private static func zone(_ rest: inout Substring) -> Int? {
    if rest.isEmpty || take("Z", &rest) || take("z", &rest) { return 0 }
    let isEast = take("+", &rest)
    guard isEast || take("-", &rest), let hour = number(&rest, 2), hour < 24 else { return nil }
    _ = take(":", &rest)
    guard let minute = number(&rest, 2), minute < 60 else { return nil }
    return (isEast ? 1 : -1) * (hour * 60 + minute)
  }

  private static func days(in month: Int, of year: Int) -> Int {
    let isLeap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
    return [31, isLeap ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]
  }

  /// Days since 1970-01-01 (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms",
  /// `days_from_civil`).
  private static func days(_ year: Int, _ month: Int, _ day: Int) -> Int {
    let shifted = month <= 2 ? year - 1 : year
    let era = shifted / 400
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
    return era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
  }
}

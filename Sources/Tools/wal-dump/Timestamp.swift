/// A moment as text, `2025-11-21T09:18:00.123Z`.
enum Timestamp {
  static func append(_ milliseconds: UInt64, to output: inout Output) {
    let seconds = milliseconds / 1_000
    let date = civil(days: seconds / 86_400)
    let second = seconds % 86_400
    digits(date.year, 4, &output)
    output.append(UInt8(ascii: "-"))
    digits(date.month, 2, &output)
    output.append(UInt8(ascii: "-"))
    digits(date.day, 2, &output)
    output.append(UInt8(ascii: "T"))
    digits(second / 3_600, 2, &output)
    output.append(UInt8(ascii: ":"))
    digits(second / 60 % 60, 2, &output)
    output.append(UInt8(ascii: ":"))
    digits(second % 60, 2, &output)
    output.append(UInt8(ascii: "."))
    digits(milliseconds % 1_000, 3, &output)
    output.append(UInt8(ascii: "Z"))
  }

  /// At least `count` digits.
  private static func digits(_ number: UInt64, _ count: Int, _ output: inout Output) {
    var bound: UInt64 = 10
    for _ in 1..<count {
      if number < bound { output.append(UInt8(ascii: "0")) }
      bound *= 10
    }
    output.append(decimal: number)
  }

  /// The date of a day since 1970-01-01. Years are counted from March, so that the leap day is the
  /// last one; 400 years are 146,097 days (H. Hinnant, "chrono-Compatible Low-Level Date
  /// Algorithms", `civil_from_days`).
  private static func civil(days: UInt64) -> (year: UInt64, month: UInt64, day: UInt64) {
    let shifted = days + 719_468
    let era = shifted / 146_097
    let dayOfEra = shifted % 146_097
    let leapDays = dayOfEra / 1_460 - dayOfEra / 36_524 + dayOfEra / 146_096
    let yearOfEra = (dayOfEra - leapDays) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let monthFromMarch = (5 * dayOfYear + 2) / 153
    let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
    return (
      year: era * 400 + yearOfEra + (month <= 2 ? 1 : 0), month: month,
      day: dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
    )
  }
}

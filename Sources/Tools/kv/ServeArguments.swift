import ArgumentParser
import Logging
import Server
import WAL

/// `on` or `off`.
enum Switch: String, ExpressibleByArgument, CaseIterable {
  case on
  case off
}

/// A number of bytes, with or without a unit: `65536`, `64KiB`, `64MiB`, `4GiB`.
struct ByteCount: ExpressibleByArgument {
  let bytes: Int

  init(bytes: Int) { self.bytes = bytes }

  init?(argument: String) {
    var digits = argument[...]
    var factor = 1
    for (unit, size) in [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)]
    where argument.hasSuffix(unit) {
      digits = argument.dropLast(unit.count)
      factor = size
    }
    guard let number = Int(digits), number > 0 else { return nil }
    let (bytes, isTooLarge) = number.multipliedReportingOverflow(by: factor)
    guard !isTooLarge else { return nil }
    self.bytes = bytes
  }

  var defaultValueDescription: String {
    for (unit, size) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
    where bytes % size == 0 {
      return "\(bytes / size)\(unit)"
    }
    return "\(bytes)"
  }
}

struct SyncArgument: ExpressibleByArgument {
  let policy: SyncPolicy

  init(policy: SyncPolicy) { self.policy = policy }

  init?(argument: String) {
    switch argument {
    case "always": policy = .always
    case "none": policy = .none
    default:
      guard argument.hasPrefix("interval:"), let milliseconds = UInt64(argument.dropFirst(9)),
        milliseconds > 0
      else { return nil }
      policy = .interval(milliseconds: milliseconds)
    }
  }

  var defaultValueDescription: String { "always" }
}

struct LogLevel: ExpressibleByArgument {
  let level: Logger.Level

  init(level: Logger.Level) { self.level = level }

  init?(argument: String) {
    guard let level = Logger.Level(rawValue: argument) else { return nil }
    self.level = level
  }

  var defaultValueDescription: String { level.rawValue }
}

extension DialectName: ExpressibleByArgument {}
extension RoutingMode: ExpressibleByArgument {}
extension ReadSource: ExpressibleByArgument {}
extension ConflictPolicy: ExpressibleByArgument {}
extension LineLogHandler.Format: ExpressibleByArgument {}

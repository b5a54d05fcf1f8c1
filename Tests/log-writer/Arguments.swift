import WAL

/// What the command line asks for.
struct Arguments {
  struct Invalid: Error, CustomStringConvertible {
    var description: String
  }

  var dataDirectory = ""
  /// Records to put; 0 is until killed.
  var count: UInt64 = 0
  var valueBytes = 20
  /// Records a frame.
  var batch: UInt64 = 1
  var segmentBytes = Format.segmentBytesDefault
  var sync = SyncPolicy.always
  /// A key to delete at the end.
  var deleted: String?
  var delayMilliseconds: UInt64 = 0
  /// Waits for the mark of a quiet log at the end.
  var marks = false
  /// False leaves the log as a crash would.
  var closes = true

  init(_ words: some Sequence<String>) throws(Invalid) {
    var words = words.makeIterator()
    while let word = words.next() {
      switch word {
      case "--data-dir": dataDirectory = try Self.value(words.next(), of: word)
      case "--count": count = try Self.number(words.next(), of: word)
      case "--value-bytes": valueBytes = Int(try Self.number(words.next(), of: word))
      case "--batch": batch = max(1, try Self.number(words.next(), of: word))
      case "--segment-bytes": segmentBytes = try Self.number(words.next(), of: word)
      case "--sync": sync = try Self.policy(try Self.value(words.next(), of: word))
      case "--delete": deleted = try Self.value(words.next(), of: word)
      case "--delay-ms": delayMilliseconds = try Self.number(words.next(), of: word)
      case "--mark": marks = true
      case "--no-close": closes = false
      default: throw Invalid(description: "unknown option \(word)")
      }
    }
    guard !dataDirectory.isEmpty else { throw Invalid(description: "--data-dir is missing") }
  }

  private static func value(_ word: String?, of option: String) throws(Invalid) -> String {
    guard let word else { throw Invalid(description: "\(option) needs a value") }
    return word
  }

  private static func number(_ word: String?, of option: String) throws(Invalid) -> UInt64 {
    guard let number = UInt64(try value(word, of: option)) else {
      throw Invalid(description: "\(option) needs a number")
    }
    return number
  }

  private static func policy(_ word: String) throws(Invalid) -> SyncPolicy {
    switch word {
    case "always": return .always
    case "none": return .none
    default:
      guard word.hasPrefix("interval:"), let milliseconds = UInt64(word.dropFirst(9)) else {
        throw Invalid(description: "--sync is always, none or interval:MS, not \(word)")
      }
      return .interval(milliseconds: milliseconds)
    }
  }
}

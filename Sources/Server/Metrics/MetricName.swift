import NIOCore

/// The name of a metric, of the characters that Prometheus allows. Every other character of the
/// label becomes `_`, so that `wal.sync` and `wal_sync` are the same metric.
struct MetricName: Hashable, Comparable {
  let text: String

  init(_ label: String) { text = Self.valid(label, alsoAllowed: ":") }

  /// Letters, digits and `_`. A digit does not stand in front: `_` does, and the digit behind it.
  static func valid(_ text: String, alsoAllowed: Unicode.Scalar? = nil) -> String {
    var valid = ""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "a"..."z", "A"..."Z", "_": valid.unicodeScalars.append(scalar)
      case "0"..."9":
        if valid.isEmpty { valid = "_" }
        valid.unicodeScalars.append(scalar)
      case alsoAllowed: valid.unicodeScalars.append(scalar)
      default: valid += "_"
      }
    }
    return valid.isEmpty ? "_" : valid
  }

  static func < (one: Self, other: Self) -> Bool { one.text < other.text }

  /// Writes what stands above the samples of this name.
  func writeHeader(help: String?, _ kind: MetricKind, into buffer: inout ByteBuffer) {
    if let help {
      buffer.writeString("# HELP \(text) ")
      Self.write(help, escapesQuotes: false, into: &buffer)
      buffer.writeString("\n")
    }
    buffer.writeString("# TYPE \(text) \(kind.type)\n")
  }

  /// Writes a help text or the value of a label, escaped.
  static func write(_ text: String, escapesQuotes: Bool, into buffer: inout ByteBuffer) {
    for byte in text.utf8 {
      switch byte {
      case UInt8(ascii: "\\"): buffer.writeStaticString("\\\\")
      case UInt8(ascii: "\n"): buffer.writeStaticString("\\n")
      case UInt8(ascii: "\"") where escapesQuotes: buffer.writeStaticString("\\\"")
      default: buffer.writeInteger(byte)
      }
    }
  }
}

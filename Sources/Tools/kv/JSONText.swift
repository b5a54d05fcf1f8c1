#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Objects of JSON whose members keep their order.
enum JSONText {
  /// - Parameter members: names, and values that are JSON already.
  static func object(_ members: [(name: String, value: String)]) -> String {
    "{" + members.map { "\(string($0.name)):\($0.value)" }.joined(separator: ",") + "}"
  }

  /// `"value":"…"`, or `"value_base64":"…"` for bytes that are not UTF-8.
  static func member(_ name: String, _ bytes: [UInt8]) -> (name: String, value: String) {
    if let text = String(validating: bytes, as: UTF8.self) {
      (name, string(text))
    } else {
      (name + "_base64", string(Data(bytes).base64EncodedString()))
    }
  }

  /// RFC 8259, section 7.
  static func string(_ text: String) -> String {
    var json = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": json += "\\\""
      case "\\": json += "\\\\"
      case "\n": json += "\\n"
      case "\r": json += "\\r"
      case "\t": json += "\\t"
      case "\0"..<" ":
        json += "\\u00" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
      default: json.unicodeScalars.append(scalar)
      }
    }
    return json + "\""
  }
}

/// Builds JSON whose members keep their order (RFC 8259).
struct JSONObject {
  private var members: [String] = []

  var text: String { "{" + members.joined(separator: ",") + "}" }

  /// - Parameter json: JSON already.
  mutating func add(_ name: String, json: String) {
    members.append(Self.string(name) + ":" + json)
  }

  mutating func add(_ name: String, _ text: String) { add(name, json: Self.string(text)) }
  mutating func add(_ name: String, _ number: UInt64) { add(name, json: String(number)) }
  mutating func add(_ name: String, _ number: Int) { add(name, json: String(number)) }
  mutating func add(_ name: String, _ flag: Bool) { add(name, json: flag ? "true" : "false") }
  mutating func add(_ name: String, _ object: JSONObject) { add(name, json: object.text) }
  mutating func add(_ name: String, _ number: Double) { add(name, json: Self.number(number)) }

  mutating func add(_ name: String, _ elements: [String]) {
    add(name, json: "[" + elements.joined(separator: ",") + "]")
  }

  /// There is no other way to write what is no number.
  static func number(_ number: Double) -> String { number.isFinite ? "\(number)" : "null" }

  /// Nanoseconds as seconds.
  static func seconds(_ nanoseconds: UInt64) -> String { number(Double(nanoseconds) / 1e9) }

  static func string(_ text: String) -> String {
    var json = "\""
    for scalar in text.unicodeScalars {
      switch scalar {
      case "\"": json += "\\\""
      case "\\": json += "\\\\"
      case "\0"..<" ":
        json += "\\u00" + (scalar.value < 16 ? "0" : "") + String(scalar.value, radix: 16)
      default: json.unicodeScalars.append(scalar)
      }
    }
    return json + "\""
  }
}

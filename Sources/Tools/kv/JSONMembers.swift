/// What is asked of a status.
extension JSONValue {
  /// A member of an object; nil when there is none, or when it is null.
  subscript(_ name: String) -> JSONValue? {
    guard case .object(let members) = self, let value = members[name] else { return nil }
    if case .null = value { return nil }
    return value
  }

  var string: String? { if case .string(let text) = self { text } else { nil } }

  var elements: [JSONValue] { if case .array(let elements) = self { elements } else { [] } }

  /// A number as JSON writes it.
  var number: String? {
    switch self {
    case .unsigned(let number): "\(number)"
    case .signed(let number): "\(number)"
    case .double(let number): "\(number)"
    default: nil
    }
  }

  var seconds: Double? {
    switch self {
    case .unsigned(let number): Double(number)
    case .signed(let number): Double(number)
    case .double(let number): number
    default: nil
    }
  }
}

/// A JSON text as a tree that keeps what is written twice, so that nothing in it goes unnoticed:
/// Foundation's decoder takes one of two members of the same name, and does not say so.
package indirect enum ConfigurationText: Hashable, Sendable {
  case null
  case bool(Bool)
  /// As it is written.
  case number(String)
  case string(String)
  case array([ConfigurationText])
  case object([Member])

  package struct Member: Hashable, Sendable {
    package var name: String
    package var value: ConfigurationText

    package init(_ name: String, _ value: ConfigurationText) {
      self.name = name
      self.value = value
    }
  }

  /// What a person calls it.
  var kind: String {
    switch self {
    case .null: "null"
    case .bool: "true or false"
    case .number: "a number"
    case .string: "a text"
    case .array: "a list"
    case .object: "an object"
    }
  }
}

/// A value of a configuration together with its place in it, which errors name.
struct ConfigurationField {
  let file: String
  /// `shards[1].leader`; empty for the whole.
  let place: String
  let value: ConfigurationText

  func error(_ problem: ShardMapError.Problem) -> ShardMapError {
    ShardMapError(file: file, place: place, problem)
  }

  private func wrongType(_ expected: String) -> ShardMapError {
    error(.wrongType(expected: expected, found: value.kind))
  }

  func text() throws(ShardMapError) -> String {
    guard case .string(let text) = value else { throw wrongType("a text") }
    return text
  }

  /// A whole number, written as one.
  func integer(_ range: ClosedRange<Int>) throws(ShardMapError) -> Int {
    guard case .number(let digits) = value else { throw wrongType("a number") }
    guard let number = Int(digits), range.contains(number) else {
      throw error(.outOfRange("a whole number from \(range.lowerBound) to \(range.upperBound)"))
    }
    return number
  }

  /// - Parameter things: what is in the list, for an error.
  func list(max: Int, of things: String) throws(ShardMapError) -> [ConfigurationField] {
    guard case .array(let elements) = value else { throw wrongType("a list") }
    guard elements.count <= max else { throw error(.tooMany(max: max, of: things)) }
    return elements.enumerated().map { index, element in
      ConfigurationField(file: file, place: "\(place)[\(index)]", value: element)
    }
  }

  /// The members of an object.
  ///
  /// - Parameter known: their names: any other one is an error.
  func object(_ known: [String]) throws(ShardMapError) -> ConfigurationObject {
    guard case .object(let members) = value else { throw wrongType("an object") }
    var fields: [String: ConfigurationField] = [:]
    for member in members {
      let place = self.place.isEmpty ? member.name : "\(self.place).\(member.name)"
      let field = ConfigurationField(file: file, place: place, value: member.value)
      guard known.contains(member.name) else { throw field.error(.unknownField) }
      guard fields.updateValue(field, forKey: member.name) == nil else {
        throw field.error(.duplicateField)
      }
    }
    return ConfigurationObject(whole: self, fields: fields)
  }
}

/// An object of a configuration, every member of which is known.
struct ConfigurationObject {
  let whole: ConfigurationField
  let fields: [String: ConfigurationField]

  subscript(_ name: String) -> ConfigurationField? { fields[name] }

  func required(_ name: String) throws(ShardMapError) -> ConfigurationField {
    guard let field = fields[name] else {
      let place = whole.place.isEmpty ? name : "\(whole.place).\(name)"
      throw ShardMapError(file: whole.file, place: place, .missing)
    }
    return field
  }
}

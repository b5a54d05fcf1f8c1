import Sharding

/// What is asked of the JSON of an answer.
extension ConfigurationText {
  /// Nil when that is no JSON.
  package static func parsed(_ bytes: [UInt8]) -> ConfigurationText? {
    do throws(ConfigurationTextReader.Failure) {
      return try ConfigurationTextReader.read(bytes)
    } catch {
      return nil
    }
  }

  /// A member of an object; nil when there is none, or when it is null.
  package subscript(_ name: String) -> ConfigurationText? {
    guard case .object(let members) = self,
      let value = members.first(where: { $0.name == name })?.value, value != .null
    else { return nil }
    return value
  }

  package var text: String? { if case .string(let text) = self { text } else { nil } }

  package var unsigned: UInt64? { if case .number(let text) = self { UInt64(text) } else { nil } }

  package var elements: [ConfigurationText] {
    if case .array(let elements) = self { elements } else { [] }
  }

  /// A member that is bytes: a text, or base64 under the name with `_base64` behind it.
  func bytes(_ name: String) -> [UInt8]? {
    if let text = self[name]?.text { return Array(text.utf8) }
    return self[name + "_base64"]?.text.flatMap(Base64.decode)
  }
}

/// One write as JSON: the body of `POST /set`, or a line of `POST /batch`.
package struct JSONOperation {
  package enum Kind {
    case put
    case delete
  }

  package struct Invalid: Error {
    package let reason: String
  }

  package let kind: Kind
  package let key: [UInt8]
  package let value: [UInt8]
  package let lifetime: TimeToLive

  /// `{"key":…,"value":…}`, and `"ttl":…` where there is one.
  package init(setting bytes: [UInt8]) throws(Invalid) {
    let members = try Self.members(bytes, allowed: ["key", "value", "ttl"])
    guard let key = members["key"] else { throw Invalid(reason: "there is no \"key\"") }
    guard let value = members["value"] else { throw Invalid(reason: "there is no \"value\"") }
    guard !key.isEmpty else { throw Invalid(reason: "the key is empty") }
    (kind, self.key, self.value) = (.put, key, value)
    lifetime = try Self.lifetime(members)
  }

  /// `{"op":"put"|"delete","key":…,"value":…}`, and `"ttl":…` in a put where there is one.
  package init(line bytes: [UInt8]) throws(Invalid) {
    let members = try Self.members(bytes, allowed: ["op", "key", "value", "ttl"])
    guard let key = members["key"] else { throw Invalid(reason: "there is no \"key\"") }
    guard !key.isEmpty else { throw Invalid(reason: "the key is empty") }
    self.key = key
    lifetime = try Self.lifetime(members)
    switch members["op"].map({ String(decoding: $0, as: UTF8.self) }) {
    case "put":
      guard let value = members["value"] else { throw Invalid(reason: "there is no \"value\"") }
      (kind, self.value) = (.put, value)
    case "delete":
      guard members["value"] == nil else { throw Invalid(reason: "a delete has no \"value\"") }
      guard members["ttl"] == nil else { throw Invalid(reason: "a delete has no \"ttl\"") }
      (kind, self.value) = (.delete, [])
    default:
      throw Invalid(reason: "\"op\" must be \"put\" or \"delete\"")
    }
  }

  private static func lifetime(_ members: [String: [UInt8]]) throws(Invalid) -> TimeToLive {
    guard let lifetime = TimeToLive(members["ttl"]) else { throw Invalid(reason: TimeToLive.rule) }
    return lifetime
  }

  /// The members by name, those in base64 under the name without that; of a number its text.
  private static func members(
    _ bytes: [UInt8], allowed: [String]
  ) throws(Invalid) -> [String: [UInt8]] {
    let parsed: [FlatJSON.Member]
    do {
      parsed = try bytes.withUnsafeBytes { (raw) throws(FlatJSON.Failure) in
        try FlatJSON.parse(raw)
      }
    } catch {
      throw Invalid(reason: "malformed JSON: \(error)")
    }
    var members: [String: [UInt8]] = [:]
    for member in parsed {
      var name = String(decoding: member.name, as: UTF8.self)
      if name == "ttl" {
        guard case .number(let text) = member.value else { throw Invalid(reason: TimeToLive.rule) }
        members[name] = text
        continue
      }
      guard case .string(var content) = member.value else {
        throw Invalid(reason: "\"\(name)\" must be a string")
      }
      let plain = name.hasSuffix("_base64") ? String(name.dropLast(7)) : name
      guard allowed.contains(plain), name == plain || plain == "key" || plain == "value"
      else {
        throw Invalid(reason: "unknown member \"\(name)\"")
      }
      if plain != name {
        guard let decoded = content.withUnsafeBytes({ Base64.decode($0) }) else {
          throw Invalid(reason: "\"\(name)\" is not base64")
        }
        (name, content) = (plain, decoded)
      }
      guard members.updateValue(content, forKey: name) == nil else {
        throw Invalid(reason: "\"\(name)\" is there twice")
      }
    }
    return members
  }
}

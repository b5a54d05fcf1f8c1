import Engine

/// What `GET /kv` without keys asks for: a page of keys in ascending order.
struct PageRequest: Sendable {
  static let linesDefault = 1_000
  static let linesMax = 10_000
  /// A page ends with the line that reaches this.
  static let bytesMax = 1 << 20

  let range: KeyRange
  /// The most lines.
  let limit: Int

  /// - Throws: why it is refused.
  init(_ query: Parameters, limits: Limits) throws(StandardRequest.Refusal) {
    func malformed(_ reason: String) -> StandardRequest.Refusal {
      StandardRequest.Refusal(status: .badRequest, reason: reason)
    }

    _ = try Self.isOfCluster(query)
    var limit = Self.linesDefault
    if let text = query.first("limit") {
      guard let number = text.withUnsafeBytes({ DecimalText.parse($0) }),
        (1...UInt64(Self.linesMax)).contains(number)
      else { throw malformed("limit must be from 1 to \(Self.linesMax)") }
      limit = Int(number)
    }
    self.limit = limit
    for name in ["prefix", "after", "until"] {
      guard query.first(name)?.count ?? 0 <= limits.keyBytesMax else {
        throw StandardRequest.Refusal(
          status: .targetTooLong, reason: "\(name) is longer than \(limits.keyBytesMax) bytes")
      }
    }
    // Empty is as if it were not there: of `until` as well, below which there is no key.
    let until = query.first("until") ?? []
    range = KeyRange(
      prefix: query.first("prefix") ?? [], after: query.first("after") ?? [],
      until: until.isEmpty ? nil : until)
  }

  /// Whether `scope` asks for all shards.
  static func isOfCluster(_ query: Parameters) throws(StandardRequest.Refusal) -> Bool {
    guard let scope = query.text("scope") else { return false }
    guard scope == "cluster" else {
      throw StandardRequest.Refusal(status: .badRequest, reason: "scope must be cluster")
    }
    return true
  }
}

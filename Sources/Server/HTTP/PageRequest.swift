import Engine
import NIOCore

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

    // This node's shard is the cluster.
    if let scope = query.text("scope"), scope != "cluster" {
      throw malformed("scope must be cluster")
    }
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
}

/// A page as it is sent.
struct Page: Sendable {
  /// A line of JSON for each key.
  private(set) var body = ByteBuffer()
  /// The key behind which the next page begins, percent-encoded; nil on the last page.
  private(set) var next: String?

  /// Looks the keys up; that takes a microsecond or so for each.
  ///
  /// - Parameter now: hides what has expired by then, in milliseconds since 1970.
  /// - Precondition: the index can list its keys.
  init(_ request: PageRequest, of index: Index, now: UInt64) {
    var lines = 0
    let last = index.listKeys(in: request.range, now: now) { listed in
      body.writeStaticString("{")
      JSONText.writeMember("key", listed.key, into: &body)
      body.writeStaticString(",\"version\":")
      DecimalText.write(listed.version, into: &body)
      body.writeStaticString(",\"size\":")
      DecimalText.write(UInt64(listed.size), into: &body)
      body.writeStaticString("}\n")
      lines += 1
      return lines < request.limit && body.readableBytes < PageRequest.bytesMax
    }
    guard let last else { return }
    var encoded = ByteBuffer()
    last.withUnsafeBytes { PercentEncoding.encode($0, into: &encoded) }
    next = String(buffer: encoded)
  }
}

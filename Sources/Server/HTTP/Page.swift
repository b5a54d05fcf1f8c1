import Engine
import NIOCore

/// A page as it is sent.
struct Page: Sendable {
  /// A line of JSON for each key.
  private(set) var body = ByteBuffer()
  /// The key behind which the next page begins, percent-encoded; nil on the last page.
  private(set) var next: String?
  /// The highest number that it tells, by what is in it or by what is not.
  private(set) var basis: UInt64 = 0

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
      basis = max(basis, listed.version)
      lines += 1
      return lines < request.limit && body.readableBytes < PageRequest.bytesMax
    }
    // Of a key that is hidden nothing is listed, its version neither.
    basis = max(basis, index.expiringCount > 0 ? index.appliedSequence : index.lastRemoval)
    guard let last else { return }
    var encoded = ByteBuffer()
    last.withUnsafeBytes { PercentEncoding.encode($0, into: &encoded) }
    next = String(buffer: encoded)
  }
}

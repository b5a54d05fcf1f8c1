import NIOCore
import NIOHTTP1

/// A node's answer, whole.
public struct KVResponse: Sendable {
  public var status: Int
  /// Found by name in whatever case.
  public var headers: HTTPHeaders
  public var body: ByteBuffer

  public init(status: Int, headers: HTTPHeaders = HTTPHeaders(), body: ByteBuffer = ByteBuffer()) {
    self.status = status
    self.headers = headers
    self.body = body
  }

  /// The number of the write, from `X-KV-Version`.
  public var version: UInt64? { headers.first(name: "X-KV-Version").flatMap { UInt64($0) } }

  /// What whoever has this answer has seen, from `X-KV-Context`: of a leaderless shard.
  public var context: KVContext? { headers.first(name: "X-KV-Context").flatMap { KVContext($0) } }

  /// What whoever has this answer is to read nothing older than, of a leaderless shard; nil elsewhere.
  package var seen: KVContext? {
    let more = headers.first(name: "X-KV-Seen").flatMap { KVContext($0) }
    guard var seen = context else { return more }
    if let more { seen.merge(more) }
    return seen
  }

  /// What `If-Match` and `If-None-Match` take, as it came, quotes and all.
  public var etag: String? { headers.first(name: "ETag") }
}

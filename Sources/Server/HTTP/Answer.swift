import Engine
import WAL

/// A status of HTTP, as far as this server says them.
package struct Status: Hashable, Sendable {
  package let code: UInt16
  package let reason: StaticString

  package static func == (a: Status, b: Status) -> Bool { a.code == b.code }
  package func hash(into hasher: inout Hasher) { hasher.combine(code) }

  package static let ok = Status(code: 200, reason: "OK")
  package static let created = Status(code: 201, reason: "Created")
  package static let partialContent = Status(code: 206, reason: "Partial Content")
  package static let noContent = Status(code: 204, reason: "No Content")
  package static let notModified = Status(code: 304, reason: "Not Modified")
  package static let multipleChoices = Status(code: 300, reason: "Multiple Choices")
  package static let temporaryRedirect = Status(code: 307, reason: "Temporary Redirect")
  package static let badRequest = Status(code: 400, reason: "Bad Request")
  package static let forbidden = Status(code: 403, reason: "Forbidden")
  package static let notFound = Status(code: 404, reason: "Not Found")
  package static let methodNotAllowed = Status(code: 405, reason: "Method Not Allowed")
  package static let requestTimeout = Status(code: 408, reason: "Request Timeout")
  package static let conflict = Status(code: 409, reason: "Conflict")
  package static let gone = Status(code: 410, reason: "Gone")
  package static let preconditionFailed = Status(code: 412, reason: "Precondition Failed")
  package static let contentTooLarge = Status(code: 413, reason: "Content Too Large")
  package static let targetTooLong = Status(code: 414, reason: "URI Too Long")
  package static let rangeNotSatisfiable = Status(code: 416, reason: "Range Not Satisfiable")
  package static let expectationFailed = Status(code: 417, reason: "Expectation Failed")
  package static let misdirected = Status(code: 421, reason: "Misdirected Request")
  package static let headersTooLarge = Status(code: 431, reason: "Request Header Fields Too Large")
  package static let internalError = Status(code: 500, reason: "Internal Server Error")
  package static let notImplemented = Status(code: 501, reason: "Not Implemented")
  package static let badGateway = Status(code: 502, reason: "Bad Gateway")
  package static let unavailable = Status(code: 503, reason: "Service Unavailable")
  package static let gatewayTimeout = Status(code: 504, reason: "Gateway Timeout")
  package static let versionNotSupported = Status(code: 505, reason: "HTTP Version Not Supported")
  package static let insufficientStorage = Status(code: 507, reason: "Insufficient Storage")
  package static let loopDetected = Status(code: 508, reason: "Loop Detected")

  /// True when such an answer has no body, and no length either.
  var hasNoBody: Bool { code == 204 || code == 304 || code < 200 }
}

package enum ContentType: Sendable {
  case text
  case bytes
  case json
  case ndjson
  case prometheus

  var value: StaticString {
    switch self {
    case .text: "text/plain; charset=utf-8"
    case .bytes: "application/octet-stream"
    case .json: "application/json"
    case .ndjson: "application/x-ndjson"
    case .prometheus: "text/plain; version=0.0.4; charset=utf-8"
    }
  }
}

/// Everything of an answer but its body.
package struct Answer: Sendable {
  package var status: Status
  var contentType: ContentType
  /// Of the write, or of what was read.
  package var version: UInt64?
  /// Set where the answer carries an entity tag for `version`.
  package var tagEpoch: Epoch?
  /// What the tag stands for, where that is not `version`.
  package var tagVersion: UInt64?
  /// What whoever has the answer knows of the key, in a leaderless shard.
  var context: VersionVector?
  /// Beyond the context what a client has seen with this answer, where it is to read nothing older.
  var seen: VersionVector?
  /// The methods of the path, in an answer that the one asked for is not among them.
  package var allow: StaticString?
  /// For how many keys a purge removed, or would.
  package var purged: Int?
  /// The epoch of the history that the answer tells.
  package var epoch: Epoch?
  /// How many keys the node has whose log it sends.
  package var keys: Int?
  /// Ask again after that long.
  package var retryAfterSeconds: Int?
  /// For a replica: a write waits for what it acknowledges.
  package var isAwaited = false
  /// Says that the connection stays: HTTP/1.0 does not take that for granted.
  var namesKeepAlive = false
  /// The connection is of no use after this.
  package var closes = false

  package init(_ status: Status, _ contentType: ContentType = .text, version: UInt64? = nil) {
    self.status = status
    self.contentType = contentType
    self.version = version
  }
}

import WAL

/// A status of HTTP, as far as this server says them.
struct Status: Hashable, Sendable {
  let code: UInt16
  let reason: StaticString

  static func == (a: Status, b: Status) -> Bool { a.code == b.code }
  func hash(into hasher: inout Hasher) { hasher.combine(code) }

  static let ok = Status(code: 200, reason: "OK")
  static let created = Status(code: 201, reason: "Created")
  static let noContent = Status(code: 204, reason: "No Content")
  static let notModified = Status(code: 304, reason: "Not Modified")
  static let badRequest = Status(code: 400, reason: "Bad Request")
  static let forbidden = Status(code: 403, reason: "Forbidden")
  static let notFound = Status(code: 404, reason: "Not Found")
  static let methodNotAllowed = Status(code: 405, reason: "Method Not Allowed")
  static let requestTimeout = Status(code: 408, reason: "Request Timeout")
  static let conflict = Status(code: 409, reason: "Conflict")
  static let gone = Status(code: 410, reason: "Gone")
  static let preconditionFailed = Status(code: 412, reason: "Precondition Failed")
  static let contentTooLarge = Status(code: 413, reason: "Content Too Large")
  static let targetTooLong = Status(code: 414, reason: "URI Too Long")
  static let expectationFailed = Status(code: 417, reason: "Expectation Failed")
  static let headersTooLarge = Status(code: 431, reason: "Request Header Fields Too Large")
  static let internalError = Status(code: 500, reason: "Internal Server Error")
  static let notImplemented = Status(code: 501, reason: "Not Implemented")
  static let unavailable = Status(code: 503, reason: "Service Unavailable")
  static let versionNotSupported = Status(code: 505, reason: "HTTP Version Not Supported")
  static let insufficientStorage = Status(code: 507, reason: "Insufficient Storage")

  /// True when such an answer has no body, and no length either.
  var hasNoBody: Bool { code == 204 || code == 304 || code < 200 }
}

enum ContentType: Sendable {
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
struct Answer: Sendable {
  var status: Status
  var contentType: ContentType
  /// Of the write, or of what was read.
  var version: UInt64?
  /// Set where the answer carries an entity tag for `version`.
  var tagEpoch: Epoch?
  /// The methods of the path, in an answer that the one asked for is not among them.
  var allow: StaticString?
  /// For how many keys a purge removed, or would.
  var purged: Int?
  /// Ask again after that long.
  var retryAfterSeconds: Int?
  /// Says that the connection stays: HTTP/1.0 does not take that for granted.
  var namesKeepAlive = false
  /// The connection is of no use after this.
  var closes = false

  init(_ status: Status, _ contentType: ContentType = .text, version: UInt64? = nil) {
    self.status = status
    self.contentType = contentType
    self.version = version
  }
}

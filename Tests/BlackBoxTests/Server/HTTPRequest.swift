import Foundation

/// The requests that the tests send, in each way that the node understands.
struct HTTPRequest {
  var method: String
  var target: String
  var headers: [(name: String, value: String)] = []
  var body: [UInt8]?

  var bytes: [UInt8] {
    var text = "\(method) \(target) HTTP/1.1\r\nHost: node\r\n"
    for header in headers { text += "\(header.name): \(header.value)\r\n" }
    if let body { text += "Content-Length: \(body.count)\r\n" }
    return Array((text + "\r\n").utf8) + (body ?? [])
  }

  // MARK: - REST

  static func get(_ key: String) -> HTTPRequest {
    HTTPRequest(method: "GET", target: "/kv/\(encoded(key))")
  }

  static func put(_ key: String, _ value: String) -> HTTPRequest {
    HTTPRequest(method: "PUT", target: "/kv/\(encoded(key))", body: Array(value.utf8))
  }

  static func delete(_ key: String) -> HTTPRequest {
    HTTPRequest(method: "DELETE", target: "/kv/\(encoded(key))")
  }

  static func batch(_ changes: [WriterHistory.Change]) -> HTTPRequest {
    let lines = changes.map { change in
      if let value = change.value {
        "{\"op\":\"put\",\"key\":\"\(change.key)\",\"value\":\"\(value)\"}\n"
      } else {
        "{\"op\":\"delete\",\"key\":\"\(change.key)\"}\n"
      }
    }
    return HTTPRequest(method: "POST", target: "/batch", body: Array(lines.joined().utf8))
  }

  // MARK: - Classic and JSON

  static func classicSet(_ key: String, _ value: String) -> HTTPRequest {
    HTTPRequest(method: "GET", target: "/set?key=\(encoded(key))&value=\(encoded(value))")
  }

  static func classicDelete(_ key: String) -> HTTPRequest {
    HTTPRequest(method: "GET", target: "/delete?key=\(encoded(key))")
  }

  static func formSet(_ key: String, _ value: String) -> HTTPRequest {
    HTTPRequest(
      method: "POST", target: "/set",
      headers: [("Content-Type", "application/x-www-form-urlencoded")],
      body: Array("key=\(encoded(key))&value=\(encoded(value))".utf8))
  }

  static func jsonSet(_ key: String, _ value: String) -> HTTPRequest {
    HTTPRequest(
      method: "POST", target: "/set", headers: [("Content-Type", "application/json")],
      body: Array("{\"key\":\"\(key)\",\"value\":\"\(value)\"}".utf8))
  }

  static let status = HTTPRequest(method: "GET", target: "/status")

  static func encoded(_ text: String) -> String {
    text.utf8.map { byte in
      switch byte {
      case 48...57, 65...90, 97...122, 45, 46, 95: String(UnicodeScalar(byte))
      default: "%" + (byte < 16 ? "0" : "") + String(byte, radix: 16, uppercase: true)
      }
    }.joined()
  }
}

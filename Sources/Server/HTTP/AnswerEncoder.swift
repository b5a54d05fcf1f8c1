import NIOCore
import NIOHTTP1

/// Turns answers into bytes for the fast lane, and into a head for the standard pipeline: the same
/// fields in the same order.
package struct AnswerEncoder {
  /// `X-KV-Node` and `X-KV-Shard`, which every answer of this node carries.
  private let node: String
  private let shard: String
  private let nodeLines: [UInt8]
  /// `Date: …` and the end of the line.
  private(set) var dateLine: [UInt8] = []
  private var date = ""

  package init(node: String, shard: UInt32) {
    self.node = node
    self.shard = String(shard)
    nodeLines = Array("X-KV-Node: \(node)\r\nX-KV-Shard: \(shard)\r\n".utf8)
  }

  /// Sets what the next answers give as the time.
  package mutating func set(date: String) {
    self.date = date
    dateLine = Array("Date: \(date)\r\n".utf8)
  }

  /// Writes the answer's head; `bodyBytes` are to follow, unless the request was for the head only.
  package func writeHead(_ answer: Answer, bodyBytes: Int, into buffer: inout ByteBuffer) {
    if answer.status == .ok {
      buffer.writeStaticString("HTTP/1.1 200 OK\r\n")
    } else {
      buffer.writeStaticString("HTTP/1.1 ")
      DecimalText.write(UInt64(answer.status.code), into: &buffer)
      buffer.writeInteger(UInt8(ascii: " "))
      buffer.writeStaticString(answer.status.reason)
      buffer.writeStaticString("\r\n")
    }
    if !answer.status.hasNoBody {
      buffer.writeStaticString("Content-Length: ")
      DecimalText.write(UInt64(bodyBytes), into: &buffer)
      buffer.writeStaticString("\r\nContent-Type: ")
      buffer.writeStaticString(answer.contentType.value)
      buffer.writeStaticString("\r\n")
    }
    buffer.writeBytes(dateLine)
    buffer.writeBytes(nodeLines)
    if let version = answer.version {
      buffer.writeStaticString("X-KV-Version: ")
      DecimalText.write(version, into: &buffer)
      buffer.writeStaticString("\r\n")
      if let epoch = answer.tagEpoch {
        buffer.writeStaticString("ETag: ")
        EntityTag(version: version, epoch: epoch).write(into: &buffer)
        buffer.writeStaticString("\r\n")
      }
    }
    for field in rareFields(answer) {
      buffer.writeString("\(field.name): \(field.value)\r\n")
    }
    if answer.closes { buffer.writeStaticString("Connection: close\r\n") }
    buffer.writeStaticString("\r\n")
  }

  /// The same for the standard pipeline.
  package func head(_ answer: Answer, bodyBytes: Int) -> HTTPResponseHead {
    var fields: [(String, String)] = []
    if !answer.status.hasNoBody {
      fields.append(("Content-Length", String(bodyBytes)))
      fields.append(("Content-Type", "\(answer.contentType.value)"))
    }
    fields.append(("Date", date))
    fields.append(("X-KV-Node", node))
    fields.append(("X-KV-Shard", shard))
    if let version = answer.version {
      fields.append(("X-KV-Version", String(version)))
      if let epoch = answer.tagEpoch {
        fields.append(("ETag", EntityTag(version: version, epoch: epoch).description))
      }
    }
    fields += rareFields(answer).map { ($0.name, $0.value) }
    if answer.namesKeepAlive { fields.append(("Connection", "keep-alive")) }
    if answer.closes { fields.append(("Connection", "close")) }
    return HTTPResponseHead(
      version: .http1_1,
      status: .custom(code: UInt(answer.status.code), reasonPhrase: "\(answer.status.reason)"),
      headers: HTTPHeaders(fields))
  }

  private func rareFields(_ answer: Answer) -> [(name: String, value: String)] {
    if answer.allow == nil, answer.purged == nil, answer.retryAfterSeconds == nil { return [] }
    var fields: [(name: String, value: String)] = []
    if let allow = answer.allow { fields.append(("Allow", "\(allow)")) }
    if let purged = answer.purged { fields.append(("X-KV-Purged", String(purged))) }
    if let seconds = answer.retryAfterSeconds { fields.append(("Retry-After", String(seconds))) }
    return fields
  }
}

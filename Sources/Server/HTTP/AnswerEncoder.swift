import Engine
import NIOCore
import NIOHTTP1

/// Turns answers into bytes for the fast lane, and into a head for the standard pipeline: the same
/// fields in the same order.
package struct AnswerEncoder {
  /// `X-KV-Node` and `X-KV-Shard`, which every answer of this node carries.
  private let node: String
  private let shard: String
  private var date = ""
  /// The lines that all answers of a second share: `Date` and those of the node.
  private var sharedLines: [UInt8] = []

  package init(node: String, shard: UInt32) {
    self.node = node
    self.shard = String(shard)
  }

  /// Sets what the next answers give as the time.
  package mutating func set(date: String) {
    self.date = date
    sharedLines = Array("Date: \(date)\r\nX-KV-Node: \(node)\r\nX-KV-Shard: \(shard)\r\n".utf8)
  }

  /// What a head has at most beside the shared lines and the rare fields.
  private static let ownBytesMax = 768
  /// Each takes 37 bytes at most.
  fileprivate static let shortContextMax = 6

  /// Writes the answer's head; `bodyBytes` are to follow, unless the request was for the head only.
  package func writeHead(_ answer: Answer, bodyBytes: Int, into buffer: inout ByteBuffer) {
    buffer.write(atMost: Self.ownBytesMax + sharedLines.count) { output in
      if answer.status == .ok {
        output.append("HTTP/1.1 200 OK\r\n")
      } else {
        output.append("HTTP/1.1 ")
        DecimalText.write(UInt64(answer.status.code), into: &output)
        output.append(UInt8(ascii: " "))
        output.append(answer.status.reason)
        output.append("\r\n")
      }
      if !answer.status.hasNoBody {
        output.append("Content-Length: ")
        DecimalText.write(UInt64(bodyBytes), into: &output)
        output.append("\r\nContent-Type: ")
        output.append(answer.contentType.value)
        output.append("\r\n")
      }
      output.append(sharedLines)
      if let version = answer.version {
        output.append("X-KV-Version: ")
        DecimalText.write(version, into: &output)
        output.append("\r\n")
        if let epoch = answer.tagEpoch {
          output.append("ETag: ")
          EntityTag(version: answer.tagVersion ?? version, epoch: epoch).write(into: &output)
          output.append("\r\n")
        }
      }
      if let context = answer.shortContext {
        output.append("X-KV-Context: ")
        context.write(into: &output)
        output.append("\r\n")
      }
      // The rare fields come before the last line.
      if !answer.hasRareFields { writeEnd(answer, into: &output) }
    }
    guard answer.hasRareFields else { return }
    for field in rareFields(answer) {
      buffer.writeString("\(field.name): \(field.value)\r\n")
    }
    buffer.write(atMost: Self.ownBytesMax) { writeEnd(answer, into: &$0) }
  }

  @inline(__always)
  private func writeEnd(_ answer: Answer, into output: inout ByteOutput) {
    if answer.closes { output.append("Connection: close\r\n") }
    output.append("\r\n")
  }

  /// The same for the standard pipeline.
  ///
  /// - Parameters:
  ///   - bodyBytes: nil where the body comes in chunks.
  ///   - next: where the next page begins; only this pipeline has pages.
  package func head(_ answer: Answer, bodyBytes: Int?, next: String? = nil) -> HTTPResponseHead {
    var fields: [(String, String)] = []
    if !answer.status.hasNoBody {
      if let bodyBytes {
        fields.append(("Content-Length", String(bodyBytes)))
      } else {
        fields.append(("Transfer-Encoding", "chunked"))
      }
      fields.append(("Content-Type", "\(answer.contentType.value)"))
    }
    fields.append(("Date", date))
    fields.append(("X-KV-Node", node))
    fields.append(("X-KV-Shard", shard))
    if let version = answer.version {
      fields.append(("X-KV-Version", String(version)))
      if let epoch = answer.tagEpoch {
        let tag = EntityTag(version: answer.tagVersion ?? version, epoch: epoch)
        fields.append(("ETag", tag.description))
      }
    }
    if let context = answer.shortContext {
      fields.append((LoopState.contextField, "\(context)"))
    }
    if let next { fields.append(("X-KV-Next", next)) }
    fields += rareFields(answer).map { ($0.name, $0.value) }
    if answer.namesKeepAlive { fields.append(("Connection", "keep-alive")) }
    if answer.closes { fields.append(("Connection", "close")) }
    return HTTPResponseHead(
      version: .http1_1,
      status: .custom(code: UInt(answer.status.code), reasonPhrase: "\(answer.status.reason)"),
      headers: HTTPHeaders(fields))
  }

  private func rareFields(_ answer: Answer) -> [(name: String, value: String)] {
    var fields: [(name: String, value: String)] = []
    if let context = answer.longContext { fields.append((LoopState.contextField, "\(context)")) }
    if let seen = answer.seen { fields.append((LoopState.seenField, "\(seen)")) }
    if let allow = answer.allow { fields.append(("Allow", "\(allow)")) }
    if let purged = answer.purged { fields.append(("X-KV-Purged", String(purged))) }
    if let epoch = answer.epoch { fields.append(("X-KV-Epoch", epoch.text)) }
    if let keys = answer.keys { fields.append((LoopState.keysField, String(keys))) }
    if let seconds = answer.retryAfterSeconds { fields.append(("Retry-After", String(seconds))) }
    if answer.isAwaited { fields.append(("X-KV-Awaited", "1")) }
    return fields
  }
}

extension Answer {
  /// A context that there is room for among the usual fields.
  fileprivate var shortContext: VersionVector? {
    context.flatMap { $0.entries.count <= AnswerEncoder.shortContextMax ? $0 : nil }
  }

  fileprivate var longContext: VersionVector? {
    context.flatMap { $0.entries.count > AnswerEncoder.shortContextMax ? $0 : nil }
  }

  fileprivate var hasRareFields: Bool {
    longContext != nil || seen != nil || allow != nil || purged != nil || epoch != nil
      || retryAfterSeconds != nil
      || isAwaited
  }
}

extension VersionVector {
  /// As `description` has it.
  func write(into output: inout ByteOutput) {
    for (index, entry) in entries.enumerated() {
      if index > 0 { output.append(UInt8(ascii: ",")) }
      var shift: UInt64 = 64
      while shift > 0 {
        shift -= 4
        output.append(HexDigit.lower(UInt8(entry.origin >> shift & 15)))
      }
      output.append(UInt8(ascii: ":"))
      DecimalText.write(entry.sequence, into: &output)
    }
  }
}

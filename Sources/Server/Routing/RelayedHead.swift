import NIOCore

/// The head of another node's answer, as far as passing it on takes: where it and the body end, and which
/// lines are not the client's.
package struct RelayedHead: Equatable {
  package enum Outcome {
    /// Bytes are missing.
    case incomplete
    /// No answer that a node gives to a hot request, and why.
    case malformed(StaticString)
    case head(RelayedHead)
  }

  /// Heads above this are malformed.
  package static let bytesMax = 16 << 10

  package var status: UInt16
  /// With the empty line behind it.
  package var headBytes: Int
  /// None where `Content-Length` is that of a body that is not sent.
  package var bodyBytes: Int
  /// The node closes the connection behind the answer.
  package var closes = false
  /// Has lines that are of the connection between the nodes.
  package var hasOwnLines = false
  /// Writes wait for the acknowledgement that this answers.
  package var isAwaited = false
  /// Who leads, as a node says that does not.
  package var leader: Range<Int>?

  /// Looks at the answer at the start of `bytes`.
  ///
  /// - Parameter isHead: it is to a request for the head.
  package static func recognise(_ bytes: UnsafeRawBufferPointer, isHead: Bool) -> Outcome {
    let start: StaticString = "HTTP/1.1 "
    // The shortest: `HTTP/1.1 200 \r\n\r\n`.
    for (byte, letter) in zip(
      bytes, UnsafeBufferPointer(start: start.utf8Start, count: start.utf8CodeUnitCount))
    where byte != letter {
      return .malformed("no HTTP/1.1")
    }
    guard bytes.count >= 17 else { return .incomplete }
    var status: UInt16 = 0
    for digit in bytes[9..<12] {
      guard digit >= 0x30, digit <= 0x39 else { return .malformed("no status") }
      status = status * 10 + UInt16(digit - 0x30)
    }
    guard bytes[12] == 0x20, status >= 200 else { return .malformed("no status of an answer") }
    guard var line = end(of: 12, in: bytes) else { return unfinished(bytes) }
    var head = RelayedHead(status: status, headBytes: 0, bodyBytes: 0)
    var length: Int?
    while true {
      guard line + 1 < bytes.count else { return unfinished(bytes) }
      if bytes[line] == 0x0d, bytes[line + 1] == 0x0a { break }
      guard let next = end(of: line, in: bytes) else { return unfinished(bytes) }
      let text = UnsafeRawBufferPointer(rebasing: bytes[line..<next - 2])
      switch Field(text) {
      case .contentLength(let value):
        guard length == nil, let number = number(text[value...]) else {
          return .malformed("a bad Content-Length")
        }
        length = number
      case .transferEncoding: return .malformed("an answer without a length")
      case .connection(let value):
        head.hasOwnLines = true
        if isEqual(text[value...], "close") { head.closes = true }
      case .forwardedBy, .own: head.hasOwnLines = true
      case .awaited: head.isAwaited = true
      case .leader(let value): head.leader = line + value..<next - 2
      case .other: break
      }
      line = next
    }
    head.headBytes = line + 2
    guard head.headBytes <= bytesMax else { return .malformed("a head that does not end") }
    let hasNoBody = isHead || status == 204 || status == 304
    guard let length = length ?? (hasNoBody ? 0 : nil) else {
      return .malformed("an answer without a length")
    }
    head.bodyBytes = hasNoBody ? 0 : length
    return .head(head)
  }

  /// Writes the head for this node's client, up to the empty line, which is not written.
  ///
  /// - Parameter bytes: begin with the answer that the head was found in.
  package func write(_ bytes: UnsafeRawBufferPointer, into output: inout ByteBuffer) {
    guard hasOwnLines else {
      output.writeBytes(UnsafeRawBufferPointer(rebasing: bytes[..<(headBytes - 2)]))
      return
    }
    var line = 0
    while line < headBytes - 2, let next = Self.end(of: line, in: bytes) {
      let text = UnsafeRawBufferPointer(rebasing: bytes[line..<next])
      switch Field(UnsafeRawBufferPointer(rebasing: text.dropLast(2))) {
      case .connection, .forwardedBy, .own: break
      default: output.writeBytes(text)
      }
      line = next
    }
  }

  // MARK: - Lines

  /// A line of a head; where its value begins.
  private enum Field {
    case contentLength(Int)
    case transferEncoding
    case connection(Int)
    case forwardedBy
    case leader(Int)
    case awaited
    /// Another one that belongs to a connection (RFC 9110, 7.6.1).
    case own
    case other

    init(_ line: UnsafeRawBufferPointer) {
      if let first = line.first, first | 0x20 == UInt8(ascii: "p"),
        isEqual(line.prefix(6), "proxy-")
      {
        self = .own
        return
      }
      guard let colon = line.prefix(18).firstIndex(of: UInt8(ascii: ":")) else {
        self = .other
        return
      }
      var value = colon + 1
      while value < line.count, line[value] == 0x20 || line[value] == 0x09 { value += 1 }
      let name = line[..<colon]
      switch colon {
      case 2 where isEqual(name, "te"): self = .own
      case 7 where isEqual(name, "upgrade") || isEqual(name, "trailer"): self = .own
      case 10 where isEqual(name, "connection"): self = .connection(value)
      case 10 where isEqual(name, "keep-alive"): self = .own
      case 11 where isEqual(name, "x-kv-leader"): self = .leader(value)
      case 12 where isEqual(name, "x-kv-awaited"): self = .awaited
      case 14 where isEqual(name, "content-length"): self = .contentLength(value)
      case 17 where isEqual(name, "transfer-encoding"): self = .transferEncoding
      case 17 where isEqual(name, "x-kv-forwarded-by"): self = .forwardedBy
      default: self = .other
      }
    }
  }

  private static func unfinished(_ bytes: UnsafeRawBufferPointer) -> Outcome {
    bytes.count > bytesMax ? .malformed("a head that does not end") : .incomplete
  }

  /// Behind the next line's end; nil where that is missing.
  private static func end(of line: Int, in bytes: UnsafeRawBufferPointer) -> Int? {
    let most = min(bytes.count, bytesMax)
    var at = line
    while at + 1 < most {
      if bytes[at] == 0x0d, bytes[at + 1] == 0x0a { return at + 2 }
      at += 1
    }
    return nil
  }

  private static func number(_ text: Slice<UnsafeRawBufferPointer>) -> Int? {
    var text = text
    while let last = text.last, last == 0x20 || last == 0x09 { text.removeLast() }
    guard !text.isEmpty, text.count <= 10 else { return nil }
    var number = 0
    for digit in text {
      guard digit >= 0x30, digit <= 0x39 else { return nil }
      number = number * 10 + Int(digit - 0x30)
    }
    return number
  }
}

/// - Parameter text: in lower case.
private func isEqual(_ bytes: Slice<UnsafeRawBufferPointer>, _ text: StaticString) -> Bool {
  guard bytes.count == text.utf8CodeUnitCount else { return false }
  let letters = UnsafeBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount)
  for (byte, letter) in zip(bytes, letters) {
    let lower = byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z") ? byte | 0x20 : byte
    guard lower == letter else { return false }
  }
  return true
}

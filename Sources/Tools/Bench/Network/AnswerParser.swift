import Client

/// Reads HTTP/1.1 answers (RFC 9112) out of bytes as they come: of the head what a measurement needs,
/// of the body nothing but its end.
package struct AnswerParser: Sendable {
  package struct Answer: Sendable, Equatable {
    package var status = 0
    /// `X-KV-Version`; 0 where it is absent.
    package var version: UInt64 = 0
    /// Of the entity tag `"VERSION.EPOCH-NODE"`; 0 where it is absent, or another's.
    package var epoch: UInt64 = 0
    /// `X-KV-Context`, of a leaderless set; empty where it is absent.
    package var context = KVContext()
    /// Nothing follows on this connection.
    package var closes = false

    package init() {}
  }

  package enum Step: Sendable, Equatable {
    /// What begins at the position is not all there: it has to be offered again with more behind it.
    case needsMore
    case answer(Answer)
    case malformed
  }

  /// Heads and lines above this are malformed.
  package static let headBytesMax = 64 << 10

  private enum Place {
    case head
    /// In a body, or in a chunk, of which so many bytes are missing.
    case body(UInt64)
    case chunk(UInt64)
    case chunkSize
    case trailer
    /// In a body that ends with the connection.
    case untilClose
  }

  private var place = Place.head
  private var answer = Answer()
  private var bodyBytes: UInt64?
  private var isChunked = false

  package init() {}

  /// Reads on.
  ///
  /// - Parameter position: where to begin; moved behind what is read.
  @inline(__always)
  package mutating func next(_ bytes: UnsafeRawBufferPointer, _ position: inout Int) -> Step {
    while true {
      switch place {
      case .head:
        guard let end = Self.endOfHead(bytes, from: position) else {
          return bytes.count - position > Self.headBytesMax ? .malformed : .needsMore
        }
        guard readHead(bytes, position, end) else { return .malformed }
        position = end
        if answer.status / 100 == 1 { continue }
        if answer.status == 204 || answer.status == 304 {
          place = .body(0)
        } else if isChunked {
          place = .chunkSize
        } else if let bodyBytes {
          place = .body(bodyBytes)
        } else {
          place = .untilClose
        }
      case .body(let rest):
        let here = min(rest, UInt64(bytes.count - position))
        position += Int(here)
        place = .body(rest - here)
        guard here == rest else { return .needsMore }
        place = .head
        return .answer(answer)
      case .chunk(let rest):
        let here = min(rest, UInt64(bytes.count - position))
        position += Int(here)
        place = here == rest ? .chunkSize : .chunk(rest - here)
        guard here == rest else { return .needsMore }
      case .chunkSize:
        switch Self.line(bytes, from: position) {
        case .none: return bytes.count - position > Self.headBytesMax ? .malformed : .needsMore
        case .some(let line):
          guard let size = Self.chunkSize(bytes, line.content) else { return .malformed }
          position = line.end
          // With the end of line behind the chunk.
          place = size == 0 ? .trailer : .chunk(size + 2)
        }
      case .trailer:
        guard let line = Self.line(bytes, from: position) else {
          return bytes.count - position > Self.headBytesMax ? .malformed : .needsMore
        }
        position = line.end
        guard line.content.isEmpty else { continue }
        place = .head
        return .answer(answer)
      case .untilClose:
        position = bytes.count
        return .needsMore
      }
    }
  }

  /// The connection has been closed.
  ///
  /// - Returns: the answer whose body ended by that.
  package mutating func end() -> Answer? {
    guard case .untilClose = place else { return nil }
    place = .head
    answer.closes = true
    return answer
  }

  // MARK: - Lines

  /// Behind the empty line that ends a head.
  private static func endOfHead(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Int? {
    var index = start + 3
    let count = bytes.count
    while index < count {
      let byte = bytes[index]
      if byte == UInt8(ascii: "\n") {
        if bytes[index - 1] == UInt8(ascii: "\r"), bytes[index - 2] == UInt8(ascii: "\n"),
          bytes[index - 3] == UInt8(ascii: "\r")
        {
          return index + 1
        }
        index += 2
      } else {
        // A byte that is none of the four that end a head is four in front of its last one at least.
        index += byte == UInt8(ascii: "\r") ? 1 : 4
      }
    }
    return nil
  }

  private static func line(
    _ bytes: UnsafeRawBufferPointer, from start: Int
  ) -> (content: Range<Int>, end: Int)? {
    var index = start
    while index < bytes.count {
      if bytes[index] == UInt8(ascii: "\n") {
        let hasReturn = index > start && bytes[index - 1] == UInt8(ascii: "\r")
        return (start..<(hasReturn ? index - 1 : index), index + 1)
      }
      index += 1
    }
    return nil
  }

  private static func chunkSize(_ bytes: UnsafeRawBufferPointer, _ line: Range<Int>) -> UInt64? {
    var size: UInt64 = 0
    var digits = 0
    for index in line {
      let value: UInt8
      switch bytes[index] {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): value = bytes[index] - UInt8(ascii: "0")
      case UInt8(ascii: "a")...UInt8(ascii: "f"): value = bytes[index] - UInt8(ascii: "a") + 10
      case UInt8(ascii: "A")...UInt8(ascii: "F"): value = bytes[index] - UInt8(ascii: "A") + 10
      // An extension.
      case UInt8(ascii: ";"), UInt8(ascii: " "), UInt8(ascii: "\t"):
        return digits > 0 ? size : nil
      default: return nil
      }
      digits += 1
      guard digits <= 15 else { return nil }
      size = size << 4 | UInt64(value)
    }
    return digits > 0 ? size : nil
  }

  // MARK: - Head

  private mutating func readHead(_ bytes: UnsafeRawBufferPointer, _ start: Int, _ end: Int) -> Bool
  {
    answer = Answer()
    bodyBytes = nil
    isChunked = false
    // `HTTP/1.1 200`
    guard end - start >= 14, Self.hasName("http/1.", bytes, start),
      bytes[start + 8] == UInt8(ascii: " ")
    else { return false }
    var position = start + 9
    guard let status = Self.number(bytes, &position), (100...999).contains(status) else {
      return false
    }
    answer.status = Int(status)
    // HTTP/1.0 closes.
    answer.closes = bytes[start + 7] == UInt8(ascii: "0")
    while position < end, bytes[position] != UInt8(ascii: "\n") { position += 1 }
    position += 1
    while position < end - 2 {
      guard readField(bytes, &position) else { return false }
    }
    return true
  }

  /// Reads one field, up to behind its line.
  @inline(__always)
  private mutating func readField(
    _ bytes: UnsafeRawBufferPointer, _ position: inout Int
  ) -> Bool {
    switch bytes[position] | 0x20 {
    case UInt8(ascii: "c"):
      if Self.hasName("content-length:", bytes, position) {
        position += 15
        Self.skipBlanks(bytes, &position)
        guard let length = Self.number(bytes, &position) else { return false }
        bodyBytes = length
      } else if Self.hasName("connection:", bytes, position) {
        position += 11
        Self.skipBlanks(bytes, &position)
        if Self.hasName("close", bytes, position) { answer.closes = true }
      }
    case UInt8(ascii: "e"):
      if Self.hasName("etag:", bytes, position) {
        position += 5
        Self.skipBlanks(bytes, &position)
        readEpoch(bytes, &position)
      }
    case UInt8(ascii: "t"):
      if Self.hasName("transfer-encoding:", bytes, position) {
        position += 18
        Self.skipBlanks(bytes, &position)
        guard Self.hasName("chunked", bytes, position) else { return false }
        isChunked = true
      }
    case UInt8(ascii: "x"):
      if Self.hasName("x-kv-version:", bytes, position) {
        position += 13
        Self.skipBlanks(bytes, &position)
        guard let version = Self.number(bytes, &position) else { return false }
        answer.version = version
      } else if Self.hasName("x-kv-context:", bytes, position) {
        position += 13
        Self.skipBlanks(bytes, &position)
        guard let context = KVContext(bytes, &position) else { return false }
        answer.context = context
      }
    default: break
    }
    while bytes[position] != UInt8(ascii: "\n") { position += 1 }
    position += 1
    return true
  }

  /// `"VERSION.EPOCH-NODE"`; another tag has none.
  private mutating func readEpoch(_ bytes: UnsafeRawBufferPointer, _ position: inout Int) {
    guard bytes[position] == UInt8(ascii: "\"") else { return }
    position += 1
    guard Self.number(bytes, &position) != nil, bytes[position] == UInt8(ascii: ".") else { return }
    position += 1
    guard let epoch = Self.number(bytes, &position), bytes[position] == UInt8(ascii: "-") else {
      return
    }
    answer.epoch = epoch
  }

  private static func skipBlanks(_ bytes: UnsafeRawBufferPointer, _ position: inout Int) {
    while bytes[position] == UInt8(ascii: " ") || bytes[position] == UInt8(ascii: "\t") {
      position += 1
    }
  }

  /// Digits, which something else follows: a head ends with an end of line.
  @inline(__always)
  private static func number(_ bytes: UnsafeRawBufferPointer, _ position: inout Int) -> UInt64? {
    var number: UInt64 = 0
    let start = position
    while true {
      let digit = bytes[position] &- UInt8(ascii: "0")
      guard digit < 10 else { break }
      guard position - start < 18 else { return nil }
      number = number &* 10 &+ UInt64(digit)
      position += 1
    }
    return position > start ? number : nil
  }

  /// Whether that is there, in capitals or not: `name` is in small letters.
  @inline(__always)
  private static func hasName(
    _ name: StaticString, _ bytes: UnsafeRawBufferPointer, _ position: Int
  ) -> Bool {
    let count = name.utf8CodeUnitCount
    guard bytes.count - position >= count else { return false }
    let start = name.utf8Start
    for index in 0..<count {
      let byte = bytes[position + index]
      let small = byte >= 65 && byte <= 90 ? byte | 0x20 : byte
      if small != start[index] { return false }
    }
    return true
  }
}

/// Parses one flat JSON object, strictly by RFC 8259: its values are strings, numbers, booleans or
/// null.
///
/// Flat and with few members, so that time and memory grow with the number of bytes and nothing
/// else. Object and array as values, a name that is there twice, and a byte order mark are errors.
package enum FlatJSON {
  /// Objects with more members are refused.
  package static let memberCountMax = 32

  package enum Value: Equatable, Sendable {
    /// UTF-8, escapes resolved; U+0000 can be in it.
    case string([UInt8])
    /// The text, which follows the grammar of RFC 8259, section 6, and has any length and size.
    case number([UInt8])
    case boolean(Bool)
    case null
  }

  package struct Member: Equatable, Sendable {
    /// UTF-8, escapes resolved; may be empty.
    package let name: [UInt8]
    package let value: Value

    package init(name: [UInt8], value: Value) {
      self.name = name
      self.value = value
    }
  }

  package struct Failure: Error, Equatable, CustomStringConvertible {
    /// What can be wrong, in words that need no escape in JSON.
    package enum Reason: String, Sendable, CaseIterable {
      case noObject = "an object is expected"
      case noName = "the name of a member is expected"
      case duplicateName = "a name is there twice"
      case tooManyMembers = "more than 32 members are not expected here"
      case noColon = "a colon is expected"
      case noValue = "a string, a number, true, false or null is expected"
      case nested = "nested objects and arrays are not expected here"
      case malformedNumber = "a number is malformed"
      case noComma = "a comma or the end of the object is expected"
      case unendedString = "a string is not ended"
      case controlCharacter = "a control character in a string is not escaped"
      case notUTF8 = "a string is not UTF-8"
      case malformedEscape = "an escape in a string is malformed"
      case loneSurrogate = "half of a surrogate pair is missing"
      case bytesBehind = "nothing is expected behind the object"
    }

    /// Where what is wrong begins, say the quote of a string that is not ended; the number of bytes
    /// when something is missing behind them.
    package let offset: Int
    package let reason: Reason

    package init(offset: Int, reason: Reason) {
      self.offset = offset
      self.reason = reason
    }

    package var description: String { "at byte \(offset): \(reason.rawValue)" }
  }

  /// - Parameter bytes: the whole document.
  /// - Returns: the object's members in order.
  package static func parse(_ bytes: UnsafeRawBufferPointer) throws(Failure) -> [Member] {
    var parser = Parser(bytes: bytes)
    return try parser.object()
  }
}

/// Reads forward. `position` never passes `bytes.count`, and only bytes below that are read: the
/// pointer's own checks are gone in release.
private struct Parser {
  typealias Failure = FlatJSON.Failure

  let bytes: UnsafeRawBufferPointer
  var position = 0

  mutating func object() throws(Failure) -> [FlatJSON.Member] {
    var members: [FlatJSON.Member] = []
    members.reserveCapacity(4)
    skipBlanks()
    guard take("{") else { throw failure(.noObject) }
    skipBlanks()
    if !take("}") {
      repeat {
        skipBlanks()
        members.append(try member(behind: members))
        skipBlanks()
      } while take(",")
      guard take("}") else { throw failure(.noComma) }
    }
    skipBlanks()
    guard position == bytes.count else { throw failure(.bytesBehind) }
    return members
  }

  private mutating func member(
    behind members: [FlatJSON.Member]
  ) throws(Failure) -> FlatJSON.Member {
    let start = position
    guard next == UInt8(ascii: "\"") else { throw failure(.noName) }
    guard members.count < FlatJSON.memberCountMax else { throw failure(.tooManyMembers) }
    let name = try string()
    guard !members.contains(where: { $0.name == name }) else {
      throw Failure(offset: start, reason: .duplicateName)
    }
    skipBlanks()
    guard take(":") else { throw failure(.noColon) }
    skipBlanks()
    return FlatJSON.Member(name: name, value: try value())
  }

  private mutating func value() throws(Failure) -> FlatJSON.Value {
    guard let next else { throw failure(.noValue) }
    switch next {
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "{"), UInt8(ascii: "["): throw failure(.nested)
    case UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      return .number(try number())
    default:
      if take("true") { return .boolean(true) }
      if take("false") { return .boolean(false) }
      if take("null") { return .null }
      throw failure(.noValue)
    }
  }

  // MARK: - Tokens

  /// The byte at `position`; nil at the end.
  @inline(__always)
  private var next: UInt8? { position < bytes.count ? bytes[position] : nil }

  private func failure(_ reason: Failure.Reason) -> Failure {
    Failure(offset: position, reason: reason)
  }

  @inline(__always)
  private mutating func skipBlanks() {
    while let byte = next, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 {
      position += 1
    }
  }

  /// Passes the text if it is next.
  @inline(__always)
  private mutating func take(_ text: StaticString) -> Bool {
    let count = text.utf8CodeUnitCount
    guard bytes.count - position >= count else { return false }
    for offset in 0..<count where bytes[position + offset] != text.utf8Start[offset] {
      return false
    }
    position += count
    return true
  }

  // MARK: - Numbers

  private mutating func number() throws(Failure) -> [UInt8] {
    let start = position
    _ = take("-")
    var isValid = take("0") || skipDigits()
    if take(".") { isValid = skipDigits() && isValid }
    if take("e") || take("E") {
      if !take("-") { _ = take("+") }
      isValid = skipDigits() && isValid
    }
    // A zero in front.
    if skipDigits() { isValid = false }
    guard isValid else { throw Failure(offset: start, reason: .malformedNumber) }
    return [UInt8](bytes.slice(start..<position))
  }

  /// - Returns: whether there was one at least.
  private mutating func skipDigits() -> Bool {
    let start = position
    while let byte = next, byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") { position += 1 }
    return position > start
  }

  // MARK: - Strings

  /// From quote to quote. What needs no change is copied in runs.
  private mutating func string() throws(Failure) -> [UInt8] {
    let start = position
    position += 1
    var text: [UInt8] = []
    var run = position
    while true {
      position = bytes.firstIndex(from: position) {
        $0.marks(below: 0x20) | $0.marks(equalTo: 0x22) | $0.marks(equalTo: 0x5c)
          | $0.marksNonASCII
      }
      guard let byte = next else { throw Failure(offset: start, reason: .unendedString) }
      switch byte {
      case UInt8(ascii: "\""):
        text.append(contentsOf: bytes.slice(run..<position))
        position += 1
        return text
      case UInt8(ascii: "\\"):
        text.append(contentsOf: bytes.slice(run..<position))
        try escape(into: &text)
        run = position
      case ..<0x20: throw failure(.controlCharacter)
      default:
        while let byte = next, byte >= 0x80 {
          guard let character = UTF8Scalar(bytes, at: position) else { throw failure(.notUTF8) }
          position += character.width
        }
      }
    }
  }

  // MARK: - Escapes

  private mutating func escape(into text: inout [UInt8]) throws(Failure) {
    let start = position
    position += 1
    switch next {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(bytes[position])
    case UInt8(ascii: "b"): text.append(0x08)
    case UInt8(ascii: "f"): text.append(0x0c)
    case UInt8(ascii: "n"): text.append(0x0a)
    case UInt8(ascii: "r"): text.append(0x0d)
    case UInt8(ascii: "t"): text.append(0x09)
    case UInt8(ascii: "u"):
      position = start
      let scalar = try unicodeEscape()
      if let bytes = UTF8.encode(scalar) { text.append(contentsOf: bytes) }
      return
    default: throw Failure(offset: start, reason: .malformedEscape)
    }
    position += 1
  }

  /// One `\uXXXX`, or two that are a surrogate pair.
  private mutating func unicodeEscape() throws(Failure) -> Unicode.Scalar {
    let start = position
    var code = try codeUnit()
    if code >> 10 == 0xd800 >> 10, next == UInt8(ascii: "\\"), position + 1 < bytes.count,
      bytes[position + 1] == UInt8(ascii: "u")
    {
      let low = try codeUnit()
      guard low >> 10 == 0xdc00 >> 10 else { throw Failure(offset: start, reason: .loneSurrogate) }
      code = 0x10000 + ((code & 0x3ff) << 10) + (low & 0x3ff)
    }
    guard let scalar = Unicode.Scalar(code) else {
      throw Failure(offset: start, reason: .loneSurrogate)
    }
    return scalar
  }

  /// The number in one `\uXXXX`.
  private mutating func codeUnit() throws(Failure) -> UInt32 {
    guard bytes.count - position >= 6 else { throw failure(.malformedEscape) }
    var code: UInt32 = 0
    for index in position + 2..<position + 6 {
      guard let digit = HexDigit.value(bytes[index]) else { throw failure(.malformedEscape) }
      code = code << 4 | UInt32(digit)
    }
    position += 6
    return code
  }
}

/// Reads JSON (RFC 8259), and nothing else: no comments, no comma behind a last element.
package struct ConfigurationTextReader {
  /// What is wrong, and where.
  package struct Failure: Error, Hashable {
    /// From 1; a column is a byte.
    package var line: Int
    package var column: Int
    package var problem: String

    package init(line: Int, column: Int, problem: String) {
      self.line = line
      self.column = column
      self.problem = problem
    }
  }

  private static let depthMax = 16

  private let bytes: [UInt8]
  private var offset = 0

  private init(_ bytes: [UInt8]) { self.bytes = bytes }

  /// The value that a text of JSON is.
  package static func read(_ bytes: [UInt8]) throws(Failure) -> ConfigurationText {
    var reader = Self(bytes)
    let value = try reader.value(depth: 0)
    reader.skipBlanks()
    guard reader.offset == bytes.count else { throw reader.failure("nothing may follow here") }
    return value
  }

  private mutating func value(depth: Int) throws(Failure) -> ConfigurationText {
    skipBlanks()
    guard depth < Self.depthMax else { throw failure("more than \(Self.depthMax) levels") }
    guard let byte = peek else { throw failure("a value is missing: the text ends here") }
    switch byte {
    case UInt8(ascii: "{"): return .object(try members(depth: depth))
    case UInt8(ascii: "["): return .array(try elements(depth: depth))
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return .number(try number())
    default: break
    }
    for (word, value) in Self.words where bytes[offset...].starts(with: word.utf8) {
      offset += word.utf8.count
      return value
    }
    throw failure("a value is missing")
  }

  private static let words: [(String, ConfigurationText)] = [
    ("null", .null), ("true", .bool(true)), ("false", .bool(false)),
  ]

  private mutating func members(depth: Int) throws(Failure) -> [ConfigurationText.Member] {
    var members: [ConfigurationText.Member] = []
    offset += 1
    skipBlanks()
    if take("}") { return members }
    while true {
      skipBlanks()
      guard peek == UInt8(ascii: "\"") else { throw failure("a name in quotes is missing") }
      let name = try string()
      skipBlanks()
      guard take(":") else { throw failure("a colon is missing") }
      members.append(.init(name, try value(depth: depth + 1)))
      skipBlanks()
      if take("}") { return members }
      guard take(",") else { throw failure("a comma or } is missing") }
    }
  }

  private mutating func elements(depth: Int) throws(Failure) -> [ConfigurationText] {
    var elements: [ConfigurationText] = []
    offset += 1
    skipBlanks()
    if take("]") { return elements }
    while true {
      elements.append(try value(depth: depth + 1))
      skipBlanks()
      if take("]") { return elements }
      guard take(",") else { throw failure("a comma or ] is missing") }
    }
  }

  private mutating func number() throws(Failure) -> String {
    let start = offset
    _ = take("-")
    if !take("0") { try digits() }
    if take(".") { try digits() }
    if take("e") || take("E") {
      if !take("+") { _ = take("-") }
      try digits()
    }
    return String(decoding: bytes[start..<offset], as: UTF8.self)
  }

  private mutating func digits() throws(Failure) {
    let start = offset
    while let byte = peek, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) { offset += 1 }
    guard offset > start else { throw failure("a digit is missing") }
  }

  private mutating func string() throws(Failure) -> String {
    let start = offset
    offset += 1
    var text: [UInt8] = []
    while !take("\"") {
      switch peek {
      case nil: throw failure("the text ends within quotes")
      case UInt8(ascii: "\\"): text += Array(String(try escape()).utf8)
      case .some(let byte):
        guard byte >= 0x20 else { throw failure("a control character within quotes") }
        text.append(byte)
        offset += 1
      }
    }
    guard let string = String(validating: text, as: UTF8.self) else {
      offset = start
      throw failure("what is in quotes is not UTF-8")
    }
    return string
  }

  private mutating func escape() throws(Failure) -> Unicode.Scalar {
    let start = offset
    offset += 1
    for (letter, scalar) in Self.escapes where take(letter) { return scalar }
    guard take("u") else { throw failure("no such escape in JSON") }
    let unit = try hexadecimal()
    if let scalar = Unicode.Scalar(unit) { return scalar }
    // The first half of a pair.
    if unit < 0xDC00, take("\\"), take("u") {
      let low = try hexadecimal()
      if (0xDC00...0xDFFF).contains(low),
        let scalar = Unicode.Scalar(0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00))
      {
        return scalar
      }
    }
    offset = start
    throw failure("half a surrogate pair")
  }

  private static let escapes: [(Unicode.Scalar, Unicode.Scalar)] = [
    ("\"", "\""), ("\\", "\\"), ("/", "/"), ("b", "\u{8}"), ("f", "\u{C}"), ("n", "\n"),
    ("r", "\r"),
    ("t", "\t"),
  ]

  private mutating func hexadecimal() throws(Failure) -> UInt32 {
    var number: UInt32 = 0
    for _ in 0..<4 {
      guard let byte = peek, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
        throw failure("four hexadecimal digits are missing")
      }
      number = number << 4 | UInt32(digit)
      offset += 1
    }
    return number
  }

  // MARK: - Bytes

  private var peek: UInt8? { offset < bytes.count ? bytes[offset] : nil }

  private mutating func take(_ scalar: Unicode.Scalar) -> Bool {
    guard peek == UInt8(ascii: scalar) else { return false }
    offset += 1
    return true
  }

  private mutating func skipBlanks() {
    while let byte = peek, [0x20, 0x09, 0x0A, 0x0D].contains(byte) { offset += 1 }
  }

  private func failure(_ problem: String) -> Failure {
    let before = bytes[..<offset]
    let newline = UInt8(ascii: "\n")
    let column = offset - (before.lastIndex(of: newline).map { $0 + 1 } ?? 0) + 1
    return Failure(
      line: before.count { $0 == newline } + 1, column: column, problem: problem)
  }
}

import Foundation
import Server
import Testing

// Many of the documents follow Seriot's "Parsing JSON is a Minefield" (JSONTestSuite), put into an
// object.

@Suite("A flat JSON object")
struct FlatJSONTests {
  static let documents: [(String, [FlatJSON.Member])] = [
    ("{}", []),
    (" \t\r\n{ \t\r\n} \t\r\n", []),
    (#"{"key":"k","value":"v"}"#, [member("key", text("k")), member("value", text("v"))]),
    (" { \"b\" :\t1\r,\n\"a\" : null } ", [member("b", digits("1")), member("a", .null)]),
    (
      #"{"":"","yes":true,"no":false}"#,
      [member("", text("")), member("yes", .boolean(true)), member("no", .boolean(false))]
    ),
    (#"{"\u0061\n":"in a name"}"#, [member("a\n", text("in a name"))]),
    (#"{"a":1,"A":2}"#, [member("a", digits("1")), member("A", digits("2"))]),
    // The same to a person and to `String`, but other bytes.
    (#"{"é":1,"e\u0301":2}"#, [member("\u{e9}", digits("1")), member("e\u{301}", digits("2"))]),
    (
      #"{"a":"\ud83d\ude00\n日","b":-1.5e+7,"c":false}"#,
      [member("a", text("😀\n日")), member("b", digits("-1.5e+7")), member("c", .boolean(false))]
    ),
    (#"{"{}[],:":"{}[],:'/* */ //"}"#, [member("{}[],:", text("{}[],:'/* */ //"))]),
  ]

  @Test("gives its members in order", arguments: documents)
  func members(document: String, members: [FlatJSON.Member]) throws {
    #expect(try parsed(document) == members)
  }

  @Test(
    "has strings whose escapes are resolved",
    arguments: [
      (#"\"\\\/\b\f\n\r\t"#, "\"\\/\u{8}\u{c}\n\r\t"),
      (#"\u0000\u001f\u007F"#, "\0\u{1f}\u{7f}"),
      (#"\u0022\u005C\u005c"#, "\"\\\\"),
      (#"\u00e9\u65E5\uFFFF\uD7ff\uE000"#, "é日\u{ffff}\u{d7ff}\u{e000}"),
      (#"\ud83d\ude00\uD800\uDC00\uDBFF\uDFFF"#, "😀\u{10000}\u{10ffff}"),
      (#"\\u0041\\\\n"#, #"\u0041\\n"#),
      ("é日😀 \u{7f}\u{80}\u{2028}\u{feff}", "é日😀 \u{7f}\u{80}\u{2028}\u{feff}"),
      (
        "\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}",
        "\u{7ff}\u{800}\u{d7ff}\u{e000}\u{ffff}\u{10000}\u{10ffff}"
      ),
    ])
  func strings(written: String, meant: String) throws {
    // Wherever it stands in the words that plain text is read in.
    for count in 0..<17 {
      let plain = String(repeating: "p", count: count)
      let members = try parsed("{\"a\":\"\(plain)\(written)\(plain)\"}")
      #expect(members == [member("a", text(plain + meant + plain))])
    }
  }

  @Test(
    "has numbers whose text is kept",
    arguments: [
      "0", "-0", "7", "-12", "1e5", "1E5", "1e+05", "1E-0", "0e1", "0.0", "-0.5e-7", "10.25",
      "123456789012345678901234567890", "1e999999999",
    ])
  func numbers(number: String) throws {
    #expect(try parsed("{\"a\":\(number)}") == [member("a", digits(number))])
    #expect(try parsed("{\"a\": \(number) }") == [member("a", digits(number))])
    let two = [member("a", digits(number)), member("b", .null)]
    #expect(try parsed("{\"a\":\(number),\"b\":null}") == two)
  }

  @Test("has as many members as are allowed, and no more")
  func memberCount() throws {
    let allowed = (0..<FlatJSON.memberCountMax).map { "\"\($0)\":\($0)" }
    #expect(try parsed("{\(allowed.joined(separator: ","))}").count == FlatJSON.memberCountMax)
    let text = "{\(allowed.joined(separator: ",")),"
    #expect(throws: FlatJSON.Failure(offset: text.utf8.count, reason: .tooManyMembers)) {
      try parsed(text + "\"more\":1}")
    }
    let words = FlatJSON.Failure.Reason.tooManyMembers.rawValue
    #expect(words.contains(" \(FlatJSON.memberCountMax) "))
  }

  @Test("may hold a long string")
  func long() throws {
    let value = String(repeating: "0123456789é\u{1}\"", count: 100_000)
    let written = value.replacing("\"", with: "\\\"").replacing("\u{1}", with: "\\u0001")
    #expect(
      try parsed("{\"key\":\"k\",\"value\":\"\(written)\"}").last == member("value", text(value)))
  }

  @Test("that is cut short anywhere is refused", arguments: documents)
  func prefixes(document: String, members: [FlatJSON.Member]) {
    let bytes = Array(document.utf8)
    let end = bytes.lastIndex(of: UInt8(ascii: "}"))!
    for count in 0...end {
      #expect(throws: FlatJSON.Failure.self) { try parsed(Array(bytes[..<count])) }
    }
  }
}

@Suite("What is no flat JSON object")
struct FlatJSONFailureTests {
  typealias Reason = FlatJSON.Failure.Reason

  static let documents: [(String, Int, Reason)] = [
    ("", 0, .noObject), (" \n", 2, .noObject), ("\u{feff}{}", 0, .noObject),
    ("[]", 0, .noObject), ("\"a\"", 0, .noObject), ("null", 0, .noObject), ("}", 0, .noObject),
    ("\0{}", 0, .noObject), ("\u{a0}{}", 0, .noObject), ("/**/{}", 0, .noObject),
    ("{", 1, .noName), ("{,}", 1, .noName), ("{\"a\":1,}", 7, .noName), ("{a:1}", 1, .noName),
    ("{'a':1}", 1, .noName), ("{1:1}", 1, .noName), ("{\"a\":1,,\"b\":2}", 7, .noName),
    ("{null:1}", 1, .noName), ("{{}}", 1, .noName), ("{:1}", 1, .noName), ("{\"a\":1,", 7, .noName),
    ("{\"a\"}", 4, .noColon), ("{\"a\" ", 5, .noColon), ("{\"a\",\"b\"}", 4, .noColon),
    ("{\"a\" \"b\"}", 5, .noColon), ("{\"a\"=1}", 4, .noColon), ("{\"a\"x:1}", 4, .noColon),
    ("{\"a\":", 5, .noValue), ("{\"a\":}", 5, .noValue), ("{\"a\"::1}", 5, .noValue),
    ("{\"a\":,}", 5, .noValue), ("{\"a\":tru}", 5, .noValue), ("{\"a\":True}", 5, .noValue),
    ("{\"a\":NaN}", 5, .noValue), ("{\"a\":Infinity}", 5, .noValue), ("{\"a\":'b'}", 5, .noValue),
    ("{\"a\":b}", 5, .noValue), ("{\"a\":\u{c}1}", 5, .noValue), ("{\"a\":１}", 5, .noValue),
    ("{\"a\":nul", 5, .noValue), ("{\"a\":\\u0031}", 5, .noValue), ("{\"a\":/**/1}", 5, .noValue),
    ("{\"a\":{}}", 5, .nested), ("{\"a\":[]}", 5, .nested), ("{\"a\": [1]}", 6, .nested),
    ("{\"a\":1", 6, .noComma), ("{\"a\":1 \"b\":2}", 7, .noComma), ("{\"a\":true1}", 9, .noComma),
    ("{\"a\":nullnull}", 9, .noComma), ("{\"a\":1]", 6, .noComma), ("{\"a\":1:2}", 6, .noComma),
    ("{\"a\":\"b\"\"c\"}", 8, .noComma), ("{\"a\":1;\"b\":2}", 6, .noComma),
    ("{\"a\":0x1}", 6, .noComma), ("{\"a\":1 000}", 7, .noComma), ("{\"a\":1\0}", 6, .noComma),
    ("{\"a\":1/**/}", 6, .noComma), ("{\"a\":1a}", 6, .noComma), ("{\"a\":1.5.5}", 8, .noComma),
    ("{}}", 2, .bytesBehind), ("{}{}", 2, .bytesBehind), ("{} x", 3, .bytesBehind),
    ("{}\0", 2, .bytesBehind), ("{\"a\":1}#", 7, .bytesBehind), ("{},", 2, .bytesBehind),
    ("{\"a\":1,\"a\":1}", 7, .duplicateName),
    ("{\"a\":1,\"b\":2,\"\\u0061\":3}", 13, .duplicateName),
    ("{\"\":1,\"\":2}", 6, .duplicateName),
  ]

  static let numbers = [
    "+1", "-", "--1", "+", "-+1", "01", "-01", "00", "012", "1.", "0.", "-1.", ".5", "-.5", ".",
    "1e", "1E", "1e+", "1e-", "1.e5", "0e", "1.5e", ".e1", "-e5", "-a", "-Infinity", "1.a", "1ea",
    "1e+-5", "0123.5", "00e1",
  ]

  static let strings: [(String, Int, Reason)] = [
    ("\n", 0, .controlCharacter), ("a\tb", 1, .controlCharacter), ("\0", 0, .controlCharacter),
    ("0123456789\u{1f}", 10, .controlCharacter), ("\\", -1, .unendedString),
    ("\\a", 0, .malformedEscape), ("\\'", 0, .malformedEscape), ("\\x41", 0, .malformedEscape),
    ("\\0", 0, .malformedEscape), ("\\\n", 0, .malformedEscape), ("\\é", 0, .malformedEscape),
    ("ab\\U0041", 2, .malformedEscape), ("\\u", 0, .malformedEscape),
    ("\\u004", 0, .malformedEscape), ("\\u00g1", 0, .malformedEscape),
    ("\\u+041", 0, .malformedEscape), ("\\u 041", 0, .malformedEscape),
    ("\\u00é", 0, .malformedEscape), ("\\ud83d\\ude0", 6, .malformedEscape),
    ("\\ud83d\\u", 6, .malformedEscape), ("a\\ud83d", 1, .loneSurrogate),
    ("\\ude00", 0, .loneSurrogate), ("\\ude00\\ud83d", 0, .loneSurrogate),
    ("\\ud83d\\ud83d\\ude00", 0, .loneSurrogate), ("\\ud83d\\n", 0, .loneSurrogate),
    ("\\ud83dude00", 0, .loneSurrogate), ("\\uDBFF\\uE000", 0, .loneSurrogate),
    ("\\ud800\\u0041", 0, .loneSurrogate), ("\\ud83d\\\\ude00", 0, .loneSurrogate),
  ]

  static let malformedSequences: [[UInt8]] = [
    [0x80], [0xbf], [0xff], [0xfe], [0xe9], [0xc3], [0xc3, 0x28], [0xc0, 0x80], [0xc1, 0xbf],
    [0xe0, 0x80, 0x80], [0xe0, 0x9f, 0xbf], [0xe6, 0x97], [0xe6, 0x28, 0xa5], [0xe6, 0x97, 0x28],
    [0xed, 0xa0, 0x80], [0xed, 0xbf, 0xbf], [0xf0, 0x80, 0x80, 0x80], [0xf0, 0x8f, 0xbf, 0xbf],
    [0xf0, 0x9f, 0x98], [0xf0, 0x9f, 0x98, 0x28], [0xf4, 0x90, 0x80, 0x80],
    [0xf5, 0x80, 0x80, 0x80], [0xf8, 0x88, 0x80, 0x80, 0x80],
  ]

  @Test("is refused, with the byte and the reason", arguments: documents)
  func refused(document: String, offset: Int, reason: Reason) {
    #expect(throws: FlatJSON.Failure(offset: offset, reason: reason)) { try parsed(document) }
  }

  @Test("may be one for its number", arguments: numbers)
  func number(text: String) {
    for end in ["}", ",\"b\":1}", " }"] {
      // What begins like a number ends as one, or goes on where a comma should be.
      #expect(throws: FlatJSON.Failure(offset: 5, reason: .malformedNumber)) {
        try parsed("{\"a\":\(text)\(end)")
      }
    }
  }

  @Test("may be one for its string, in a name too", arguments: strings)
  func string(text: String, offset: Int, reason: Reason) {
    #expect(throws: FlatJSON.Failure(offset: 6 + offset, reason: reason)) {
      try parsed("{\"a\":\"\(text)\"}")
    }
    #expect(throws: FlatJSON.Failure(offset: 2 + offset, reason: reason)) {
      try parsed("{\"\(text)\":1}")
    }
  }

  @Test("may be one for bytes that are not UTF-8", arguments: malformedSequences)
  func notUTF8(bytes: [UInt8]) {
    for count in 0..<9 {
      let start = Array("{\"a\":\"".utf8) + [UInt8](repeating: 0x70, count: count)
      let failure = FlatJSON.Failure(offset: start.count, reason: .notUTF8)
      #expect(throws: failure) { try parsed(start + bytes + Array("(plain)\"}".utf8)) }
      #expect(throws: failure) { try parsed(start + bytes) }
    }
  }

  @Test("is described in words that JSON takes as they are")
  func description() {
    let failure = FlatJSON.Failure(offset: 12, reason: .unendedString)
    #expect(failure.description == "at byte 12: a string is not ended")
    for reason in Reason.allCases {
      #expect(
        reason.rawValue.utf8.allSatisfy { $0 >= 0x20 && $0 < 0x7f && $0 != 0x22 && $0 != 0x5c })
    }
  }
}

@Suite("Beside Foundation, a flat JSON object")
struct FlatJSONBesideFoundationTests {
  static let tokens: [[UInt8]] =
    [
      "\"", "\\", "{", "}", "[", "]", ",", ":", "0", "1", "-", "+", ".", "e", "E", "true", "false",
      "null", " ", "\n", "\0", "\u{1f}", "\\u", "\\ud83d", "\\ude00", "é", "😀", "\u{feff}", "'",
      "/**/", "\t", "NaN", "\u{a0}",
    ].map { Array($0.utf8) } + [[0xff], [0x80], [0xc0, 0x80], [0xed, 0xa0, 0x80]]

  @Test("means the same")
  func same() throws {
    var random = TextSamples.Random(seed: 1)
    for _ in 0..<3_000 {
      let document = Self.document(&random)
      let object = try #require(try foundation(document) as? [String: Any])
      #expect(isSame(try parsed(document), object), "\(String(decoding: document, as: UTF8.self))")
    }
  }

  @Test("that is damaged is accepted or refused alike")
  func damaged() {
    var random = TextSamples.Random(seed: 2)
    var (accepted, refused) = (0, 0)
    for _ in 0..<50_000 {
      var document = Self.document(&random)
      for _ in 0...Int.random(in: 0..<3, using: &random) { Self.damage(&document, &random) }
      let object = try? foundation(document) as? [String: Any]
      switch Result(catching: { () throws(FlatJSON.Failure) in try parsed(document) }) {
      case .success(let members):
        accepted += 1
        let isFine = object.map { isSame(members, $0) } ?? members.contains { isTooLarge($0.value) }
        #expect(isFine, "\(document)")
      case .failure(let failure):
        refused += 1
        #expect(object == nil || isLeniency(document, failure), "\(failure): \(document)")
      }
    }
    #expect(accepted > 5_000 && refused > 5_000)
  }

  /// What Foundation accepts beyond RFC 8259, or the RFC beyond what is expected here.
  private func isLeniency(_ document: [UInt8], _ failure: FlatJSON.Failure) -> Bool {
    switch failure.reason {
    case .duplicateName, .nested, .tooManyMembers: true
    // A byte order mark; UTF-16 and UTF-32, which have zeros around the brace.
    case .noObject: document.starts(with: [0xef, 0xbb, 0xbf]) || document.prefix(4).contains(0)
    // A comma behind the last member; UTF-16 again.
    case .noName:
      failure.offset > 1 && document[failure.offset] == UInt8(ascii: "}")
        || document.prefix(4).contains(0)
    default: false
    }
  }

  /// Foundation refuses numbers that no `Double` holds.
  private func isTooLarge(_ value: FlatJSON.Value) -> Bool {
    guard case .number(let bytes) = value else { return false }
    return Double(String(decoding: bytes, as: UTF8.self))?.isFinite != true
  }

  private func foundation(_ document: [UInt8]) throws -> Any {
    try JSONSerialization.jsonObject(with: Data(document))
  }

  private func isSame(_ members: [FlatJSON.Member], _ object: [String: Any]) -> Bool {
    let names = members.map { unmarked($0.name) }
    // `String` takes some names for the same that are not.
    guard Set(names).count == names.count else { return true }
    let object = Dictionary(uniqueKeysWithValues: object.map { (unmarked(Array($0.utf8)), $1) })
    return object.count == members.count
      && zip(names, members).allSatisfy { name, member in
        object[name].map { isSame(member.value, $0) } ?? false
      }
  }

  private func isSame(_ ours: FlatJSON.Value, _ theirs: Any) -> Bool {
    switch ours {
    case .string(let bytes):
      guard let string = theirs as? String else { return false }
      return unmarked(bytes).utf8.elementsEqual(unmarked(Array(string.utf8)).utf8)
    case .number(let bytes):
      guard let number = Double(String(decoding: bytes, as: UTF8.self)) else { return false }
      guard let other = (theirs as? NSNumber)?.doubleValue else { return false }
      return abs(number - other) <= abs(number) * 1e-12
    case .boolean(let isTrue): return theirs as? Bool == isTrue
    case .null: return theirs is NSNull
    }
  }

  /// Foundation drops U+FEFF where a string begins, and behind an escape.
  private func unmarked(_ bytes: [UInt8]) -> String {
    String(decoding: bytes, as: UTF8.self).replacing("\u{feff}", with: "")
  }

  // MARK: - Documents

  private static func document(_ random: inout TextSamples.Random) -> [UInt8] {
    let members = (0..<Int.random(in: 0..<5, using: &random)).map { index in
      let name = "\"\(string(&random))\(index)\""
      return [name, ":", value(&random)].map { blank(&random) + $0 + blank(&random) }.joined()
    }
    let text = "{" + blank(&random) + members.joined(separator: ",") + "}" + blank(&random)
    return Array(text.utf8)
  }

  private static func value(_ random: inout TextSamples.Random) -> String {
    switch Int.random(in: 0..<8, using: &random) {
    case 0: "true"
    case 1: "false"
    case 2: "null"
    case 3: "\(Int.random(in: -1_000...1_000, using: &random))"
    case 4: "\(Double.random(in: -1...1, using: &random))"
    case 5:
      "-\(UInt8.random(in: 0...9, using: &random)).50E+\(UInt8.random(in: 0...30, using: &random))"
    default: "\"\(string(&random))\""
    }
  }

  private static func string(_ random: inout TextSamples.Random) -> String {
    let pieces = [
      "plain", "some longer plain text", " ", "é", "日", "😀", #"\""#, #"\\"#, #"\/"#, #"\n"#,
      #"\u0000"#, #"\u00E9"#, #"\ud83d\ude00"#, "{", "[", ",", "'", "\u{7f}",
    ]
    return (0..<Int.random(in: 0..<6, using: &random))
      .map { _ in pieces.randomElement(using: &random)! }.joined()
  }

  private static func blank(_ random: inout TextSamples.Random) -> String {
    ["", "", "", " ", "\t", "\r\n"].randomElement(using: &random)!
  }

  private static func damage(_ document: inout [UInt8], _ random: inout TextSamples.Random) {
    let index = Int.random(in: 0...document.count, using: &random)
    let end = min(document.count, index + Int.random(in: 0..<3, using: &random))
    switch Int.random(in: 0..<4, using: &random) {
    case 0: document.insert(contentsOf: tokens.randomElement(using: &random)!, at: index)
    case 1:
      document.replaceSubrange(index..<end, with: tokens.randomElement(using: &random)!)
    case 2: document.removeSubrange(index..<end)
    default:
      if index < document.count { document[index] = UInt8.random(in: 0...255, using: &random) }
    }
  }
}

private func member(_ name: String, _ value: FlatJSON.Value) -> FlatJSON.Member {
  FlatJSON.Member(name: Array(name.utf8), value: value)
}

private func text(_ text: String) -> FlatJSON.Value { .string(Array(text.utf8)) }

private func digits(_ text: String) -> FlatJSON.Value { .number(Array(text.utf8)) }

private func parsed(_ document: String) throws(FlatJSON.Failure) -> [FlatJSON.Member] {
  try parsed(Array(document.utf8))
}

/// Parses bytes that end where a page begins that cannot be read, so that reading on is fatal.
private func parsed(_ document: [UInt8]) throws(FlatJSON.Failure) -> [FlatJSON.Member] {
  let page = Int(sysconf(Int32(_SC_PAGESIZE)))
  let readable = (document.count + page) / page * page
  let map = mmap(
    nil, readable + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
  guard let map, map != MAP_FAILED, mprotect(map + readable, page, PROT_NONE) == 0 else {
    preconditionFailure("no memory for a page that cannot be read")
  }
  defer { munmap(map, readable + page) }
  let start = map + (readable - document.count)
  UnsafeMutableRawBufferPointer(start: start, count: document.count).copyBytes(from: document)
  return try FlatJSON.parse(UnsafeRawBufferPointer(start: start, count: document.count))
}

import Server
import Testing

@Suite("Go's quotes")
struct GoQuoteTests {
  private func quote(_ bytes: [UInt8]) -> String {
    TextSamples.text(TextSamples.written(bytes) { GoQuote.write($0, into: &$1) })
  }

  @Test(
    "are those of strconv.Quote",
    arguments: [
      ("", #""""#), ("Great", #""Great""#), ("two words", #""two words""#),
      ("\u{7}\u{8}\u{C}\r\n\t\u{B}", #""\a\b\f\r\n\t\v""#), ("\\", #""\\""#),
      ("say \"hi\"", #""say \"hi\"""#), ("it's `raw`", #""it's `raw`""#), ("\0", #""\x00""#),
      ("\u{4}\u{1F}", #""\x04\x1f""#), ("\u{7F}", #""\x7f""#), ("\u{80}\u{9F}", #""\u0080\u009f""#),
      ("☺", #""☺""#), ("日本語", #""日本語""#), ("ÿ", #""ÿ""#), ("😀", #""😀""#),
      ("e\u{301}", "\"e\u{301}\""),
      ("!\u{A0}!\u{2000}!\u{3000}!", #""!\u00a0!\u2000!\u3000!""#), ("\u{AD}", #""\u00ad""#),
      ("\u{200B}\u{2028}\u{FEFF}", #""\u200b\u2028\ufeff""#), ("\u{E000}", #""\ue000""#),
      ("\u{378}", #""\u0378""#), ("\u{FFFD}", "\"\u{FFFD}\""), ("\u{FFFE}", #""\ufffe""#),
      ("\u{E0001}", #""\U000e0001""#), ("\u{10FFFF}", #""\U0010ffff""#),
      (
        "plain for more than eight bytes\nand again é plain",
        #""plain for more than eight bytes\nand again é plain""#
      ),
    ])
  func table(text: String, quoted: String) {
    #expect(quote(Array(text.utf8)) == quoted)
  }

  @Test(
    "show bytes that are not UTF-8 one by one",
    arguments: [
      ([0x61, 0xFF, 0x62], #""a\xffb""#), ([0xE2, 0x82], #""\xe2\x82""#),
      ([0xC0, 0x80], #""\xc0\x80""#), ([0xED, 0xA0, 0x80], #""\xed\xa0\x80""#),
      ([0xF4, 0x90, 0x80, 0x80], #""\xf4\x90\x80\x80""#),
      ([0xE2, 0x82, 0xC3, 0xA9], #""\xe2\x82é""#),
    ] as [([UInt8], String)])
  func malformed(bytes: [UInt8], quoted: String) {
    #expect(quote(bytes) == quoted)
  }

  @Test("of long texts are the quotes of their parts, wherever the parts meet")
  func longTexts() {
    let parts =
      TextSamples.random(400, seed: 12)
      .filter { String(validating: $0, as: UTF8.self) != nil } + [Array("\u{10FFFF}\u{80}€".utf8)]
    for letters in 1000...1030 {
      let bytes = [UInt8](repeating: 0x61, count: letters) + parts.joined()
      let inside = parts.map { quote($0).unicodeScalars.dropFirst().dropLast() }.joined()
      let expected = "\"" + String(repeating: "a", count: letters) + string(inside) + "\""
      #expect(quote(bytes) == expected)
    }
    let noise = [UInt8](repeating: 0xFF, count: 5000)
    #expect(quote(noise) == "\"" + String(repeating: #"\xff"#, count: 5000) + "\"")
  }

  private func string(_ scalars: some Sequence<Unicode.Scalar>) -> String {
    var text = String.UnicodeScalarView()
    text.append(contentsOf: scalars)
    return String(text)
  }

  @Test("of any bytes hold nothing that cannot be printed, and can be read back")
  func readBack() throws {
    for bytes in TextSamples.random(20000, seed: 6) {
      let quoted = quote(bytes)
      #expect(quoted.unicodeScalars.allSatisfy(isPrintable), "\(bytes)")
      #expect(try unquote(quoted) == bytes)
    }
  }

  @Test("escape every character that Unicode does not call visible, and no other")
  func everyCharacter() {
    for value in UInt32(0)...0x10FFFF {
      guard let scalar = Unicode.Scalar(value), scalar != "\"", scalar != "\\" else { continue }
      let unchanged = quote(Array(String(scalar).utf8)).unicodeScalars.elementsEqual([
        "\"", scalar, "\"",
      ])
      if unchanged != isPrintable(scalar) { Issue.record("U+\(String(value, radix: 16))") }
    }
  }

  /// The definition in the documentation of Go's package `unicode`.
  private func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.properties.generalCategory {
    case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: true
    case .nonspacingMark, .spacingMark, .enclosingMark: true
    case .decimalNumber, .letterNumber, .otherNumber: true
    case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation: true
    case .initialPunctuation, .finalPunctuation, .otherPunctuation: true
    case .mathSymbol, .currencySymbol, .modifierSymbol, .otherSymbol: true
    default: scalar == " "
    }
  }

  private struct Malformed: Error {}

  /// The bytes that an interpreted string literal of Go stands for.
  private func unquote(_ quoted: String) throws -> [UInt8] {
    let simple: [Unicode.Scalar: UInt8] = [
      "a": 7, "b": 8, "t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "\"": 0x22, "\\": 0x5C,
    ]
    var rest = quoted.unicodeScalars.dropFirst().dropLast()
    var bytes: [UInt8] = []
    func number(_ digits: Int) throws -> UInt32 {
      defer { rest = rest.dropFirst(digits) }
      guard let number = UInt32(String(rest.prefix(digits)), radix: 16) else { throw Malformed() }
      return number
    }
    while let scalar = rest.popFirst() {
      guard scalar == "\\" else {
        guard scalar != "\"" else { throw Malformed() }
        bytes += String(scalar).utf8
        continue
      }
      guard let escape = rest.popFirst() else { throw Malformed() }
      switch escape {
      case "x": bytes.append(UInt8(try number(2)))
      case "u": bytes += String(Unicode.Scalar(try number(4))!).utf8
      case "U": bytes += String(Unicode.Scalar(try number(8))!).utf8
      default:
        guard let byte = simple[escape] else { throw Malformed() }
        bytes.append(byte)
      }
    }
    return bytes
  }
}

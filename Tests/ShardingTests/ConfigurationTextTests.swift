import Sharding
import Testing

@Suite("The text of a configuration")
struct ConfigurationTextTests {
  private func read(_ text: String) throws -> ConfigurationText {
    try ConfigurationTextReader.read(Array(text.utf8))
  }

  @Test("is any JSON, kept as it is written")
  func anyJSON() throws {
    let text = """
       {"a":[1,-0.5e+3,true,false,null, {}, []],"a":"\\u00e9\\ud83d\\ude00\\n\\"\\\\\\/é","":{"b":[[]]}}
      \t\r\n
      """
    #expect(
      try read(text)
        == .object([
          .init(
            "a",
            .array([
              .number("1"), .number("-0.5e+3"), .bool(true), .bool(false), .null, .object([]),
              .array([]),
            ])),
          .init("a", .string("é😀\n\"\\/é")), .init("", .object([.init("b", .array([.array([])]))])),
        ]))
  }

  @Test(
    "is nothing else than JSON",
    arguments: [
      ("{", 1, 2, "a name in quotes is missing"),
      ("{\"a\":1,}", 1, 8, "a name in quotes is missing"),
      ("[1,]", 1, 4, "a value is missing"), ("[1 2]", 1, 4, "a comma or ] is missing"),
      ("{\"a\":1 \"b\":2}", 1, 8, "a comma or } is missing"),
      ("{\n // why\n}", 2, 2, "a name in quotes is missing"),
      ("[01]", 1, 3, "a comma or ] is missing"), ("[.5]", 1, 2, "a value is missing"),
      ("[1.]", 1, 4, "a digit is missing"), ("[-]", 1, 3, "a digit is missing"),
      ("[1e]", 1, 4, "a digit is missing"), ("[NaN]", 1, 2, "a value is missing"),
      ("[True]", 1, 2, "a value is missing"), ("1 1", 1, 3, "nothing may follow here"),
      ("\"a", 1, 3, "the text ends within quotes"),
      ("\"a\nb\"", 1, 3, "a control character within quotes"),
      ("\"\\x\"", 1, 3, "no such escape in JSON"),
      ("\"\\u12g4\"", 1, 6, "four hexadecimal digits are missing"),
      ("\"\\ud800\"", 1, 2, "half a surrogate pair"),
      ("\"\\udc00\\ud800\"", 1, 2, "half a surrogate pair"),
      ("'a'", 1, 1, "a value is missing"),
    ] as [(String, Int, Int, String)])
  func refused(text: String, line: Int, column: Int, problem: String) {
    #expect(
      failure(Array(text.utf8))
        == .init(line: line, column: column, problem: problem))
  }

  @Test("is UTF-8, and not deep")
  func bounds() {
    #expect(failure([0x22, 0xFF, 0x22])?.problem == "what is in quotes is not UTF-8")
    #expect(failure([0xEF, 0xBB, 0xBF, 0x31])?.problem == "a value is missing")
    let deep = String(repeating: "[", count: 100_000)
    #expect(failure(Array(deep.utf8))?.problem == "more than 16 levels")
  }

  private func failure(_ bytes: [UInt8]) -> ConfigurationTextReader.Failure? {
    do throws(ConfigurationTextReader.Failure) {
      _ = try ConfigurationTextReader.read(bytes)
      return nil
    } catch {
      return error
    }
  }
}

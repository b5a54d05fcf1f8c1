import Server
import Testing

@Suite("Percent-encoding")
struct PercentEncodingTests {
  typealias Decode = (UnsafeRawBufferPointer, UnsafeMutableRawBufferPointer) -> Int?
  private let path: Decode = { PercentEncoding.decode(path: $0, into: $1) }
  private let query: Decode = { PercentEncoding.decode(query: $0, into: $1) }

  private func decode(_ bytes: [UInt8], _ call: Decode) -> [UInt8]? {
    let output = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { output.deallocate() }
    return bytes.withUnsafeBytes { call($0, output).map { Array(output[..<$0]) } }
  }

  private func encode(_ bytes: [UInt8]) -> [UInt8] {
    TextSamples.written(bytes) { PercentEncoding.encode($0, into: &$1) }
  }

  @Test(
    "decodes",
    arguments: [
      ("", "", ""), ("party", "party", "party"), ("a+b", "a+b", "a b"), ("+", "+", " "),
      ("a%20b", "a b", "a b"), ("%2B", "+", "+"), ("%2b%2B", "++", "++"), ("%25", "%", "%"),
      ("%2541", "%41", "%41"), ("%00%7f", "\0\u{7F}", "\0\u{7F}"), ("%c3%A9", "é", "é"),
      ("user%3A123", "user:123", "user:123"), ("é", "é", "é"),
      (
        "eight+bytes+and%20more+than+that%21", "eight+bytes+and more+than+that!",
        "eight bytes and more than that!"
      ),
    ])
  func table(text: String, inPath: String, inQuery: String) {
    #expect(decode(Array(text.utf8), path) == Array(inPath.utf8))
    #expect(decode(Array(text.utf8), query) == Array(inQuery.utf8))
  }

  @Test(
    "refuses a percent sign without two hex digits",
    arguments: [
      "%", "%4", "%%", "%4g", "%g4", "% 4", "%+4", "ok%", "ok%4", "longer than a word%4", "%/0",
      "%:0", "%@0", "%`0", "%0G",
    ])
  func malformed(text: String) {
    #expect(decode(Array(text.utf8), path) == nil)
    #expect(decode(Array(text.utf8), query) == nil)
  }

  @Test("decodes in place")
  func inPlace() {
    var bytes = Array("%41bcdefghijkl%4Dnop%20+".utf8)
    let count = bytes.withUnsafeMutableBytes {
      PercentEncoding.decode(query: UnsafeRawBufferPointer($0), into: $0)
    }
    #expect(count == 18)
    #expect(TextSamples.text(Array(bytes[..<18])) == "AbcdefghijklMnop  ")
  }

  @Test("keeps the unreserved characters and encodes every other byte")
  func encodes() {
    let unreserved = Set(
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~".utf8)
    for byte in UInt8.min ... .max {
      let digits = Array("0123456789ABCDEF".utf8)
      let escaped = [0x25, digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      #expect(encode([byte]) == (unreserved.contains(byte) ? [byte] : escaped))
    }
  }

  @Test("gives back, from a path and from a query, whatever it encoded")
  func roundTrip() {
    for bytes in TextSamples.random(4000, seed: 1) {
      let encoded = encode(bytes)
      #expect(decode(encoded, path) == bytes)
      #expect(decode(encoded, query) == bytes)
    }
  }

  @Test("decodes noise as a reader of one byte after the other does")
  func reference() {
    for bytes in TextSamples.random(8000, seed: 2) {
      #expect(decode(bytes, path) == slow(bytes, plus: 0x2B))
      #expect(decode(bytes, query) == slow(bytes, plus: 0x20))
    }
  }

  @Test("knows bytes that mean themselves")
  func plain() {
    for bytes in TextSamples.random(4000, seed: 3) {
      let plain = bytes.withUnsafeBytes { PercentEncoding.isPlain($0) }
      #expect(plain == !(bytes.contains(0x25) || bytes.contains(0x2B)))
    }
  }

  private func slow(_ bytes: [UInt8], plus: UInt8) -> [UInt8]? {
    var (decoded, index): ([UInt8], Int) = ([], 0)
    while index < bytes.count {
      switch bytes[index] {
      case 0x25:
        let digits = bytes[(index + 1)...].prefix(2).map(Unicode.Scalar.init)
        guard digits.count == 2, digits.allSatisfy(\.properties.isASCIIHexDigit) else { return nil }
        decoded.append(UInt8(String(String.UnicodeScalarView(digits)), radix: 16)!)
        index += 2
      case 0x2B: decoded.append(plus)
      default: decoded.append(bytes[index])
      }
      index += 1
    }
    return decoded
  }
}

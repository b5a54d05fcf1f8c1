import Foundation
import Server
import Testing

@Suite("JSON text")
struct JSONTextTests {
  private func string(_ bytes: [UInt8]) -> [UInt8] {
    TextSamples.written(bytes) { JSONText.writeString($0, into: &$1) }
  }

  private func member(_ bytes: [UInt8]) -> [UInt8] {
    TextSamples.written(bytes) { JSONText.writeMember("value", $0, into: &$1) }
  }

  @Test(
    "escapes quotes, backslashes and control characters, and nothing else",
    arguments: [
      ("", #""""#), ("myvalue", #""myvalue""#), ("a\"b\\c/d", #""a\"b\\c/d""#),
      ("\u{8}\u{C}\n\r\t", #""\b\f\n\r\t""#), ("\0\u{B}\u{1F}", #""\u0000\u000b\u001f""#),
      ("\u{7F}", "\"\u{7F}\""), ("é😀\u{2028}", "\"é😀\u{2028}\""),
      (
        "longer than eight bytes\nand longer again", #""longer than eight bytes\nand longer again""#
      ),
    ])
  func table(text: String, literal: String) {
    #expect(TextSamples.text(string(Array(text.utf8))) == literal)
  }

  @Test("is read back by another program as the same string")
  func roundTrip() throws {
    for bytes in TextSamples.random(4000, seed: 7) {
      guard let text = String(validating: bytes, as: UTF8.self) else { continue }
      let parsed = try JSONSerialization.jsonObject(
        with: Data(string(bytes)), options: .fragmentsAllowed)
      #expect((parsed as? String).map { Array($0.utf8) } == bytes, "\(text)")
    }
  }

  @Test("of long texts has every escape, wherever it stands")
  func longTexts() {
    for letters in 1015...1030 {
      let bytes = [UInt8](repeating: 0x61, count: letters) + [0, 0x22] + Array("é".utf8)
      let expected = "\"" + String(repeating: "a", count: letters) + #"\u0000\"é""#
      #expect(TextSamples.text(string(bytes)) == expected)
    }
    let zeros = TextSamples.text(string([UInt8](repeating: 0, count: 5000)))
    #expect(zeros == "\"" + String(repeating: #"\u0000"#, count: 5000) + "\"")
  }

  @Test("gives what is not UTF-8 in base64 under another name")
  func members() {
    #expect(TextSamples.text(member(Array("Great".utf8))) == #""value":"Great""#)
    #expect(TextSamples.text(member([])) == #""value":"""#)
    #expect(TextSamples.text(member([0xFF, 0x00])) == #""value_base64":"/wA=""#)
  }

  @Test("has one member for any bytes, from which they can be had again")
  func anyBytes() throws {
    for bytes in TextSamples.random(4000, seed: 8) {
      let parsed = try JSONSerialization.jsonObject(with: Data([0x7B] + member(bytes) + [0x7D]))
      let object = try #require(parsed as? [String: String])
      #expect(object.count == 1)
      if let text = object["value"] {
        #expect(Array(text.utf8) == bytes)
      } else {
        #expect(Data(base64Encoded: try #require(object["value_base64"])) == Data(bytes))
      }
    }
  }
}

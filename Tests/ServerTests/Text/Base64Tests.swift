import Foundation
import Server
import Testing

@Suite("Base64")
struct Base64Tests {
  private func encode(_ bytes: [UInt8]) -> String {
    TextSamples.text(TextSamples.written(bytes) { Base64.encode($0, into: &$1) })
  }

  private func decode(_ text: String) -> [UInt8]? {
    Array(text.utf8).withUnsafeBytes { Base64.decode($0) }
  }

  @Test(
    "gives the values of RFC 4648, section 10",
    arguments: [
      ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="),
      ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy"),
    ])
  func vectors(text: String, encoded: String) {
    #expect(encode(Array(text.utf8)) == encoded)
    #expect(decode(encoded) == Array(text.utf8))
  }

  @Test(
    "refuses what it does not write itself",
    arguments: [
      "Z", "Zg", "Zg=", "Zm8", "Zg==\n", "Zg= =", " Zm9v", "Zm9v=", "Zm9v====", "=", "==", "====",
      "Z===", "=Zg=", "Zg==Zm9v", "Z=9v", "Zm9-", "Zm9_", "Zm9\u{7F}", "Zmé", "Zh==", "Zm9=",
      "Zm9vZh==",
    ])
  func malformed(text: String) {
    #expect(decode(text) == nil)
  }

  @Test("is what Foundation writes, and is read back")
  func roundTrip() {
    for bytes in TextSamples.random(4000, seed: 9) {
      #expect(encode(bytes) == Data(bytes).base64EncodedString())
      #expect(decode(encode(bytes)) == bytes)
    }
  }

  @Test("of noise is refused, or is what is written for the bytes it gives")
  func noise() {
    var random = TextSamples.Random(seed: 10)
    let alphabet = Array("AQgwz019+/===".utf8)
    for _ in 0..<20000 {
      let noise = (0..<8).map { _ in alphabet.randomElement(using: &random)! }
      if let bytes = decode(TextSamples.text(noise)) {
        #expect(encode(bytes) == TextSamples.text(noise))
      }
    }
  }
}

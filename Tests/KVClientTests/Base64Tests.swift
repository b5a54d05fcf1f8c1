import KVClient
import Testing

@Suite("Base64") struct Base64Tests {
  @Test(
    "is that of RFC 4648, section 10",
    arguments: [
      ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="),
      ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy"),
    ])
  func vectors(plain: String, encoded: String) {
    var text: [UInt8] = []
    Base64.append(Array(plain.utf8), to: &text)
    #expect(String(decoding: text, as: UTF8.self) == encoded)
    #expect(Base64.decode(encoded) == Array(plain.utf8))
  }

  @Test("gives every byte back, whatever the length")
  func roundTrip() {
    for count in 0..<300 {
      let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 151 &+ count) }
      var text: [UInt8] = []
      Base64.append(bytes, to: &text)
      #expect(Base64.decode(String(decoding: text, as: UTF8.self)) == bytes)
    }
  }

  @Test(
    "refuses what is none",
    arguments: [
      "Z", "Zg", "Zg=", "Zg===", "=", "====", "Zh==", "Zm9=", "Zm 9v", "Zm9v\n", "Zm-v", "Z=9v",
    ])
  func refusals(text: String) {
    #expect(Base64.decode(text) == nil)
  }
}

import Server
import Testing

@Suite("UTF-8")
struct UTF8Tests {
  private func isUTF8(_ bytes: [UInt8]) -> Bool { bytes.withUnsafeBytes { $0.isUTF8 } }

  private func standardLibrary(_ bytes: [UInt8]) -> Bool {
    String(validating: bytes, as: UTF8.self) != nil
  }

  @Test(
    "is refused when overlong, cut off, out of range or a surrogate",
    arguments: [
      [0x80], [0xBF], [0xC0, 0x80], [0xC1, 0xBF], [0xC2], [0xC2, 0x41], [0xE0, 0x9F, 0xBF],
      [0xE0, 0xA0], [0xED, 0xA0, 0x80], [0xED, 0xBF, 0xBF], [0xEF, 0xBF], [0xF0, 0x8F, 0xBF, 0xBF],
      [0xF0, 0x90, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xFE], [0xFF],
      [0xE2, 0x82, 0x41], [0xF0, 0x9F, 0x98, 0x41],
    ])
  func malformed(bytes: [UInt8]) {
    for padding in 0...17 {
      let letters = [UInt8](repeating: 0x61, count: padding)
      #expect(!isUTF8(letters + bytes))
      #expect(!isUTF8(letters + bytes + letters))
    }
  }

  @Test("is every Unicode character, wherever it stands")
  func everyCharacter() {
    for value in UInt32(0)...0x10FFFF {
      guard let scalar = Unicode.Scalar(value) else { continue }
      let bytes = Array(String(scalar).utf8)
      guard isUTF8(bytes), isUTF8(bytes + [0x61]), !isUTF8(bytes + [0x80]),
        bytes.count == 1 || !isUTF8(Array(bytes.dropLast()))
      else {
        Issue.record("U+\(String(value, radix: 16))")
        return
      }
    }
  }

  @Test("is what the standard library says of every pair of bytes, and of noise")
  func agreement() {
    for first in UInt8(0x7F) ... .max {
      for second in UInt8.min ... .max {
        for rest in [[], [0x80], [0xBF, 0xBF], [0x80, 0x41]] as [[UInt8]] {
          let bytes = [first, second] + rest
          if isUTF8(bytes) != standardLibrary(bytes) { Issue.record("\(bytes)") }
        }
      }
    }
    for bytes in TextSamples.random(20000, seed: 5) where isUTF8(bytes) != standardLibrary(bytes) {
      Issue.record("\(bytes)")
    }
  }
}

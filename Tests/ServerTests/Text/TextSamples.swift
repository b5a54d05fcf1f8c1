import NIOCore

/// What the tests of texts share: bytes to try, and calls with arrays in place of pointers.
enum TextSamples {
  /// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): the same seed gives the same bytes.
  struct Random: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      var z = state
      z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
      z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
      return z ^ (z >> 31)
    }
  }

  /// That many samples of up to 40 bytes: noise, letters, letters with a few bytes that texts
  /// escape, and characters of every length, some of them damaged.
  static func random(_ count: Int, seed: UInt64) -> [[UInt8]] {
    var random = Random(seed: seed)
    return (0..<count).map { sample(number: $0, &random) }
  }

  private static func sample(number: Int, _ random: inout Random) -> [UInt8] {
    let length = Int.random(in: 0...40, using: &random)
    let letters = Array("abcdefghijklmnopqrstuvwxyz0123456789".utf8)
    let special: [UInt8] =
      Array("%+&=\"\\\n\r\t /<>~.-_".utf8) + [0, 7, 8, 11, 12, 0x1F, 0x7F, 0x80]
    let characters: [Unicode.Scalar] = [
      "a", "\u{7F}", "\u{80}", "é", "\u{AD}", "\u{7FF}", "\u{800}", "€", "\u{200B}", "\u{D7FF}",
      "\u{E000}", "\u{FFFD}", "\u{FFFF}", "\u{10000}", "😀", "\u{10FFFF}",
    ]
    switch number % 4 {
    case 0: return (0..<length).map { _ in UInt8.random(in: .min ... .max, using: &random) }
    case 1: return (0..<length).map { _ in letters.randomElement(using: &random)! }
    case 2:
      return (0..<length).map { _ in
        let pool = Int.random(in: 0..<8, using: &random) == 0 ? special : letters
        return pool.randomElement(using: &random)!
      }
    default:
      let text = (0..<length / 3).map { _ in characters.randomElement(using: &random)! }
      var bytes = text.flatMap { Array(String($0).utf8) }
      if Bool.random(using: &random), let hit = bytes.indices.randomElement(using: &random) {
        bytes[hit] = UInt8.random(in: .min ... .max, using: &random)
      }
      return bytes
    }
  }

  /// What a call that writes into a buffer writes for those bytes, behind what is there already.
  static func written(
    _ bytes: [UInt8], _ write: (UnsafeRawBufferPointer, inout ByteBuffer) -> Void
  ) -> [UInt8] {
    var buffer = ByteBuffer(string: "there")
    bytes.withUnsafeBytes { write($0, &buffer) }
    precondition(buffer.readString(length: 5) == "there")
    return Array(buffer.readableBytesView)
  }

  static func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }
}

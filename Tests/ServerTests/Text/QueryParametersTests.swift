import Server
import Testing

@Suite("Query parameters")
struct QueryParametersTests {
  /// Each parameter as `name=value`, or as `name` without an equals sign.
  private func parts(_ text: String) -> [String] {
    let bytes = Array(text.utf8)
    return bytes.withUnsafeBytes { pointer in
      QueryParameters(pointer).map {
        TextSamples.text(Array(bytes[$0.name])) + ($0.hasEquals ? "=" : "")
          + TextSamples.text(Array(bytes[$0.value]))
      }
    }
  }

  @Test(
    "are split at ampersands, a part at its first equals sign",
    arguments: [
      ("", []), ("key=party", ["key=party"]), ("key=k&value=v", ["key=k", "value=v"]),
      ("force", ["force"]), ("key=", ["key="]), ("=v", ["=v"]), ("=", ["="]),
      ("value=a=b==", ["value=a=b=="]), ("&", []), ("&&a=1&&b=2&&", ["a=1", "b=2"]),
      ("key=a%26b&key=a+b", ["key=a%26b", "key=a+b"]), ("a;b=c", ["a;b=c"]),
      (
        "a-name-longer-than-a-word=and-a-value-longer-too&b",
        [
          "a-name-longer-than-a-word=and-a-value-longer-too", "b",
        ]
      ),
    ])
  func table(text: String, expected: [String]) {
    #expect(parts(text) == expected)
  }

  @Test("say where name and value are, and whether there was an equals sign")
  func ranges() {
    let bytes = Array("&key=k&force&w=".utf8)
    bytes.withUnsafeBytes { pointer in
      let found = Array(QueryParameters(pointer))
      #expect(found.map(\.name) == [1..<4, 7..<12, 13..<14])
      #expect(found.map(\.value) == [5..<6, 12..<12, 15..<15])
      #expect(found.map(\.hasEquals) == [true, false, true])
    }
  }

  @Test("of noise are what splitting gives")
  func reference() {
    for bytes in TextSamples.random(4000, seed: 4) {
      let noise = bytes.map { $0 % 5 == 0 ? UInt8(ascii: "&") : $0 % 5 == 1 ? 0x3D : $0 & 0x7F }
      let expected = noise.split(separator: UInt8(ascii: "&")).map { TextSamples.text(Array($0)) }
      #expect(parts(TextSamples.text(noise)) == expected)
    }
  }
}

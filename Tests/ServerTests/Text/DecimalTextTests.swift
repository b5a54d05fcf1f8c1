import Server
import Testing

@Suite("Decimal numbers")
struct DecimalTextTests {
  private func write(_ number: UInt64) -> String {
    TextSamples.text(TextSamples.written([]) { DecimalText.write(number, into: &$1) })
  }

  private func parse(_ text: String) -> UInt64? {
    Array(text.utf8).withUnsafeBytes { DecimalText.parse($0) }
  }

  @Test("are written as the standard library does, and read back")
  func roundTrip() {
    var numbers: [UInt64] = [.max, .max - 1]
    var power: UInt64 = 1
    for _ in 0..<20 {
      numbers += [power - 1, power, power + 1]
      power &*= 10
    }
    var random = TextSamples.Random(seed: 11)
    for _ in 0..<2000 {
      numbers.append(random.next() >> UInt64.random(in: 0..<64, using: &random))
    }
    for number in numbers {
      #expect(write(number) == String(number))
      #expect(parse(String(number)) == number)
    }
  }

  @Test(
    "are refused when anything but a digit is there, and when too large",
    arguments: [
      "", " ", "-1", "+1", " 1", "1 ", "1_000", "0x1", "1.0", "1e3", "/", ":", "١", "\u{FF11}",
      "18446744073709551616", "18446744073709551620", "99999999999999999999",
      "100000000000000000000",
    ])
  func malformed(text: String) {
    #expect(parse(text) == nil)
  }

  @Test("may have zeros in front")
  func zeros() {
    #expect(parse("0") == 0)
    #expect(parse("007") == 7)
    #expect(parse("000018446744073709551615") == .max)
  }
}

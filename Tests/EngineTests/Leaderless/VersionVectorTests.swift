import Engine
import SimulatedDisk
import Testing

@Suite("A version vector") struct VersionVectorTests {
  private func vector(_ numbers: [UInt64: UInt64]) -> VersionVector {
    var vector = VersionVector()
    for (origin, sequence) in numbers { vector.add(Dot(origin: origin, sequence: sequence)) }
    return vector
  }

  @Test("covers what is not above it, log by log")
  func covers() {
    let some = vector([1: 5, 7: 2])
    #expect(some.covers(Dot(origin: 1, sequence: 5)) && !some.covers(Dot(origin: 1, sequence: 6)))
    #expect(!some.covers(Dot(origin: 2, sequence: 1)))
    #expect(some.covers(VersionVector()) && some.covers(vector([7: 1])) && some.covers(some))
    #expect(!some.covers(vector([1: 5, 3: 1])) && !VersionVector().covers(some))
    #expect(some[1] == 5 && some[3] == 0)
  }

  @Test("is merged entry by entry, and never loses any")
  func merges() {
    var merged = vector([1: 5, 7: 2])
    merged.merge(vector([1: 3, 3: 9, 7: 4]))
    #expect(merged == vector([1: 5, 3: 9, 7: 4]))
    #expect(merged.entries.map(\.origin) == [1, 3, 7])
  }

  @Test("reads the text that it writes, whatever is in it")
  func text() throws {
    var random = SeededRandom(seed: 1)
    for _ in 0..<1_000 {
      var some = VersionVector()
      for _ in 0..<random.below(6) {
        some.add(Dot(origin: random.next(), sequence: random.next() >> 3 | 1))
      }
      #expect(VersionVector("\(some)") == some)
    }
    #expect(VersionVector("000000000000000a:3, 0000000000000001:9") == vector([10: 3, 1: 9]))
    #expect(VersionVector("")?.isEmpty == true)
  }

  @Test(
    "is not read from anything else",
    arguments: [
      "x", "1:2", "000000000000000a", "000000000000000a:", "000000000000000a:0",
      "000000000000000a:-1", "000000000000000a:+1", "+00000000000000a:1",
      "000000000000000a:4611686018427387904", "000000000000000a:1,", ",", "000000000000000g:1",
      "000000000000000a:1:2", "000000000000000a:99999999999999999999",
    ])
  func refused(text: String) { #expect(VersionVector(text) == nil) }
}

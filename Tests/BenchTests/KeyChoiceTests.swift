import Bench
import Testing

struct KeyChoiceTests {
  private func counts(
    _ distribution: BenchParameters.Distribution, keys: UInt64, draws: Int
  ) -> [UInt64: Int] {
    var choice = KeyChoice(distribution, keys: keys)
    var random = RandomSource(seed: 7)
    var counts: [UInt64: Int] = [:]
    for _ in 0..<draws { counts[choice.next(present: keys, &random), default: 0] += 1 }
    return counts
  }

  @Test("Zipfian numbers come as often as the law says")
  func zipfian() {
    let count: UInt64 = 1_000
    var numbers = ZipfianNumbers(count: count)
    var random = RandomSource(seed: 3)
    var seen = [Int](repeating: 0, count: Int(count))
    for _ in 0..<1_000_000 { seen[Int(numbers.next(&random))] += 1 }
    // The sum of 1 / i^0.99 for i to 1,000 is 7.72895...
    for (number, expected) in [(0, 129_383), (1, 65_141)] {
      #expect(abs(seen[number] - expected) < expected / 50)
    }
    #expect(seen[9] > seen[99] && seen[99] > seen[998])
  }

  @Test("Taking numbers in one after the other is the same as beginning with all")
  func growing() {
    var grown = ZipfianNumbers(count: 10)
    for count in UInt64(11)...500 { grown.grow(to: count) }
    var fresh = ZipfianNumbers(count: 500)
    var (one, other) = (RandomSource(seed: 1), RandomSource(seed: 1))
    for _ in 0..<1_000 { #expect(grown.next(&one) == fresh.next(&other)) }
  }

  @Test("Keys are scattered by the hash that YCSB has")
  func scattering() {
    #expect(KeyChoice.scattered(0) == 6284781860667377211)
    #expect(KeyChoice.scattered(1) == 8517097267634966620)
    #expect(KeyChoice.scattered(123_456_789) == 2350796791908741607)
  }

  @Test("Uniform keys are all chosen, about equally often")
  func uniform() {
    let counts = counts(.uniform, keys: 100, draws: 100_000)
    #expect(counts.count == 100)
    #expect(counts.values.allSatisfy { (850...1_150).contains($0) })
  }

  @Test("Of zipfian keys a few are hot, and they are not neighbours")
  func scatteredZipfian() {
    let counts = counts(.zipfian, keys: 10_000, draws: 200_000)
    let hottest = counts.sorted { $0.value > $1.value }.prefix(2)
    // 1 / 26.469 of all.
    #expect(abs(hottest[0].value - 7_556) < 400)
    #expect(hottest[0].key != hottest[1].key + 1 && hottest[0].key + 1 != hottest[1].key)
    #expect(counts.keys.allSatisfy { $0 < 10_000 })
  }

  @Test("The latest key is the hottest, also when it has just come")
  func latest() {
    var choice = KeyChoice(.latest, keys: 100)
    var random = RandomSource(seed: 5)
    var counts: [UInt64: Int] = [:]
    for _ in 0..<10_000 { counts[choice.next(present: 150, &random), default: 0] += 1 }
    #expect(counts.max { $0.value < $1.value }?.key == 149)
    #expect(counts.keys.allSatisfy { $0 < 150 })
  }

  @Test("An added key is there when it and all before it are done")
  func inserting() {
    let inserted = InsertedKeys(keys: 10, countMax: 3)
    #expect(inserted.take() == 10 && inserted.take() == 11 && inserted.take() == 12)
    #expect(inserted.take() == nil)
    inserted.finish(11)
    #expect(inserted.present == 10)
    inserted.finish(10)
    #expect(inserted.present == 12)
  }

  @Test("Workloads have the operations that YCSB gives them")
  func mixes() throws {
    let table: [(String, [Double])] = [
      ("a", [0.5, 0.5, 0, 0, 0]), ("b", [0.95, 0.05, 0, 0, 0]), ("c", [1, 0, 0, 0, 0]),
      ("d", [0.95, 0, 0.05, 0, 0]), ("e", [0, 0, 0.05, 0.95, 0]), ("f", [0.5, 0, 0, 0, 0.5]),
    ]
    for (name, parts) in table {
      let mix = try #require(WorkloadMix(ycsb: name))
      #expect(
        [mix.reads, mix.updates, mix.inserts, mix.scans, mix.readModifyWrites] == parts)
    }
    #expect(WorkloadMix(ycsb: "g") == nil)
    #expect(WorkloadMix(writeRatio: 0.1).text == "90 % reads, 10 % updates")
  }
}

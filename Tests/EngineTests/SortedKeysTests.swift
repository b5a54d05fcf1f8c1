import Engine
import SimulatedDisk
import Testing

/// An index's directory beside an array of the same keys.
private struct DirectoryModel {
  let index = Index()
  private(set) var sorted: [[UInt8]] = []
  private var version: UInt64 = 0

  init() async {
    await index.waitUntilListed()
  }

  /// Where the key is, or would be.
  private func place(_ key: [UInt8]) -> (index: Int, isThere: Bool) {
    var (low, high) = (0, sorted.count)
    while low < high {
      let middle = (low + high) / 2
      if sorted[middle].lexicographicallyPrecedes(key) { low = middle + 1 } else { high = middle }
    }
    return (low, low < sorted.count && sorted[low] == key)
  }

  mutating func insert(_ key: [UInt8]) {
    version += 1
    index.put(key, [1, 2, 3], version: version)
    let place = place(key)
    if !place.isThere { sorted.insert(key, at: place.index) }
  }

  mutating func remove(_ key: [UInt8]) {
    index.remove(key)
    let place = place(key)
    if place.isThere { sorted.remove(at: place.index) }
  }

  func expected(prefix: [UInt8], after: [UInt8], until: [UInt8]?) -> [[UInt8]] {
    sorted.filter { key in
      key.starts(with: prefix) && after.lexicographicallyPrecedes(key)
        && until.map { key.lexicographicallyPrecedes($0) } ?? true
    }
  }
}

@Suite("Keys in order")
struct SortedKeysTests {
  /// Keys that make trees of every shape: short, long, alike, and all of bytes at the ends.
  private static func key(_ random: inout SeededRandom, shape: Int) -> [UInt8] {
    switch shape {
    case 0: return random.bytes(1 + random.below(12))
    case 1: return (0...random.below(5)).map { _ in random.once(in: 3) ? 0 : 0xFF }
    case 2:
      return [UInt8](repeating: 0x61, count: 4_090) + random.bytes(1 + random.below(6))
    case 3: return utf8("user:\(random.below(3_000))")
    default: return random.bytes([1, 7, 8, 9, 300, 2_000, 4_096][random.below(7)])
    }
  }

  @Test("are those of a sorted array, whatever comes and goes", arguments: 0...5)
  func asASortedArray(shape: Int) async {
    var random = SeededRandom(seed: UInt64(shape) + 40)
    var model = await DirectoryModel()
    for phase in 0..<8 {
      // Growth, then decline down to nothing.
      let grows = phase % 4 != 3
      for _ in 0..<(shape == 2 ? 400 : 1_200) {
        let key = Self.key(&random, shape: shape)
        if random.once(in: 3), let old = model.sorted.randomElement(using: &random) {
          model.remove(old)
        } else if grows {
          model.insert(key)
        } else if let old = model.sorted.randomElement(using: &random) {
          model.remove(old)
        }
      }
      if phase == 7 {
        for key in model.sorted.shuffled(using: &random) { model.remove(key) }
        #expect(model.index.directory.memoryBytes == 0)
      }
      #expect(model.index.directory.count == model.sorted.count)
      #expect(model.index.listed(limit: 1 + random.below(50)) == model.sorted)
      for _ in 0..<40 {
        let prefix = Array(Self.key(&random, shape: shape).prefix(random.below(3)))
        let after = random.once(in: 2) ? [] : Self.key(&random, shape: shape)
        let until = random.once(in: 2) ? nil : Self.key(&random, shape: shape)
        #expect(
          model.index.listed(prefix: prefix, after: after, until: until, limit: 7)
            == model.expected(prefix: prefix, after: after, until: until))
      }
    }
  }

  @Test("that begin with bytes that cannot be raised are all found")
  func prefixesOfTheHighestByte() async {
    let index = Index()
    await index.waitUntilListed()
    let keys: [[UInt8]] = [
      [0xFE], [0xFE, 0xFF], [0xFE, 0xFF, 0xFF, 0xFF], [0xFF], [0xFF, 0], [0xFF, 0xFF],
      [0xFF, 0xFF, 0], [0xFF, 0xFF, 0xFF],
    ]
    for key in keys.shuffled() { index.put(key, [], version: 1) }
    #expect(index.listed() == keys)
    #expect(index.listed(prefix: [0xFF]) == Array(keys[3...]))
    #expect(index.listed(prefix: [0xFF, 0xFF]) == Array(keys[5...]))
    #expect(index.listed(prefix: [0xFE, 0xFF]) == Array(keys[1...2]))
    #expect(index.listed(prefix: [0xFF, 0xFF], after: [0xFF, 0xFF]) == Array(keys[6...]))
    #expect(index.listed(prefix: [0xFF], after: [0xFE], until: [0xFF, 0xFF]) == Array(keys[3...4]))
    #expect(index.listed(prefix: [0xFF], until: [0xFE]) == [])
    #expect(index.listed(prefix: [0xFE], after: [0xFF]) == [])
  }

  @Test("take little more memory than their bytes")
  func memory() async {
    let index = Index()
    await index.waitUntilListed()
    var random = SeededRandom(seed: 3)
    var bytes = 0
    var keys: [[UInt8]] = []
    for number in 0..<50_000 {
      let key = utf8("customer/\(random.next())/\(number)")
      keys.append(key)
      bytes += key.count
      index.put(key, [], version: 1)
    }
    #expect(index.directory.memoryBytes < bytes + 14 * keys.count)
    #expect(index.directory.memoryBytes > bytes)
    // Of every hundred keys, one stays: what they took goes.
    for (number, key) in keys.enumerated() where number % 100 != 0 { index.remove(key) }
    #expect(index.directory.count == 500)
    #expect(index.directory.memoryBytes < bytes / 10)
  }

  @Test("that have expired or are gone are passed over, and take no place on a page")
  func hidden() async {
    let index = Index()
    await index.waitUntilListed()
    for number in 0..<100 {
      let expiry: UInt64? = number % 10 == 0 ? nil : UInt64(1_000 + number)
      index.put(utf8(String(format2: number)), [7], version: UInt64(number), expiry: expiry)
    }
    #expect(index.listed(now: 0, limit: 9).count == 100)
    // At the very millisecond it is expired.
    #expect(index.listed(now: 1_099, limit: 3) == (0..<10).map { utf8("\($0)0") })
    #expect(index.listed(now: 1_098).count == 11)
    // The last page says that it is the last.
    var pages: [Int] = []
    var after: [UInt8]? = []
    while let start = after {
      var lines = 0
      after = index.listKeys(in: KeyRange(after: start), now: 2_000) { _ in
        lines += 1
        return lines < 5
      }
      pages.append(lines)
    }
    #expect(pages == [5, 5])
  }

  @Test("that are hidden by the thousand end a page early, and the listing goes on behind them")
  func manyHidden() async {
    let index = Index()
    await index.waitUntilListed()
    for number in 0..<100_000 {
      index.put(utf8("a\(number)"), [], version: 1, expiry: 5)
    }
    index.put(utf8("b"), [], version: 2)
    var lines: [[UInt8]] = []
    var pages = 0
    var after: [UInt8]? = []
    while let start = after {
      after = index.listKeys(in: KeyRange(after: start), now: 5) { listed in
        lines.append(Array(listed.key))
        return true
      }
      pages += 1
    }
    #expect(lines == [utf8("b")])
    #expect((3...4).contains(pages))
  }

  @Test("come with the version and size that they have")
  func versionAndSize() async {
    let index = Index()
    index.put(utf8("a"), [], version: 3)
    index.put(utf8("b"), [UInt8](repeating: 1, count: 5_000), version: 4)
    await index.waitUntilListed()
    index.put(utf8("a"), [1, 2], version: 5)
    var lines: [String] = []
    let next = index.listKeys(in: KeyRange(), now: 0) { listed in
      lines.append(
        "\(String(decoding: listed.key, as: UTF8.self)) \(listed.version) \(listed.size)")
      return true
    }
    #expect(lines == ["a 5 2", "b 4 5000"] && next == nil)
  }
}

extension String {
  fileprivate init(format2 number: Int) {
    self = number < 10 ? "0\(number)" : "\(number)"
  }
}

import Sharding
import Testing

@Suite("The hash that says which shard a key belongs to")
struct ShardHashTests {
  private func shard(_ key: String, of count: UInt64, _ hash: ShardHash = .fnv1) -> UInt64 {
    Array(key.utf8).withUnsafeBytes { hash($0) } % count
  }

  @Test(
    "puts the keys of the contract into the right one of four",
    arguments: [
      ("party", 3), ("health", 3), ("moon", 2), ("mars", 2), ("earth", 3), ("watermelon", 3),
      ("chair", 0), ("boy", 1), ("my-key", 1), ("mykey", 0), ("user:123", 2), ("user:456", 3),
      ("foo", 3), ("key-550710753", 0), ("key-291864019", 1), ("key-7986636", 2),
      ("key-676220700", 3),
    ] as [(String, UInt64)])
  func ofFour(key: String, expected: UInt64) {
    #expect(shard(key, of: 4) == expected)
  }

  @Test(
    "and of two",
    arguments: [("adjective", 0), ("adverb", 1), ("watermelon", 1)] as [(String, UInt64)])
  func ofTwo(key: String, expected: UInt64) {
    #expect(shard(key, of: 2) == expected)
  }

  @Test("spreads key-1 to key-100 as 27, 25, 24 and 24")
  func spread() {
    var counts = [0, 0, 0, 0]
    for number in 1...100 { counts[Int(shard("key-\(number)", of: 4))] += 1 }
    #expect(counts == [27, 25, 24, 24])
  }

  @Test("is FNV-1 as published: multiply, then XOR")
  func published() {
    // http://www.isthe.com/chongo/src/fnv/test_fnv.c
    let known: [(String, UInt64)] = [
      ("", 0xcbf2_9ce4_8422_2325), ("a", 0xaf63_bd4c_8601_b7be), ("b", 0xaf63_bd4c_8601_b7bd),
      ("foobar", 0x340d_8765_a4dd_a9c2),
    ]
    for (key, hash) in known {
      #expect(Array(key.utf8).withUnsafeBytes { ShardHash.fnv1($0) } == hash)
    }
  }

  @Test("piles up keys that differ only in the high bits of their bytes; mixed, it does not")
  func mixed() {
    // 64 keys whose bytes have the same low two bits.
    let keys = (0..<64).map {
      "k" + String(UnicodeScalar(UInt8(ascii: "@") & 0xc0 | UInt8($0) & 0x3c))
    }
    #expect(Set(keys.map { shard($0, of: 4) }).count == 1)
    var counts = [0, 0, 0, 0]
    for number in 0..<4_000 { counts[Int(shard("user-\(number)00", of: 4, .fnv1Mixed))] += 1 }
    #expect(counts.allSatisfy { (900...1_100).contains($0) })
    let hashes = Set((0..<4_000).map { shard("user-\($0)00", of: .max, .fnv1Mixed) })
    #expect(hashes.count == 4_000)
  }

  @Test("has the names that a configuration uses")
  func names() {
    for hash in ShardHash.allCases { #expect(ShardHash(name: hash.name) == hash) }
    #expect(ShardHash.fnv1.name == "fnv1-64" && ShardHash.fnv1.rawValue == 1)
    #expect(ShardHash.fnv1Mixed.name == "fnv1-64-mix" && ShardHash.fnv1Mixed.rawValue == 2)
    #expect(ShardHash(name: "md5") == nil)
  }
}

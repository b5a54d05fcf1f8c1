import Engine
import SimulatedDisk
import Testing
import WAL

@Suite("The bits that hashes have in common")
struct CommonBitsTests {
  @Test("say a shard only where all hashes are of it, and exclude one only where none is")
  func random() {
    var random = SeededRandom(seed: 5)
    var known = 0
    var excluded = 0
    for _ in 0..<20_000 {
      // Of some shard of a few, as a stripe's are.
      let shared = UInt64(1) << UInt64(random.below(5))
      let rest = UInt64(random.below(Int(shared)))
      let hashes = (0...random.below(4)).map { _ in random.next() / shared &* shared &+ rest }
      var bits = CommonBits()
      for hash in hashes { bits.add(hash) }
      let count = UInt32(1 + random.below(12))
      let index = UInt32(random.below(Int(count)))
      let shards = Set(hashes.map { UInt32($0 % UInt64(count)) })
      if let shard = bits.shard(of: count) {
        #expect(shards == [shard])
        known += 1
      }
      if bits.excludes(ShardRange(hash: 1, index: index, count: count)) {
        #expect(!shards.contains(index))
        excluded += 1
      }
      // What the bits can say they do say.
      if count == count & ~(count - 1), shards.count == 1 {
        #expect(bits.shard(of: count) == shards.first)
      }
    }
    #expect(known > 1_000 && excluded > 1_000)
  }

  @Test("know nothing of no hash")
  func empty() {
    #expect(!CommonBits().excludes(ShardRange(hash: 1, index: 1, count: 2)))
    #expect(CommonBits().shard(of: 2) == nil)
    #expect(CommonBits().shard(of: 1) == 0)
  }
}

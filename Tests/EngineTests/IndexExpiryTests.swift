import Engine
import Sharding
import SimulatedDisk
import Testing
import WAL

@Suite("The index, as time goes by")
struct IndexExpiryTests {
  @Test("removes what has expired at the end of a frame, and nothing else, and never goes back")
  func boundary() {
    let index = Index()
    index.put(utf8("early"), [1], version: 1, expiry: 999)
    index.put(utf8("just"), [2], version: 2, expiry: 1_000)
    index.put(utf8("later"), [3], version: 3, expiry: 1_001)
    index.put(utf8("never"), [4], version: 4)
    #expect(index.expiringCount == 3 && index.earliestExpiry == 999)
    #expect(index.endFrame(time: 998) == 0 && index.count == 4)
    #expect(index.endFrame(time: 1_000) == 2)
    #expect(Set(index.contents().keys) == [utf8("later"), utf8("never")])
    #expect(index.frameTime == 1_000 && index.earliestExpiry == 1_001)
    // A frame of a clock that was set back: what it brings and is over by now goes at once.
    index.put(utf8("late"), [5], version: 5, expiry: 1_000)
    #expect(index.endFrame(time: 10) == 1)
    #expect(index.frameTime == 1_000 && index.get(utf8("late")) == nil)
    #expect(index.endFrame(time: .max - 1) == 1)
    #expect(index.count == 1 && index.expiringCount == 0 && index.earliestExpiry == .max)
    #expect(index.memoryBytes == Self.memory(of: [(utf8("never"), [4])]))
  }

  private static func memory(of entries: [([UInt8], [UInt8])]) -> Int {
    let index = Index()
    for (number, entry) in entries.enumerated() {
      index.put(entry.0, entry.1, version: UInt64(number + 1))
    }
    return index.memoryBytes
  }

  @Test("keeps a key that got another value, or another time, since it was to expire")
  func stale() {
    let index = Index()
    let large = [UInt8](repeating: 1, count: 10_000)
    for key in ["kept", "longer", "deleted", "again", "large"] {
      index.put(utf8(key), large, version: 1 + UInt64(key.utf8.count), expiry: 100)
    }
    index.put(utf8("kept"), [1], version: 20)
    index.put(utf8("longer"), [2], version: 21, expiry: 200)
    index.remove(utf8("deleted"))
    index.remove(utf8("again"))
    index.put(utf8("again"), large, version: 22, expiry: 200)
    #expect(index.expiringCount == 3)
    #expect(index.endFrame(time: 150) == 1)
    #expect(
      Set(index.contents().keys) == [utf8("kept"), utf8("longer"), utf8("again")])
    #expect(index.endFrame(time: 200) == 2)
    #expect(index.get(utf8("kept"))?.value == [1] && index.count == 1)
  }

  @Test("says whether anything has expired that is still there, and forgets what is not")
  func hasExpired() {
    let index = Index()
    #expect(!index.hasExpired(at: .max))
    index.put(utf8("a"), [], version: 1, expiry: 100)
    index.put(utf8("b"), [], version: 2, expiry: 300)
    index.put(utf8("a"), [], version: 3, expiry: 200)
    #expect(!index.hasExpired(at: 199) && index.hasExpired(at: 200))
    #expect(index.count == 2)
    index.put(utf8("a"), [], version: 4)
    #expect(!index.hasExpired(at: 299) && index.earliestExpiry == 300)
    index.remove(utf8("b"))
    #expect(!index.hasExpired(at: .max) && index.earliestExpiry == .max)
    #expect(index.expiryQueueBytes == 0)
  }

  @Test("queues no more than twice the keys that expire, whatever becomes of them")
  func boundedQueue() {
    let index = Index()
    let keys = (0..<2_000).map { utf8("key-\($0)") }
    func bound(_ live: Int) -> Int { (2 * live + 8 * Index.stripeCount) * ExpiryQueue.itemBytes }
    var version: UInt64 = 0
    // Sessions that are renewed again and again, their end far away.
    for round in 0..<50 as Range<UInt64> {
      for key in keys {
        version += 1
        index.put(key, [1], version: version, expiry: 1 << 40 + round)
      }
      #expect(index.expiryQueueBytes <= bound(keys.count))
    }
    for key in keys[500...] { index.remove(key) }
    #expect(index.expiringCount == 500 && index.expiryQueueBytes <= bound(500))
    for key in keys[100..<500] {
      version += 1
      index.put(key, [1], version: version)
    }
    #expect(index.expiringCount == 100 && index.expiryQueueBytes <= bound(100))
    _ = index.purge(keeping: ShardRange(hash: 1, index: 0, count: 1_000_000), by: .fnv1)
    #expect(index.count == 0 && index.expiringCount == 0 && index.expiryQueueBytes == 0)
    #expect(index.memoryBytes == Index().memoryBytes)
  }

  @Test("removes very many keys at once")
  func many() {
    let index = Index()
    let count = 200_000
    for number in 1...count {
      index.put(
        utf8("key-\(number)"), [1, 2, 3], version: UInt64(number),
        expiry: number % 10 == 0 ? 2_000 : UInt64(number % 1_000))
    }
    #expect(index.endFrame(time: 1_500) == count / 10 * 9)
    #expect(index.count == count / 10 && index.expiringCount == count / 10)
    #expect(index.endFrame(time: 2_000) == count / 10)
    #expect(index.digest() == Digest() && index.memoryBytes == Index().memoryBytes)
  }
}

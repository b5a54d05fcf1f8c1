import Engine
import SimulatedDisk
import Testing

@Suite("What a frame that is being gathered does to its keys")
struct PendingKeysTests {
  /// Keys that stay where they are.
  private final class Keys {
    let all: [UnsafeRawBufferPointer]

    init(_ keys: [[UInt8]]) {
      all = keys.map { key in
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: key.count, alignment: 1)
        copy.copyBytes(from: key)
        return UnsafeRawBufferPointer(copy)
      }
    }

    deinit { for key in all { key.deallocate() } }
  }

  @Test("is what a dictionary that is emptied with every frame would say")
  func model() {
    let hasher = KeyHasher(.fnv1, seed: 42)
    let many = KeyChoice.ofOneStripe(1 << 20, seed: 5)
    var chosen = many[..<2_000] + [[1], [1, 0], [0, 1]]
    for pair in KeyChoice.colliding(many, hasher) { chosen += [pair.0, pair.1] }
    let keys = Keys(Array(chosen))
    var random = SeededRandom(seed: 1)
    var pending = PendingKeys()
    var differences = 0
    for _ in 0..<300 {
      var model: [Int: KeyState?] = [:]
      for version in 1...UInt64(1 + random.below(random.once(in: 10) ? 4_000 : 40)) {
        let number = random.below(keys.all.count)
        let key = keys.all[number]
        if random.once(in: 3) {
          let new =
            random.once(in: 4)
            ? nil : KeyState(version: version, expiry: random.once(in: 2) ? version + 9 : nil)
          pending.set(key, hasher(key), new)
          model[number] = .some(new)
        }
        if pending.find(key, hasher(key)) != model[number] { differences += 1 }
      }
      for (number, key) in keys.all.enumerated()
      where pending.find(key, hasher(key)) != model[number] { differences += 1 }
      pending.removeAll()
    }
    #expect(differences == 0)
  }

  @Test("knows a hundred thousand keys, forgets them at once, and is small again")
  func large() {
    let hasher = KeyHasher(.fnv1)
    let keys = Keys((0..<100_000).map { utf8("key-\($0)") })
    var pending = PendingKeys()
    for _ in 0..<2 {
      for (number, key) in keys.all.enumerated() {
        pending.set(key, hasher(key), KeyState(version: UInt64(number)))
      }
      #expect(
        keys.all.indices.allSatisfy {
          pending.find(keys.all[$0], hasher(keys.all[$0])) == .some(KeyState(version: UInt64($0)))
        })
      pending.removeAll()
      #expect(keys.all.allSatisfy { pending.find($0, hasher($0)) == nil })
    }
  }
}

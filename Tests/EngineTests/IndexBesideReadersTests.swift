import Engine
import SimulatedDisk
import Synchronization
import Testing
import WAL

@Suite("Readers beside the one writer")
struct IndexBesideReadersTests {
  /// A value that says which version it is of, and how long it is.
  private static func value(_ version: UInt64, _ count: Int) -> [UInt8] {
    var value = [UInt8](repeating: UInt8(truncatingIfNeeded: version &* 31), count: count)
    value.withUnsafeMutableBytes {
      $0.storeBytes(of: version, as: UInt64.self)
      $0.storeBytes(of: UInt64(count), toByteOffset: 8, as: UInt64.self)
    }
    return value
  }

  /// Whether all of a value is that of one version.
  private static func isWhole(_ value: UnsafeRawBufferPointer, _ version: UInt64) -> Bool {
    guard value.count >= 16, value.loadUnaligned(as: UInt64.self) == version,
      value.loadUnaligned(fromByteOffset: 8, as: UInt64.self) == UInt64(value.count)
    else { return false }
    let fill = UInt8(truncatingIfNeeded: version &* 31)
    for byte in value[16...] where byte != fill { return false }
    return true
  }

  private final class Tally: Sendable {
    let isDone = Atomic(false)
    let reads = Atomic(0)
    let large = Atomic(0)
    let torn = Atomic(0)
    let backwards = Atomic(0)
  }

  @Test("never see a torn value, a value with another's version, or an older one than before")
  func neverTorn() {
    let index = Index()
    // One stripe, so that cleaning, growth and removal are always beside a reader.
    let keys = KeyChoice.ofOneStripe(48, seed: 8)
    let tally = Tally()
    let readers = (0..<3).map { number in
      ThreadHandle { Self.read(index, keys, tally, seed: UInt64(number)) }
    }
    var random = SeededRandom(seed: 77)
    let sizes = [16, 17, 100, 1_000, 2_047, 2_048, 2_049, 4_000, 20_000]
    for version in 1...60_000 as ClosedRange<UInt64> {
      let key = keys[random.below(keys.count)]
      if random.once(in: 12) {
        index.remove(key)
      } else {
        index.put(key, Self.value(version, sizes[random.below(sizes.count)]), version: version)
      }
      // Others that come and go: the table moves.
      if version % 500 == 0 {
        let others = KeyChoice.ofOneStripe(200, seed: version)
        for other in others { index.put(other, Self.value(version, 64), version: version) }
        for other in others { index.remove(other) }
      }
    }
    tally.isDone.store(true, ordering: .releasing)
    for reader in readers { reader.join() }
    #expect(tally.torn.load(ordering: .relaxed) == 0)
    #expect(tally.backwards.load(ordering: .relaxed) == 0)
    #expect(tally.reads.load(ordering: .relaxed) > 1_000)
    #expect(tally.large.load(ordering: .relaxed) > 100)
  }

  private static func read(_ index: Index, _ keys: [[UInt8]], _ tally: Tally, seed: UInt64) {
    var random = SeededRandom(seed: seed)
    var newest = [UInt64](repeating: 0, count: keys.count)
    var held: [(LargeValue, UInt64)] = []
    while !tally.isDone.load(ordering: .acquiring) {
      let number = random.below(keys.count)
      var version: UInt64 = 0
      keys[number].withUnsafeBytes { key in
        _ = index.read(key, index.hasher(key)) { view in
          version = view.version
          if let large = view.large {
            held.append((large, version))
          } else if !isWhole(view.value, version) {
            tally.torn.add(1, ordering: .relaxed)
          }
        }
      }
      if version == 0 { continue }
      tally.reads.add(1, ordering: .relaxed)
      if version < newest[number] { tally.backwards.add(1, ordering: .relaxed) }
      newest[number] = version
      guard held.count >= 20 else { continue }
      // Kept while their keys got other values, or none.
      for (large, version) in held where !isWhole(large.bytes, version) {
        tally.torn.add(1, ordering: .relaxed)
      }
      tally.large.add(held.count, ordering: .relaxed)
      held = []
    }
  }
}

import Engine
import Sharding
import SimulatedDisk

/// Keys that are hard on a table.
enum KeyChoice {
  /// Keys of one stripe, for FNV-1 in an index of one shard: the last byte is chosen to make the low
  /// byte of the hash 0.
  static func ofOneStripe(_ count: Int, seed: UInt64) -> [[UInt8]] {
    var random = SeededRandom(seed: seed)
    return (0..<count).map { _ in
      let start = random.bytes(8)
      let hash = start.withUnsafeBytes { ShardHash.fnv1($0) }
      return start + [UInt8(truncatingIfNeeded: hash &* 0x100_0000_01b3)]
    }
  }

  /// Of these keys, pairs that have the same slot hash.
  static func colliding(_ keys: [[UInt8]], _ hasher: KeyHasher) -> [([UInt8], [UInt8])] {
    let slots = keys.enumerated().map { number, key in
      UInt64(key.withUnsafeBytes { hasher($0).slot }) << 32 | UInt64(number)
    }.sorted()
    return zip(slots, slots.dropFirst()).filter { $0 >> 32 == $1 >> 32 }.map {
      (keys[Int(UInt32(truncatingIfNeeded: $0))], keys[Int(UInt32(truncatingIfNeeded: $1))])
    }
  }

  /// Of these keys, those whose home is in the last thousandth of every table, so that their run
  /// wraps around.
  static func ofLastSlots(_ keys: [[UInt8]], _ hasher: KeyHasher) -> [[UInt8]] {
    keys.filter { key in key.withUnsafeBytes { hasher($0).slot } >> 22 == 0x3ff }
  }
}

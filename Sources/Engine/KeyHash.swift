import Sharding

/// The hashes that are computed once from a key's bytes.
public struct KeyHash: Hashable, Sendable {
  /// Says which shard the key belongs to, where it stands in the order, and enters the digest. The
  /// same on every node.
  public let shard: UInt64
  /// Says where the key is in its stripe's table. Of this process alone.
  package let slot: UInt32
}

/// Computes the hashes of keys.
public struct KeyHasher: Sendable {
  public let kind: ShardHash
  private let seed: UInt64

  /// - Parameter seed: secret, so that nobody can choose keys that all fall into the same slots. Not
  ///   a mix of the shard hash, because that one's collisions can be computed.
  public init(_ kind: ShardHash, seed: UInt64 = .random(in: .min ... .max)) {
    self.kind = kind
    self.seed = seed
  }

  public func callAsFunction(_ key: UnsafeRawBufferPointer) -> KeyHash {
    KeyHash(shard: kind(key), slot: slotHash(key))
  }

  /// The same, where the shard hash is known already.
  func callAsFunction(_ key: UnsafeRawBufferPointer, shard: UInt64) -> KeyHash {
    KeyHash(shard: shard, slot: slotHash(key))
  }

  /// Folded 128-bit products over words of eight bytes, after wyhash (Wang Yi,
  /// https://github.com/wangyi-fudan/wyhash).
  private func slotHash(_ key: UnsafeRawBufferPointer) -> UInt32 {
    var state = fold(seed ^ 0xa076_1d64_78bd_642f, UInt64(key.count) ^ 0xe703_7ed1_a0b4_28db)
    var offset = 0
    while offset + 8 <= key.count {
      let word = key.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
      state = fold(state ^ word, seed ^ 0x8ebc_6af0_9c88_c6e3)
      offset += 8
    }
    if offset < key.count {
      var word: UInt64 = 0
      for byte in key[offset...] { word = word << 8 | UInt64(byte) }
      state = fold(state ^ word, seed ^ 0x5899_65cc_7537_4cc3)
    }
    return UInt32(truncatingIfNeeded: fold(state, 0x1d8e_4e27_c47d_124f) >> 16)
  }

  @inline(__always)
  private func fold(_ a: UInt64, _ b: UInt64) -> UInt64 {
    let product = a.multipliedFullWidth(by: b)
    return product.high ^ product.low
  }
}

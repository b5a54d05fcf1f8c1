/// The hash that says which shard a key belongs to.
///
/// Part of the contract: clients compute it, so a kind never changes.
public enum ShardHash: UInt32, Hashable, Sendable, CaseIterable {
  /// FNV-1, 64 bits: multiply, then XOR (Fowler, Noll, Vo; http://www.isthe.com/chongo/tech/comp/fnv).
  ///
  /// Its low k bits depend on nothing but the low k bits of each byte of the key.
  case fnv1 = 1
  /// FNV-1 with a 64-bit avalanche behind it, so that every bit of the key counts.
  case fnv1Mixed = 2

  /// As a configuration names it.
  public var name: String {
    switch self {
    case .fnv1: "fnv1-64"
    case .fnv1Mixed: "fnv1-64-mix"
    }
  }

  public init?(name: String) {
    guard let hash = Self.allCases.first(where: { $0.name == name }) else { return nil }
    self = hash
  }

  /// The hash of a key's bytes. The shard is this number mod the number of shards.
  @inlinable
  public func callAsFunction(_ key: UnsafeRawBufferPointer) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in key { hash = (hash &* 0x100_0000_01b3) ^ UInt64(byte) }
    return self == .fnv1 ? hash : avalanche(hash)
  }

  /// The index of the shard that a key belongs to, of so many.
  @inlinable
  public func shard(of key: UnsafeRawBufferPointer, count: Int) -> Int {
    Int(truncatingIfNeeded: self(key) % UInt64(truncatingIfNeeded: count))
  }
}

/// MurmurHash3's 64-bit finalizer (Appleby): every bit of the input changes half of the output.
@inlinable
public func avalanche(_ number: UInt64) -> UInt64 {
  var x = number
  x = (x ^ (x >> 33)) &* 0xff51_afd7_ed55_8ccd
  x = (x ^ (x >> 33)) &* 0xc4ce_b9fe_1a85_ec53
  return x ^ (x >> 33)
}

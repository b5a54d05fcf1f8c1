import Sharding

/// A number that stands for a set of keys and the versions that they have.
///
/// It is the sum, mod 2^64, of one term a key, so a write changes it in constant time and the order
/// of the writes does not matter. Two nodes at the same sequence number have the same digest, or one
/// of them is wrong. Not a defence against somebody who chooses keys to collide.
public struct Digest: Hashable, Sendable {
  public private(set) var sum: UInt64 = 0

  public init() {}

  public init(sum: UInt64) { self.sum = sum }

  @inline(__always)
  package mutating func add(_ hash: KeyHash, version: UInt64) {
    sum &+= Self.term(hash, version)
  }

  @inline(__always)
  mutating func remove(_ hash: KeyHash, version: UInt64) {
    sum &-= Self.term(hash, version)
  }

  package mutating func add(_ other: Digest) { sum &+= other.sum }

  @inline(__always)
  private static func term(_ hash: KeyHash, _ version: UInt64) -> UInt64 {
    avalanche(hash.shard &+ avalanche(version ^ 0x9e37_79b9_7f4a_7c15))
  }
}

extension Digest {
  /// As a mark carries it.
  package var encoded: [UInt8] { withUnsafeBytes(of: sum.littleEndian) { Array($0) } }

  /// From what a mark carries; nil when that is no digest.
  package init?(encoded: RawSpan) {
    guard encoded.byteCount == 8 else { return nil }
    sum = UInt64(littleEndian: encoded.unsafeLoadUnaligned(as: UInt64.self))
  }
}

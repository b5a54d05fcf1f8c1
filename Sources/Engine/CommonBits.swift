import WAL

/// Which bits are the same in all shard hashes of a set, as far as that is known: what says of many
/// keys at once which shard they belong to.
///
/// Adding is exact; removing is not noticed, so that less may be known than is true.
package struct CommonBits: Hashable, Sendable {
  /// The bits that are 1 in every hash, and those that are in any.
  private var inAll = UInt64.max
  private var inAny: UInt64 = 0

  package init() {}

  @inline(__always)
  package mutating func add(_ hash: UInt64) {
    inAll &= hash
    inAny |= hash
  }

  /// From here on there are only hashes that are `index` mod `count`.
  mutating func narrow(to range: ShardRange) {
    let mask = Self.mask(range.count)
    inAll = inAll & ~mask | UInt64(range.index) & mask
    inAny = inAny & ~mask | UInt64(range.index) & mask
  }

  /// The bits of a hash that say something of its remainder: those of the power of two in `count`.
  private static func mask(_ count: UInt32) -> UInt64 {
    1 << UInt64(count.trailingZeroBitCount) - 1
  }

  /// The remainder mod `count` that all of them have; nil where they have several, or where the bits
  /// do not say it: of a number that is no power of two they never do.
  ///
  /// - Precondition: there is a hash.
  package func shard(of count: UInt32) -> UInt32? {
    let mask = Self.mask(count)
    guard count == 1 << UInt64(count.trailingZeroBitCount), (inAll ^ inAny) & mask == 0 else {
      return nil
    }
    return UInt32(inAll & mask)
  }

  /// Whether none of them is `index` mod `count`.
  package func excludes(_ range: ShardRange) -> Bool {
    let known = ~(inAll ^ inAny) & Self.mask(range.count)
    return known & (inAll ^ UInt64(range.index)) != 0
  }
}

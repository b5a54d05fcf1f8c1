import Sharding
import WAL

/// Which child of a split an entry goes to.
///
/// Shard i of n becomes the shards j of m with j mod n = i: child number k is shard i + k·n.
package struct SplitRule: Sendable {
  /// What is split.
  let parent: ShardNote
  /// The number of shards afterwards, a multiple of the parent's.
  let count: UInt32
  /// What has expired by then belongs to nobody.
  let frameTimeMilliseconds: UInt64

  package init(parent: ShardNote, count: UInt32, frameTimeMilliseconds: UInt64) {
    precondition(count >= 1 && count.isMultiple(of: parent.count))
    self.parent = parent
    self.count = count
    self.frameTimeMilliseconds = frameTimeMilliseconds
  }

  package var children: Int { Int(count / parent.count) }

  /// Which shard a child is.
  package func note(of child: Int) -> ShardNote {
    ShardNote(
      index: parent.index + UInt32(child) * parent.count, count: count, hash: parent.hash)
  }

  /// Nil for a key of another shard, which a directory may hold until it is purged.
  @inline(__always)
  package func child(of order: KeyOrder) -> Int? {
    let index = UInt32(truncatingIfNeeded: order.shardHash % UInt64(count))
    guard index % parent.count == parent.index else { return nil }
    return Int(index / parent.count)
  }

  @inline(__always)
  func hasExpired(_ record: Record) -> Bool {
    guard let expiry = record.metadata.expiryMilliseconds else { return false }
    return expiry <= frameTimeMilliseconds
  }

  /// True when each child's keys stand together.
  package var isContiguous: Bool { children.nonzeroBitCount == 1 }

  /// The part of the order that holds a child's keys, where they stand together.
  ///
  /// With m = q·2^t and q odd, the parent's keys agree in their hash mod q; what tells its children
  /// apart is the lowest t bits, which are the highest of the order.
  package func orders(of child: Int) -> ClosedRange<UInt64> {
    precondition(isContiguous)
    let bits = count.trailingZeroBitCount
    let low = UInt64(note(of: child).index) & ((1 << UInt64(bits)) - 1)
    let first = low.bitReversed
    return first...first + UInt64.max >> UInt64(bits)
  }
}

/// What a split has met that goes to no child.
package struct LeftOut: Hashable, Sendable {
  /// Keys of other shards.
  var foreign: UInt64 = 0
  var expired: UInt64 = 0
  /// Bytes of their keys and values.
  var dataBytes: UInt64 = 0
  var digest = Digest()

  package init() {}

  var entries: UInt64 { foreign + expired }

  mutating func add(_ entry: SnapshotEntry, hasExpired: Bool) {
    if hasExpired { expired += 1 } else { foreign += 1 }
    dataBytes += UInt64(entry.record.key.count + entry.record.value.count)
    digest.add(KeyHash(shard: entry.order.shardHash, slot: 0), version: entry.version)
  }

  mutating func add(_ other: LeftOut) {
    foreign += other.foreign
    expired += other.expired
    dataBytes += other.dataBytes
    digest.add(other.digest)
  }
}

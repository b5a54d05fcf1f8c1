import Sharding
import WAL

/// Reads a snapshot from its first to its last byte, and finds out whether it is what it says.
package enum SnapshotCheck {
  /// - Throws: `invalidFile` when it is damaged; `cancelled`; that of a system call.
  package static func run(_ snapshot: SnapshotFile, pace: Pace) throws(WALError) {
    let footer = snapshot.footer
    var blocks = SnapshotBlocks(snapshot)
    var counts = Counts(shardCount: snapshot.header.shardCount)
    for (number, block) in footer.blocks.enumerated() {
      try blocks.load(number)
      try pace.spent(Int(block.fileBytes))
      while let entry = try blocks.next() {
        guard counts.add(entry) else {
          throw .invalidFile(
            path: snapshot.path, offset: block.offset, reason: "\(SnapshotViolation.order)")
        }
      }
    }
    if let violation = counts.violation(of: footer) {
      throw .invalidFile(path: snapshot.path, offset: 0, reason: "\(violation)")
    }
  }

  /// What all entries come to.
  package struct Counts {
    private var digests = [Digest](repeating: Digest(), count: Index.stripeCount)
    private var entries: UInt64 = 0
    private var dataBytes: UInt64 = 0
    private var last = KeyOrder(0)
    private let shardBits: UInt64

    package init(shardCount: UInt32) { shardBits = UInt64(shardCount.trailingZeroBitCount) }

    /// - Returns: false when the entry stands before the one that was added last.
    package mutating func add(_ entry: SnapshotEntry) -> Bool {
      guard last <= entry.order else { return false }
      last = entry.order
      entries += 1
      dataBytes += UInt64(entry.record.key.count + entry.record.value.count)
      let hash = KeyHash(shard: entry.order.shardHash, slot: 0)
      let stripe = Int(UInt8(truncatingIfNeeded: hash.shard >> shardBits).bitReversed)
      digests[stripe].add(hash, version: entry.version)
      return true
    }

    /// What is wrong with the sums of a footer; nil when nothing is.
    package func violation(of footer: SnapshotFooter) -> SnapshotViolation? {
      if entries != footer.entries || dataBytes != footer.dataBytes { return .footerNumbers }
      return digests.indices.first { digests[$0] != footer.digests[$0] }.map { .digest(stripe: $0) }
    }
  }
}

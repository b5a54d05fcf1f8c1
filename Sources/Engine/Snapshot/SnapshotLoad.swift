import Synchronization
import WAL

/// Reads a snapshot into an index, on every core.
package enum SnapshotLoad {
  /// - Parameters:
  ///   - index: an empty one.
  ///   - threads: how many.
  ///   - progress: is told how many blocks are read.
  /// - Throws: `invalidFile` when the snapshot is damaged, `cancelled`; what is in the index then is of
  ///   no use.
  package static func run(
    _ snapshot: SnapshotFile, into index: Index, threads: Int, progress: StartProgress? = nil
  ) throws(WALError) {
    guard !snapshot.header.isLeaderless else {
      throw .setting("\(snapshot.path) is the snapshot of a leaderless shard")
    }
    let state = LoadState(progress)
    let blocks = snapshot.footer.blocks.count
    progress?.begin(.snapshot, total: UInt64(blocks))
    index.reserve(expectedKeys(of: snapshot, in: index))
    let parts = max(1, min(threads, blocks))
    // A thread has a stretch of its own, and so, but for the borders, stripes of its own.
    let handles = (1..<max(parts, 1)).map { part in
      ThreadHandle {
        load(snapshot, blocks * part / parts..<blocks * (part + 1) / parts, into: index, state)
      }
    }
    load(snapshot, 0..<blocks / parts, into: index, state)
    for handle in handles { handle.join() }
    if let error = state.error { throw error }
    for (stripe, item) in state.expiring { index.queue(item, stripe: stripe) }
    let digests = index.digests()
    let sum = index.digest()
    guard sum == snapshot.footer.digest, UInt64(index.count) == snapshot.footer.entries else {
      let stripe = digests.indices.first { digests[$0] != snapshot.footer.digests[$0] } ?? 0
      throw .invalidFile(
        path: snapshot.path, offset: 0, reason: "\(SnapshotViolation.digest(stripe: stripe))")
    }
  }

  /// How many keys of each stripe there are, about: a block knows where it begins, and its entries are
  /// taken to be spread evenly up to where the next one begins.
  private static func expectedKeys(of snapshot: SnapshotFile, in index: Index) -> [Int] {
    var keys = [Int](repeating: 0, count: Index.stripeCount)
    let blocks = snapshot.footer.blocks
    for (number, block) in blocks.enumerated() {
      let first = index.stripeNumber(KeyHash(shard: block.firstOrder.shardHash, slot: 0))
      let next =
        number + 1 < blocks.count
        ? index.stripeNumber(KeyHash(shard: blocks[number + 1].firstOrder.shardHash, slot: 0))
        : first
      guard next > first else {
        keys[first] += Int(block.entries)
        continue
      }
      for stripe in first...next { keys[stripe] += Int(block.entries) / (next - first + 1) }
    }
    // Rather too few: a table that is too large stays so.
    return keys.map { $0 / 4 * 3 }
  }

  private final class LoadState: Sendable {
    private let first = Mutex<WALError?>(nil)
    private let stops = Atomic(false)
    private let found = Mutex<[(stripe: Int, item: ExpiryQueue.Item)]>([])
    let progress: StartProgress?

    init(_ progress: StartProgress?) { self.progress = progress }

    var error: WALError? { first.withLock { $0 } }
    var isFailed: Bool { stops.load(ordering: .relaxed) }

    /// What has an expiry.
    var expiring: [(stripe: Int, item: ExpiryQueue.Item)] { found.withLock { $0 } }

    func add(_ expiring: [(stripe: Int, item: ExpiryQueue.Item)]) {
      if !expiring.isEmpty { found.withLock { $0 += expiring } }
    }

    func fail(_ error: WALError) {
      first.withLock { if $0 == nil { $0 = error } }
      stops.store(true, ordering: .relaxed)
    }
  }

  private struct Found {
    var entry: SnapshotEntry
    var hash: KeyHash
    var stripe: Int
  }

  /// Puts a block's entries into their stripes. Those of one stripe stand together and share a lock.
  private static func fill(_ index: Index, _ found: [Found], _ bytes: UnsafeRawBufferPointer) {
    var start = 0
    while start < found.count {
      var end = start + 1
      while end < found.count, found[end].stripe == found[start].stripe { end += 1 }
      index.fill(
        stripe: found[start].stripe,
        found[start..<end].lazy.map { one in
          let record = one.entry.record
          return Index.Filling(
            key: UnsafeRawBufferPointer(rebasing: bytes[record.key]),
            value: UnsafeRawBufferPointer(rebasing: bytes[record.value]), hash: one.hash,
            version: one.entry.version, expiry: record.metadata.expiryMilliseconds)
        })
      start = end
    }
  }

  private static func load(
    _ snapshot: SnapshotFile, _ range: Range<Int>, into index: Index, _ state: LoadState
  ) {
    let isOwn = snapshot.header.hash == index.hasher.kind
    var blocks = SnapshotBlocks(snapshot)
    var found: [Found] = []
    var expiring: [(stripe: Int, item: ExpiryQueue.Item)] = []
    defer { state.add(expiring) }
    do {
      for number in range where !state.isFailed {
        try state.progress?.check()
        try blocks.load(number)
        found.removeAll(keepingCapacity: true)
        while let entry = try blocks.next() {
          let key = UnsafeRawBufferPointer(rebasing: blocks.bytes[entry.record.key])
          let hash =
            isOwn ? index.hasher(key, shard: entry.order.shardHash) : index.hasher(key)
          found.append(Found(entry: entry, hash: hash, stripe: index.stripeNumber(hash)))
        }
        fill(index, found, blocks.bytes)
        for one in found {
          guard let expiry = one.entry.record.metadata.expiryMilliseconds else { continue }
          let item = ExpiryQueue.Item(
            expiry: expiry, version: one.entry.version, slotHash: one.hash.slot)
          expiring.append((one.stripe, item))
        }
        state.progress?.add(1)
      }
    } catch {
      state.fail(error)
    }
  }
}

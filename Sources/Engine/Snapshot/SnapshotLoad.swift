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
    let state = LoadState(progress)
    let blocks = snapshot.footer.blocks.count
    progress?.begin(.snapshot, total: UInt64(blocks))
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

  private static func load(
    _ snapshot: SnapshotFile, _ range: Range<Int>, into index: Index, _ state: LoadState
  ) {
    var blocks = SnapshotBlocks(snapshot)
    var expiring: [(stripe: Int, item: ExpiryQueue.Item)] = []
    defer { state.add(expiring) }
    do {
      for number in range where !state.isFailed {
        try state.progress?.check()
        try blocks.load(number)
        while let entry = try blocks.next() {
          let bytes = blocks.bytes
          let key = UnsafeRawBufferPointer(rebasing: bytes[entry.record.key])
          let hash = index.hasher(key)
          let expiry = entry.record.metadata.expiryMilliseconds
          _ = index.load(
            key, UnsafeRawBufferPointer(rebasing: bytes[entry.record.value]), hash,
            version: entry.version, expiry: expiry)
          if let expiry {
            expiring.append(
              (
                index.stripeNumber(hash),
                ExpiryQueue.Item(expiry: expiry, version: entry.version, slotHash: hash.slot)
              ))
          }
        }
        state.progress?.add(1)
      }
    } catch {
      state.fail(error)
    }
  }
}

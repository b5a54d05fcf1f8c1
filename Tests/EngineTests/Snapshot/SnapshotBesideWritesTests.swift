import Engine
import Glibc
import SimulatedDisk
import Synchronization
import TemporaryFiles
import Testing
import WAL

@Suite("A snapshot that is made beside writes")
struct SnapshotBesideWritesTests {
  private final class Answer: Sendable {
    let result = Monitor<Result<SnapshotInfo, WALError>?>(nil)
  }

  private func snapshot(_ store: Store) throws -> SnapshotInfo {
    let answer = Answer()
    store.snapshots.request { result in answer.result.signal { $0 = result } }
    return try answer.result.wait { $0 }.get()
  }

  private func describe(_ found: Found?) -> String {
    found.map { "version \($0.version), expiry \($0.expiry ?? 0)" } ?? "absent"
  }

  private func options(_ directory: TemporaryDirectory) -> StoreOptions {
    var options = StoreOptions(dataDirectory: directory.path + "/data", node: 7)
    options.segmentBytes = 16_384
    options.syncPolicy = .none
    options.snapshotBytesPerSecond = nil
    options.snapshotLogBytes = 1 << 40
    return options
  }

  /// Turns a bit in the middle of the oldest segment that no snapshot covers.
  private func damage(_ store: Store) throws -> Bool {
    let covered = store.snapshots.newest?.sequence ?? 0
    let files = try store.logFiles().filter { $0.firstSequence > covered }
    guard files.count > 2 else { return false }
    let file = try SystemFileSystem().open(files[0].path, .readWrite)
    let byte = try file.bytes(at: 1_000, count: 1)
    try file.writeAll([byte[0] ^ 1], at: 1_000)
    return true
  }

  @Test(
    "is exact, from the log and, where that is damaged, from memory: with the log behind it all is there",
    arguments: [false, true])
  func exact(isDamaged: Bool) throws {
    let directory = TemporaryDirectory()
    let options = options(directory)
    let observer = SnapshotNode.Observer()
    let store = try Store.open(options, snapshotObserver: observer)
    let isOver = Atomic(false)
    let writers = (0..<2 as Range<UInt64>).map { seed in
      ThreadHandle {
        var random = SeededRandom(seed: seed)
        let client = StoreClient()
        while !isOver.load(ordering: .relaxed) {
          client.submit(to: store) { submission in
            for _ in 0..<20 {
              let key = "key-\(random.below(3_000))"
              switch random.below(6) {
              case 0: submission.delete(key, store.index)
              case 1:
                submission.batch([(key, "a"), (key + "b", "b"), (key, nil)])
              case 2:
                let soon = store.nowMilliseconds + UInt64(random.below(40))
                submission.put(key, "short", store.index, expiry: soon)
              default: submission.put(utf8(key), random.bytes(60), store.index)
              }
            }
            if random.once(in: 400) {
              submission.purge(
                keeping: ShardRange(hash: 1, index: UInt32(random.below(2)), count: 2), token: 99)
            }
          }
        }
      }
    }
    var fromIndex = 0
    while fromIndex < 5 {
      if isDamaged {
        guard try damage(store) else { continue }
      }
      let made = observer.reports.withLock { $0.count }
      _ = try snapshot(store)
      let reports = observer.reports.withLock { $0 }
      guard reports.count > made else { continue }
      // Damage to a record that was overwritten since is not even met.
      guard reports[made...].contains(where: \.isFromIndex) == isDamaged else { continue }
      fromIndex += 1
    }
    isOver.store(true, ordering: .relaxed)
    for writer in writers { writer.join() }
    #expect(observer.errors.withLock { $0 } == [])
    #expect(observer.moved.withLock { $0.isEmpty } == !isDamaged)
    let newest = try #require(store.snapshots.newest)
    try store.close()
    let expected = store.index.contents()
    // From it and what was written behind it.
    let again = try Store.open(options)
    #expect(again.report.snapshot?.info == newest && again.report.digestMismatches == [])
    // Time goes on, and keys with it: those count that have not expired at the last look.
    let all = again.index.contents()
    let frameTime = again.index.frameTime
    let isLeft = { (entry: (key: [UInt8], value: Found)) in
      entry.value.expiry.map { $0 > frameTime } ?? true
    }
    let left = expected.filter(isLeft)
    let found = all.filter(isLeft)
    let differences = Set(left.keys).union(found.keys).filter { left[$0] != found[$0] }
    for key in differences.prefix(3) {
      Issue.record(
        "\(String(decoding: key, as: UTF8.self)): \(describe(found[key])), not \(describe(left[key])); the snapshot is up to \(newest.sequence), the time \(frameTime)"
      )
    }
    #expect(differences.isEmpty, "\(differences.count) of \(left.count)")
    try again.close()
  }
}

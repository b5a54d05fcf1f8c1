import Engine
import Sharding
import SimulatedDisk
import WAL

/// A random history of writes of all kinds, over many small segments, by a clock that leaps.
final class SnapshotHistory {
  let fixture: CommitterFixture
  var random: SeededRandom
  private let keys: [[UInt8]]
  private var epochNumber: UInt64 = 1

  var log: LogWriter { fixture.log }
  var disk: SimulatedDisk { fixture.disk }

  init(seed: UInt64) throws {
    random = SeededRandom(seed: seed)
    let disk = SimulatedDisk(
      seed: seed, directories: ["/data", "/data/snapshots", "/other", "/other/snapshots"])
    fixture = try CommitterFixture(disk, segmentBytes: 4_096)
    keys =
      (0..<25).map { utf8("key-\($0)") } + SnapshotFixture.colliding(4)
      + SnapshotFixture.colliding(3, behind: [9])
  }

  func step() throws {
    moveTime()
    switch random.below(25) {
    case 0: try log.seal()
    case 1:
      epochNumber += 1 + UInt64(random.below(2))
      try log.startEpoch(Epoch(number: epochNumber, node: random.next()), reason: .promoted)
    case 2:
      let submission = fixture.submission()
      let count = UInt32(2 + random.below(2))
      submission.purge(
        keeping: ShardRange(
          hash: UInt32(1 + random.below(2)), index: UInt32(random.below(Int(count))),
          count: count), token: 0)
      fixture.commit([submission])
    default:
      fixture.commit((0...random.below(2)).map { _ in writes() })
    }
    _ = fixture.work.tick()
  }

  private func moveTime() {
    switch random.below(12) {
    case 0: fixture.clock.wallMilliseconds -= UInt64(random.below(3_000))
    case 1: fixture.clock.wallMilliseconds += UInt64(random.below(3_000))
    case 2: fixture.clock.advance(milliseconds: 2_000)
    default: fixture.clock.advance(milliseconds: UInt64(random.below(150)))
    }
  }

  private func writes() -> Submission {
    let submission = fixture.submission()
    for _ in 0...random.below(5) {
      // One of them is written again and again.
      let key = random.once(in: 4) ? keys[0] : keys[random.below(keys.count)]
      let condition: WriteCondition =
        switch random.below(6) {
        case 0: .isNew
        case 1: .exists
        default: .always
        }
      switch random.below(8) {
      case 0, 1: submission.delete(key, fixture.index, condition)
      case 2:
        submission.beginBatch()
        for _ in 0...random.below(5) {
          keys[random.below(keys.count)].withUnsafeBytes { key in
            if random.once(in: 3) { return submission.addDelete(key) }
            value().withUnsafeBytes { submission.addPut(key, $0, expiry: expiry()) }
          }
        }
        submission.endBatch(token: UInt(submission.requests.count))
      default: submission.put(key, value(), fixture.index, condition, expiry: expiry())
      }
    }
    return submission
  }

  private func value() -> [UInt8] { random.bytes(random.once(in: 20) ? 3_000 : random.below(40)) }

  private func expiry() -> UInt64? {
    guard random.once(in: 3) else { return nil }
    return UInt64(Int(fixture.clock.wallMilliseconds) + random.below(4_000) - 200)
  }

  // MARK: - Snapshots of it

  func place(
    _ directory: String = "/data", shardCount: UInt32 = 1, runItemsMax: Int = 1 << 20
  ) -> SnapshotMerge.Place {
    var snapshots = SnapshotDirectory(directory, fileSystem: disk)
    snapshots.runItemsMax = runItemsMax
    return SnapshotMerge.Place(
      directory: snapshots, hash: .fnv1, shardCount: shardCount, clock: fixture.clock.clock)
  }

  /// All that is in the log now, in segments that do not change any more.
  func input(after previous: SnapshotFile? = nil, through: UInt64? = nil) throws
    -> SnapshotMerge.Input
  {
    try log.seal()
    let files = log.segmentFiles
    return SnapshotMerge.Input(
      previous: previous, segments: Array(files.dropLast()), next: files.last, through: through)
  }

  func plain(through: UInt64 = .max) throws -> PlainLog {
    try PlainLog(log.segmentFiles, fileSystem: disk, through: through)
  }
}

import Engine
import SimulatedDisk
import Synchronization
import Testing
import WAL

@Suite("A running node's damaged files")
struct SealedRepairTests {
  /// A node that runs, with a snapshot and segments behind it, and its twin.
  private func running() throws -> (SnapshotNode, TwinLog.Twin, SnapshotInfo) {
    let node = SnapshotNode(SimulatedDisk(seed: 4), snapshotLogBytes: 1 << 30)
    try node.start()
    node.write(12, stepEach: 100)
    let info = try node.snapshot()
    node.write(18, stepEach: 100)
    return (node, TwinLog.Twin(TwinLog.copy(node.disk), node.store!.origin), info)
  }

  private func flip(_ disk: SimulatedDisk, _ path: String, _ offset: Int) {
    var bytes = disk.contents(path)!
    bytes[offset] ^= 0x10
    disk.put(path, bytes)
  }

  private func repair(_ node: SnapshotNode) throws -> RepairReport {
    let answer = Answer()
    node.store!.snapshots.requestRepair { result in answer.result.withLock { $0 = result } }
    node.store!.step()
    return try answer.result.withLock { $0! }.get()
  }

  private final class Answer: Sendable {
    let result = Mutex<Result<RepairReport, WALError>?>(nil)
  }

  /// Expects the twin's frames in the node's log, which may have more, and have given up its oldest.
  private func expectSame(_ node: SnapshotNode, _ twin: TwinLog.Twin) throws {
    let frames = try twin.all()
    let found = try TwinLog.Twin(node.disk, node.store!.origin).all()
    let oldest = try #require(found.first)
    let first = try #require(frames.firstIndex(of: oldest))
    #expect(found.starts(with: frames[first...]))
  }

  @Test("are healed wherever a sealed segment is damaged, and the node goes on", arguments: 0..<8)
  func onDemand(round: Int) throws {
    let (node, twin, _) = try running()
    node.store!.snapshots.setSources { [twin] }
    #expect(try repair(node).wasWhole)
    let paths = try TwinLog.segments(node.disk).map(\.path)
    try #require(paths.count > 5)
    var random = SeededRandom(seed: UInt64(round))
    for _ in 0...random.below(4) {
      let path = paths[random.below(paths.count - 1)]
      if node.disk.contents(path) != nil, random.once(in: 4) {
        node.disk.delete(path)
      } else if node.disk.contents(path) != nil {
        flip(node.disk, path, random.below(3_000))
      }
    }
    node.write(3, stepEach: 100)
    let report = try repair(node)
    #expect(report.unhealed.isEmpty && report.left.isEmpty && report.quarantined.isEmpty)
    #expect(try repair(node).wasWhole)
    #expect(node.observer.errors.withLock { $0 } == [] && node.observer.moved.withLock { $0 } == [])
    try expectSame(node, twin)
    node.write(10)
    let info = try node.snapshot()
    #expect(info.keys == UInt64(node.store!.index.count))
    node.kill()
    try node.start()
    node.expectAll("round \(round)")
    #expect(node.store!.report.log.covered.isEmpty)
  }

  @Test("are healed behind a start, and before a snapshot is made of them")
  func byItself() throws {
    let (node, twin, info) = try running()
    let segments = try TwinLog.segments(node.disk)
    let covered = segments[1]
    try #require(covered.firstSequence! < info.sequence)
    node.kill()
    flip(node.disk, covered.path, 300)
    try node.start()
    node.store!.snapshots.setSources { [twin] }
    node.store!.step()
    try expectSame(node, twin)
    #expect(node.observer.moved.withLock { $0 } == [])
    // Behind the snapshot.
    let needed = segments.filter { $0.firstSequence! > info.sequence }[1]
    flip(node.disk, needed.path, 300)
    try node.snapshot()
    try expectSame(node, twin)
    let report = try #require(node.observer.reports.withLock { $0.last })
    #expect(!report.isFromIndex && node.observer.moved.withLock { $0 } == [])
    node.kill()
    try node.start()
    node.expectAll("later")
  }

  @Test("are put away behind a snapshot from memory where nobody has what is missing")
  func nobody() throws {
    let (node, _, info) = try running()
    let needed = try TwinLog.segments(node.disk).filter { $0.firstSequence! > info.sequence }[1]
    flip(node.disk, needed.path, 300)
    let report = try repair(node)
    #expect(report.left.count == 1 && report.left[0].damage.path == needed.path)
    #expect((report.snapshot?.sequence ?? 0) > info.sequence)
    #expect(try repair(node).wasWhole)
    node.write(5)
    node.kill()
    try node.start()
    node.expectAll("later")
  }

  @Test("are replaced by a new one where a snapshot is damaged", arguments: [true, false])
  func snapshot(isGone: Bool) throws {
    let (node, twin, info) = try running()
    node.store!.snapshots.setSources { [twin] }
    if isGone { node.disk.delete(info.path) } else { flip(node.disk, info.path, 150) }
    let report = try repair(node)
    #expect(report.quarantined.count == 1 && report.snapshot != nil)
    #expect(try repair(node).wasWhole)
    node.write(5)
    node.kill()
    try node.start()
    node.expectAll("later")
    #expect(node.store!.report.badSnapshots.isEmpty && node.store!.report.snapshot != nil)
  }

  @Test("when it is stopped: a snapshot is put away where the rest serves, or another's taken")
  func stopped() throws {
    let (node, _, _) = try running()
    let later = try node.snapshot()
    node.write(6, stepEach: 100)
    // The log behind the older one is kept, and no more.
    node.kill()
    let twin = TwinLog.copy(node.disk)
    let origin = TwinLog.Twin(twin, 99)
    let names = node.snapshotFiles
    try #require(names.count == 2 && names[1] == later.path)
    let first = try TwinLog.segments(node.disk)[0].firstSequence!
    let one = node.copy { flip($0, names[1], 150) }
    let report = try DirectoryRepair("/data", isCopy: false, fileSystem: one.disk).run([origin])
    #expect(report.isWhole && report.quarantined.count == 1 && report.healed.isEmpty)
    try one.start()
    one.expectAll("the older one")
    #expect(one.store!.report.badSnapshots.isEmpty)

    let both = node.copy { disk in for name in names { flip(disk, name, 150) } }
    let repair = try DirectoryRepair("/data", isCopy: false, fileSystem: both.disk)
    let refused = try repair.run([origin])
    guard first > 1 else {
      #expect(refused.isWhole)
      return
    }
    #expect(!refused.isWhole && refused.badSnapshots.count == 2 && refused.quarantined.isEmpty)
    both.disk.put("/data/fetched", twin.contents(names[1])!)
    #expect(try repair.adopt("/data/fetched", refused) == nil)
    let healed = try repair.run([])
    #expect(healed.isWhole && healed.quarantined.count == 1)
    both.disk.restartProcess()
    try both.start()
    both.expectAll("another's")
  }
}

import Engine
import Glibc
import SimulatedDisk
import Testing
import WAL

@Suite("A crash at every call of a node that makes snapshots")
struct SnapshotCrashTests {
  /// Writes, snapshots that are due and that are asked for, retirement, a stop, and all of it again.
  private func live(_ node: SnapshotNode) throws(WALError) {
    for life in 0..<2 {
      try node.start()
      node.write(14)
      try node.snapshot()
      node.write(14, stepEach: 6)
      if life == 0 { try node.stop() }
    }
  }

  private func crash(_ node: SnapshotNode, _ seed: UInt64) {
    node.kill()
    if seed % 3 != 0 { node.disk.losePower() }
  }

  private func expectWhole(_ node: SnapshotNode, _ moment: String) throws {
    try node.start()
    node.expectAll(moment)
    node.settle()
    node.store!.step()
    #expect(node.snapshotFiles.count <= 2, "\(moment)")
    #expect(node.store!.report.badSnapshots.isEmpty, "\(moment)")
    node.write(3)
    try node.stop()
    try node.start()
    node.expectAll("\(moment), and again")
    try node.stop()
  }

  /// How many calls the life of a node has.
  private func callCount() throws -> Int {
    let node = SnapshotNode(SimulatedDisk(seed: 1), snapshotLogBytes: 4_096)
    try live(node)
    #expect(node.observer.reports.withLock { $0.count } >= 3)
    #expect(node.observer.errors.withLock { $0 } == [])
    let log = node.disk.paths.filter { $0.hasSuffix(".wal") }
    #expect(node.snapshotFiles.count == 2 && log.count < 12, "the log is not shortened: \(log)")
    let calls = node.disk.calls
    node.kill()
    return calls
  }

  @Test("loses nothing acknowledged, and never keeps it from starting")
  func death() throws {
    let count = try callCount()
    for call in 1...count {
      let seed = UInt64(call)
      let node = SnapshotNode(SimulatedDisk(seed: seed), snapshotLogBytes: 4_096)
      node.disk.fault = { _, _ in node.disk.calls >= call ? .die : nil }
      do { try live(node) } catch { #expect(node.disk.isDead, "call \(call): \(error)") }
      crash(node, seed)
      try expectWhole(node, "call \(call)")
    }
  }

  @Test(
    "that fails once, for lack of space or for no reason, loses nothing", arguments: [EIO, ENOSPC])
  func failure(code: Int32) throws {
    let count = try callCount()
    for call in 1...count {
      let node = SnapshotNode(SimulatedDisk(seed: UInt64(call)), snapshotLogBytes: 4_096)
      node.disk.fault = { _, _ in node.disk.calls == call ? .fail(code) : nil }
      // It ends at what it is told; what it is not told does no harm.
      do { try live(node) } catch {}
      crash(node, UInt64(call))
      try expectWhole(node, "call \(call)")
    }
  }

  @Test("of its start is recovered from, again and again")
  func start() throws {
    let whole = try callCount()
    for part in [3, 6, 8] {
      var call = 1
      var wasInterrupted = true
      while wasInterrupted {
        wasInterrupted = false
        let node = SnapshotNode(SimulatedDisk(seed: UInt64(part)), snapshotLogBytes: 4_096)
        let death = whole * part / 10
        node.disk.fault = { _, _ in node.disk.calls >= death ? .die : nil }
        do { try live(node) } catch {}
        crash(node, UInt64(part))
        for round in 0..<2 {
          let target = node.disk.calls + call + round
          node.disk.fault = { _, _ in node.disk.calls >= target ? .die : nil }
          do {
            try node.start()
            node.store!.step()
          } catch { #expect(node.disk.isDead, "\(error)") }
          if node.disk.isDead { wasInterrupted = true }
          crash(node, UInt64(call + round))
        }
        try expectWhole(node, "call \(call) of a start after \(part) tenths")
        call += 1
      }
      #expect(call > 20)
    }
  }

  @Test("finds room again when the disk was full, and the log is short then")
  func fullDisk() throws {
    let disk = SimulatedDisk(seed: 1)
    let node = SnapshotNode(disk)
    try node.start()
    node.write(40)
    disk.capacityBytes = disk.usedBytes + 500
    node.write(40)
    #expect(node.observer.errors.withLock { !$0.isEmpty })
    disk.capacityBytes = nil
    node.write(20)
    try node.snapshot()
    node.expectAll("after a full disk")
    #expect(node.store!.snapshots.lastError == nil)
    crash(node, 1)
    try expectWhole(node, "after a full disk")
  }
}

import Engine
import SimulatedDisk
import Testing
import WAL

@Suite("Making a snapshot of many segments")
struct SnapshotDescriptorTests {
  @Test("has a bounded number of files open, and is of all of them", arguments: [true, false])
  func openFiles(haveSidecars: Bool) throws {
    let node = SnapshotNode(SimulatedDisk(seed: 1), snapshotLogBytes: 1 << 30)
    try node.start()
    node.write(1_500, stepEach: haveSidecars ? 100 : .max)
    let segments = try SegmentFile.list("/data/wal", in: node.disk)
    try #require(segments.count > 200)
    let before = node.disk.openFiles
    node.disk.openFilesMost = before
    let info = try node.snapshot()
    #expect(node.disk.openFilesMost <= before + 80)
    #expect(node.observer.reports.withLock { $0.last?.isFromIndex } == false)
    let index = Index()
    try SnapshotLoad.run(
      try SnapshotFile(info.path, fileSystem: node.disk), into: index, threads: 1)
    #expect(index.contents() == node.store!.index.contents())
    node.kill()
    try node.start()
    node.expectAll("later")
  }
}

import Engine
import Sharding
import SimulatedDisk
import WAL

/// One run. The first byte chooses what the rest is: a snapshot or a sidecar, as it is or with its
/// checksums made right, or a snapshot's entries; a snapshot is also split. None of that may trap, or be
/// read outside of its bytes; what is taken for whole can be read to its end, and is in order; children
/// of a split are together what was split.

func fuzz(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  let input = Array(UnsafeBufferPointer(start: start, count: count))
  guard let mode = input.first else { return 0 }
  let bytes = Array(input.dropFirst())
  switch mode % 7 {
  case 0: fuzzSnapshot(bytes)
  case 1: fuzzSnapshot(SnapshotRepair.repaired(bytes))
  case 2: fuzzSidecar(bytes)
  case 3: fuzzSidecar(SnapshotRepair.repairedSidecar(bytes))
  case 5: fuzzSplit(SnapshotRepair.repaired(bytes), by: 2)
  case 6: fuzzSplit(SnapshotRepair.repaired(bytes), by: 3)
  default: fuzzSnapshot(SnapshotRepair.snapshot(ofBlock: bytes))
  }
  return 0
}

private let path = "/data/snapshots/00000000000000000009.snap"
private let sidecarPath = "/data/snapshots/00000000000000000001.sidecar"

private func disk() -> SimulatedDisk {
  SimulatedDisk(seed: 1, directories: ["/data", "/data/wal", "/data/snapshots"])
}

private func fuzzSnapshot(_ bytes: [UInt8]) {
  let disk = disk()
  disk.put(path, bytes)
  do {
    let file = try SnapshotFile(path, fileSystem: disk)
    precondition(file.bytes == UInt64(bytes.count))
    var blocks = SnapshotBlocks(file)
    for number in file.footer.blocks.indices {
      // A block may say that it becomes 16 MiB, of which nothing need be true.
      try blocks.load(number)
      var last: KeyOrder?
      while let entry = try blocks.next() {
        precondition(entry.record.end == entry.bytes.upperBound)
        precondition(entry.bytes.upperBound <= blocks.bytes.count)
        precondition(last.map { $0 <= entry.order } ?? true)
        last = entry.order
      }
    }
    let index = Index(hash: file.header.hash, shardCount: file.header.shardCount)
    try SnapshotLoad.run(file, into: index, threads: 1)
    precondition(UInt64(index.count) == file.footer.entries)
  } catch {}
}

private func fuzzSplit(_ bytes: [UInt8], by multiple: UInt32) {
  let disk = disk()
  disk.put(path, bytes)
  do {
    let header = try SnapshotFile(path, fileSystem: disk).header
    guard header.shardCount <= 1 << 20 else { return }
    disk.delete(path)
    disk.put(SnapshotDirectory("/data").path(of: header.sequence), bytes)
    var options = Splitter.Options(node: 1)
    options.fileSystem = disk
    options.threads = 1
    let count = header.shardCount * multiple
    let report = try Splitter.run("/data", into: count, out: "/out", options: options)
    let rule = SplitRule(
      parent: report.parent, count: count, frameTimeMilliseconds: header.frameTimeMilliseconds)
    for (number, child) in report.children.enumerated() {
      let file = try SnapshotFile(child.snapshot.path, fileSystem: disk)
      do {
        try SnapshotCheck.run(file, pace: Pace())
      } catch { preconditionFailure("a child that is not whole: \(error)") }
      var blocks = SnapshotBlocks(file)
      for block in file.footer.blocks.indices {
        try blocks.load(block)
        while let entry = try blocks.next() { precondition(rule.child(of: entry.order) == number) }
      }
    }
  } catch {}
}

private func fuzzSidecar(_ bytes: [UInt8]) {
  let disk = disk()
  disk.put(sidecarPath, bytes)
  // What the items point to: anything.
  let segment = SegmentFile(
    path: "/data/wal/00000000000000000001.wal", firstSequence: 1)
  disk.put(segment.path, bytes + bytes)
  let directory = SnapshotDirectory("/data", fileSystem: disk)
  do {
    guard let sidecar = try directory.sidecar(of: segment, hash: .fnv1) else { return }
    var buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 16, alignment: 8)
    defer { buffer.deallocate() }
    for run in sidecar.runs {
      var cursor = SidecarCursor(sidecar, run)
      while let item = try cursor.next() { _ = try? sidecar.read(item, into: &buffer) }
    }
  } catch {}
}

import Engine
import SimulatedDisk
import TemporaryFiles
import Testing
import WAL

@Suite("The progress of a start")
struct StartProgressTests {
  private func options(_ disk: SimulatedDisk) -> StoreOptions {
    var options = StoreOptions(dataDirectory: "/data", node: 7)
    options.fileSystem = disk
    options.usesThreads = false
    options.segmentBytes = 64 << 10
    return options
  }

  private func fill(_ store: Store) {
    let client = StoreClient()
    let value = String(repeating: "v", count: 10_000)
    for number in 0..<100 { client.put("key-\(number)", value, in: store) }
  }

  @Test("grows from nothing to all bytes of the log")
  func grows() throws {
    let disk = SimulatedDisk(seed: 1)
    var options = options(disk)
    let first = try Store.open(options)
    fill(first)
    try first.close()
    let bytes = try first.logFiles().reduce(0) { $0 + $1.bytes }
    let progress = StartProgress()
    options.progress = progress
    var seen: [UInt64] = []
    disk.fault = { _, _ in
      let now = progress.now
      if now.phase == .log {
        #expect(now.total == bytes)
        if seen.last != now.done { seen.append(now.done) }
      }
      return nil
    }
    let second = try Store.open(options)
    disk.fault = { _, _ in nil }
    #expect(progress.now.phase == .finishing)
    #expect(seen.first == 0 && seen == seen.sorted() && seen.count > 10)
    #expect(try #require(seen.last) > bytes * 8 / 10)
    #expect(second.index.digest() == first.index.digest())
    try second.close()
  }

  @Test("can be called off in the log, and the next start has everything")
  func cancelledInLog() throws {
    let disk = SimulatedDisk(seed: 2)
    var options = options(disk)
    let first = try Store.open(options)
    fill(first)
    try first.close()
    let progress = StartProgress()
    options.progress = progress
    disk.fault = { _, _ in
      if progress.now.done > 100_000 { progress.cancel() }
      return nil
    }
    #expect(throws: WALError.cancelled) { try Store.open(options) }
    #expect(progress.now.phase == .log && progress.now.done < progress.now.total)
    disk.fault = { _, _ in nil }
    options.progress = nil
    let again = try Store.open(options)
    #expect(again.report.log.wasClean && again.index.digest() == first.index.digest())
    try again.close()
  }

  @Test("can be called off in the snapshot, and the next start has everything")
  func cancelledInSnapshot() throws {
    let directory = TemporaryDirectory()
    var options = StoreOptions(dataDirectory: directory.path + "/data", node: 7)
    options.segmentBytes = 64 << 10
    let first = try Store.open(options)
    fill(first)
    let made = Monitor<Bool?>(nil)
    first.snapshots.request { result in
      made.signal { if case .success = result { $0 = true } else { $0 = false } }
    }
    #expect(made.wait { $0 })
    try first.close()
    let progress = StartProgress()
    progress.cancel()
    options.progress = progress
    #expect(throws: WALError.cancelled) { try Store.open(options) }
    #expect(progress.now.phase == .snapshot && progress.now.total > 0 && progress.now.done == 0)
    let whole = StartProgress()
    options.progress = whole
    let again = try Store.open(options)
    #expect(whole.now.phase == .finishing && again.report.snapshot?.info.keys == 100)
    #expect(again.report.log.wasClean && again.index.digest() == first.index.digest())
    try again.close()
  }
}

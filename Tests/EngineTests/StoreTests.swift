import Engine
import Glibc
import Sharding
import SimulatedDisk
import Synchronization
import TemporaryFiles
import Testing
import WAL

@Suite("A store")
struct StoreTests {
  private func options(_ directory: TemporaryDirectory) -> StoreOptions {
    var options = StoreOptions(dataDirectory: directory.path + "/data", node: 7)
    options.segmentBytes = 1 << 20
    return options
  }

  @Test("is as it was when it is opened again", arguments: [.always, .none] as [SyncPolicy])
  func reopened(policy: SyncPolicy) throws {
    let directory = TemporaryDirectory()
    var options = options(directory)
    options.syncPolicy = policy
    let client = StoreClient()
    let first = try Store.open(options)
    #expect(first.report.log.isNew && first.epochs.all.count == 1)
    for number in 0..<100 {
      #expect(client.put("key-\(number)", "value-\(number)", in: first).outcome == .created)
    }
    #expect(client.delete("key-7", in: first).outcome == .deleted)
    #expect(client.delete("key-7", in: first).outcome == .absent)
    #expect(client.put("key-8", "again", in: first).version == 103)
    let contents = first.index.contents()
    let digest = first.index.digest()
    try first.close()
    #expect(client.put("late", "", in: first).outcome == .stopped)
    // The first one is still referenced; what it held is free.
    let second = try Store.open(options)
    #expect(second.report.log.wasClean && !second.report.log.isNew)
    #expect(second.report.digestMismatches == [] && second.index.digest() == digest)
    #expect(second.index.contents() == contents && second.value("key-8") == "again")
    #expect(second.value("key-7") == nil && second.epochs.all == first.epochs.all)
    #expect(second.index.appliedSequence == second.report.log.position.sequence)
    #expect(second.origin == first.origin)
    #expect(try second.logFiles().map(\.firstSequence) == [1])
    try second.close()
    #expect(first.index.count == 99)
  }

  @Test("can be closed twice, by two threads as well")
  func closedTwice() throws {
    let directory = TemporaryDirectory()
    let store = try Store.open(options(directory))
    let other = ThreadHandle {
      do { try store.close() } catch { Issue.record("\(error)") }
    }
    try store.close()
    try Store.open(options(directory)).close()
    other.join()
    try store.close()
  }

  @Test("that is dropped without being closed ends its thread, and then gives the directory up")
  func dropped() throws {
    let directory = TemporaryDirectory()
    let client = StoreClient()
    for round in 0..<20 {
      let store = try Store.open(options(directory))
      #expect(store.report.log.isNew || store.report.log.wasClean)
      #expect(client.put("key", "\(round)", in: store).version > 0)
    }
    let store = try Store.open(options(directory))
    #expect(store.report.log.wasClean && store.value("key") == "19")
    try store.close()
  }

  @Test("is not kept by its thread's hold on the observer")
  func observerKeepsStore() throws {
    final class Owner: CommitterObserver {
      let store = Mutex<Store?>(nil)
      func committed(_ report: CommitReport) {}
      func diskFull(_ reason: WALError?) {}
      func segmentsDelayed(_ reason: WALError?) {}
      func stateDiffers(at sequence: UInt64) {}
      func failed(_ error: WALError) {}
    }
    let directory = TemporaryDirectory()
    weak var dropped: Owner?
    do {
      let owner = Owner()
      let store = try Store.open(options(directory), observer: owner)
      owner.store.withLock { $0 = store }
      dropped = owner
    }
    #expect(dropped == nil)
    try Store.open(options(directory)).close()
  }

  @Test("is refused while another one has the directory, and by a bad setting, and lets go then")
  func refused() throws {
    let directory = TemporaryDirectory()
    let store = try Store.open(options(directory))
    #expect(throws: WALError.self) { try Store.open(options(directory)) }
    try store.close()
    var bad = options(directory)
    bad.segmentBytes = 5
    #expect(throws: WALError.self) { try Store.open(bad) }
    try Store.open(options(directory)).close()
  }

  @Test("makes the name of a new data directory durable before it writes anything there")
  func newDirectory() throws {
    let disk = SimulatedDisk(seed: 1)
    var options = StoreOptions(dataDirectory: "/data/node", node: 7)
    options.fileSystem = disk
    options.usesThreads = false
    options.segmentBytes = 4_096
    options.clock = SimulatedClock().clock
    var calls: [String] = []
    disk.fault = { call, path in
      calls.append("\(call.rawValue) \(path)")
      return nil
    }
    try Store.open(options).close()
    let made = try #require(calls.firstIndex(of: "create directory /data/node"))
    let synced = try #require(calls.firstIndex(of: "sync directory /data/node/.."))
    let log = try #require(calls.firstIndex(of: "create directory /data/node/wal"))
    #expect(made < synced && synced < log)
    calls = []
    try Store.open(options).close()
    #expect(!calls.contains("sync directory /data/node/.."))
  }

  @Test("says which epoch each number is of, after an unclean stop under a relaxed policy as well")
  func epochs() throws {
    let disk = SimulatedDisk(seed: 1)
    var options = StoreOptions(dataDirectory: "/data", node: 7)
    options.fileSystem = disk
    options.usesThreads = false
    options.segmentBytes = 4_096
    options.clock = SimulatedClock().clock
    options.syncPolicy = .none
    let client = StoreClient()
    var expected: [(epoch: Epoch, firstSequence: UInt64)] = []
    for life in 1...4 as ClosedRange<UInt64> {
      let store = try Store.open(options)
      let begin = store.report.log.isNew ? 1 : store.report.log.position.sequence + 1
      expected.append((Epoch(number: life, node: 7), begin))
      #expect(store.epochs.all.map(\.epoch) == expected.map(\.epoch))
      #expect(store.epochs.all.map(\.firstSequence) == expected.map(\.firstSequence))
      #expect(store.index.appliedSequence == store.progress.appended)
      let version = client.put("key", "\(life)", in: store).version
      #expect(version == begin + 1 && store.epochs.epoch(of: version)?.number == life)
      // No power is lost: all that the process wrote is there.
      client.submit(to: store)
      disk.fault = { _, _ in .die }
      #expect(client.put("key", "lost", in: store).outcome == .failed)
      #expect(throws: WALError.self) { try store.close() }
      disk.restartProcess()
    }
    let store = try Store.open(options)
    for (number, start) in expected.enumerated() {
      #expect(store.epochs.epoch(of: start.firstSequence) == start.epoch)
      #expect(store.epochs.epoch(of: start.firstSequence + 1) == start.epoch)
      let before = number == 0 ? nil : expected[number - 1].epoch
      #expect(store.epochs.epoch(of: start.firstSequence - 1) == before)
    }
    try store.close()
  }

  @Test("answers overload by what is in flight, which is nothing once all is back")
  func inFlight() throws {
    let directory = TemporaryDirectory()
    let store = try Store.open(options(directory))
    let client = StoreClient()
    #expect(store.committer.hasRoom(forBytes: Committer.inFlightBytesMax))
    #expect(!store.committer.hasRoom(forBytes: Committer.inFlightBytesMax + 1))
    for number in 0..<10 { client.put("key-\(number)", "value", in: store) }
    #expect(store.committer.inFlightBytes == 0)
    try store.close()
    client.put("late", "value", in: store)
    #expect(store.committer.inFlightBytes == 0)
  }

  @Test("refuses a log with a purge by a hash that it does not know, rather than guess")
  func unknownHash() throws {
    let disk = SimulatedDisk(seed: 1)
    var logOptions = LogOptions(dataDirectory: "/data", node: 7)
    logOptions.fileSystem = disk
    logOptions.usesThreads = false
    logOptions.segmentBytes = 4_096
    let log = try LogRecovery.open(logOptions).writer
    var frame = FrameBuilder()
    let range = ShardRange(hash: 9, index: 0, count: 2).encoded
    frame.append(.purge, key: RawSpan(), value: range.span.bytes)
    try log.commit(&frame)
    disk.restartProcess()
    var options = StoreOptions(dataDirectory: "/data", node: 7)
    options.fileSystem = disk
    options.usesThreads = false
    options.segmentBytes = 4_096
    #expect(throws: WALError.self) { try Store.open(options) }
  }
}

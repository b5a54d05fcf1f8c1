import Engine
import SimulatedDisk
import Synchronization
import Testing
import WAL

@Suite("A snapshot where a failover could take something back") struct SnapshotBoundTests {
  private final class Bound: Sendable {
    let number = Atomic<UInt64>(0)
    var value: UInt64 { number.load(ordering: .relaxed) }
    func set(_ value: UInt64) { number.store(value, ordering: .relaxed) }
  }

  private static func start(_ bound: Bound) throws -> SnapshotNode {
    let node = SnapshotNode(SimulatedDisk(seed: 1))
    try node.start()
    node.store!.snapshots.setBound { bound.value }
    return node
  }

  private static func sequences(_ node: SnapshotNode) -> [UInt64] {
    node.store!.snapshots.snapshots.map(\.sequence)
  }

  @Test("covers nothing that is not confirmed, and is made once it is")
  func bounded() throws {
    let bound = Bound()
    let node = try Self.start(bound)
    node.write(100)
    #expect(Self.sequences(node) == [] && node.snapshotFiles == [])
    #expect(throws: WALError.self) { try node.snapshot() }
    #expect("\(node.observer.errors.withLock { $0.last! })".contains("confirmed it up to 0"))
    bound.set(60)
    node.write(60)
    let found = Self.sequences(node)
    #expect(!found.isEmpty && found.allSatisfy { $0 <= 60 }, "\(found)")
    // What was asked for covers all of it, or fails.
    #expect(throws: WALError.self) { try node.snapshot() }
    #expect(Self.sequences(node).allSatisfy { $0 <= 60 })
    bound.set(.max)
    let all = try node.snapshot()
    #expect(all.sequence >= 160)
    node.expectAll("at the end")
    try node.stop()
  }

  @Test("from memory is bounded as well: where the log is damaged none is made before")
  func fromMemory() throws {
    let bound = Bound()
    let node = try Self.start(bound)
    node.write(30)
    let segment = try #require(
      node.disk.paths.first { $0.hasSuffix("/wal/00000000000000000001.wal") })
    var bytes = try #require(node.disk.contents(segment))
    bytes[400] ^= 1
    node.disk.put(segment, bytes)
    bound.set(20)
    node.write(30)
    #expect(throws: WALError.self) { try node.snapshot() }
    #expect(Self.sequences(node) == [] && node.snapshotFiles == [])
    bound.set(.max)
    let made = try node.snapshot()
    #expect(made.sequence >= 60)
    #expect(node.observer.reports.withLock { $0.last!.isFromIndex })
    node.expectAll("from memory")
    try node.stop()
  }

  @Test("is always below a fork that a failover makes, so that the log can be taken back to it")
  func rewind() throws {
    for fork in [40, 77, 120] as [UInt64] {
      let bound = Bound()
      let node = try Self.start(bound)
      for number in 1...300 {
        node.put("key-\(number % 7)")
        // What is confirmed comes to the fork, and no further.
        bound.set(min(fork, node.store!.feed.end.sequence))
        if number % 4 == 0 { node.store!.step() }
      }
      let epoch = node.store!.epoch
      try node.stop()
      let rewind = HistoryRewind("/data", fileSystem: node.disk)
      let outcome = try rewind.run(to: HistoryFork(sequence: fork, epoch: epoch), origin: 99)
      guard case .rewound(let tail) = outcome else {
        Issue.record("\(fork): \(outcome)")
        continue
      }
      #expect(tail.fork.sequence == fork)
      try node.start()
      #expect(node.store!.feed.end.sequence >= fork && node.store!.index.count == 7)
      try node.stop()
    }
  }
}

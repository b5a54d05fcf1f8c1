import Engine
import SimulatedDisk
import Synchronization
import Testing
import WAL

@Suite("Log that those who follow it need") struct FollowedLogTests {
  private static func oldest(_ node: SnapshotNode) throws -> UInt64 {
    try node.store!.oldestSequence()
  }

  @Test("is kept as long as they need it, and goes with the next segment behind that")
  func heldAndReleased() throws {
    let node = SnapshotNode(SimulatedDisk(seed: 1))
    try node.start()
    let need = Mutex<UInt64?>(0)
    node.store!.snapshots.leases.setFollowers { need.withLock { $0 } }
    node.write(100)
    try node.snapshot()
    node.write(100)
    try node.snapshot()
    try #expect(Self.oldest(node) == 1)
    #expect(node.store!.snapshots.heldLogBytes > 0)
    // A part of it is not needed any more, and then nothing.
    need.withLock { $0 = 60 }
    node.write(12)
    let oldest = try Self.oldest(node)
    #expect(oldest > 1 && oldest <= 61)
    need.withLock { $0 = nil }
    node.write(12)
    try #expect(Self.oldest(node) > 61)
    #expect(node.store!.snapshots.heldLogBytes == 0)
    node.expectAll("at the end")
    try node.stop()
  }

  @Test("is bounded, and a lease of somebody else holds it as well")
  func bounded() throws {
    let node = SnapshotNode(SimulatedDisk(seed: 1))
    node.options.retainBytes = 40_960
    try node.start()
    node.store!.snapshots.leases.setFollowers { 0 }
    for _ in 0..<6 {
      node.write(60)
      try node.snapshot()
      #expect(node.store!.snapshots.heldLogBytes <= 40_960)
    }
    try #expect(Self.oldest(node) > 1)
    #expect(node.store!.snapshots.heldLogBytes > 20_000)
    try node.stop()
  }

  @Test("is kept beside that which a copy holds, whichever goes back further")
  func besideLeases() throws {
    let node = SnapshotNode(SimulatedDisk(seed: 1))
    try node.start()
    let leases = node.store!.snapshots.leases
    leases.setFollowers { 90 }
    #expect(leases.take("copy", sequence: 30, snapshot: nil, seconds: 1_000))
    func age() throws {
      for _ in 0..<2 {
        node.write(100)
        try node.snapshot()
      }
    }
    try age()
    try #expect((2...31).contains(Self.oldest(node)))
    leases.release("copy")
    try age()
    try #expect((32...91).contains(Self.oldest(node)))
    #expect(leases.take("copy", sequence: 1_000, snapshot: nil, seconds: 1_000))
    try age()
    try #expect((32...91).contains(Self.oldest(node)))
    try node.stop()
  }
}

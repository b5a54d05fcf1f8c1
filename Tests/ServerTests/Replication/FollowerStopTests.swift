import Client
import Dispatch
import Engine
import Server
import Synchronization
import TemporaryFiles
import Testing
import WAL

/// Keeps a log's thread until it is let go.
private final class Obstacle: FrameBatchOwner {
  private let reached = DispatchSemaphore(value: 0)
  private let end = DispatchSemaphore(value: 0)

  func nextBatch() -> FrameBatch {
    reached.signal()
    end.wait()
    return FrameBatch()
  }

  func shipped(_ batch: FrameBatch, _ outcome: ShippingOutcome) {}

  /// Returns when the log's thread is kept.
  func stand(before store: Store) {
    store.committer.ship(for: self)
    reached.wait()
  }

  func give() { end.signal() }
}

@Suite("A follower that is stopped") struct FollowerStopTests {
  private static func wait(_ store: Store, for sequence: UInt64) async throws {
    let deadline = ContinuousClock.now + .seconds(30)
    while store.feed.end.sequence < sequence {
      try #require(ContinuousClock.now < deadline)
      try await Task.sleep(for: .milliseconds(2))
    }
  }

  private static func origin(of node: RunningNode) throws -> UInt64 {
    var reader = try LogReader(directory: node.dataDirectory + "/wal")
    _ = try reader.next()
    let found = reader.origin
    return try #require(found)
  }

  @Test("has ended when what its log has taken is applied, and nothing comes behind that")
  func drained() async throws {
    try await RunningNode.with(.fast) { leader in
      let directory = TemporaryDirectory()
      var options = StoreOptions(dataDirectory: directory.path, node: 7)
      options.isCopy = true
      options.origin = try Self.origin(of: leader)
      let store = try Store.open(options)
      let address = NodeAddress(host: "127.0.0.1", port: UInt16(leader.port))
      var configuration = Configuration(dataDirectory: directory.path, host: "127.0.0.1", port: 1)
      configuration.nodeID = "copy"
      let follower = FollowerDriver(of: address, configuration, store: store)
      follower.start()
      let client = try leader.connect()
      try await #expect(client.ask("PUT", "/kv/a", body: "1").status == 201)
      try await Self.wait(store, for: try #require(try leader.log().last).header.lastSequence)

      let obstacle = Obstacle()
      obstacle.stand(before: store)
      try await #expect(client.ask("PUT", "/kv/b", body: "2").status == 201)
      // It is offered to the log, which has no time for it.
      let deadline = ContinuousClock.now + .seconds(30)
      while follower.pendingBytes == 0 {
        try #require(ContinuousClock.now < deadline)
        try await Task.sleep(for: .milliseconds(2))
      }
      let end = store.feed.end
      let isOver = Atomic(false)
      let stopped = follower.stop()
      stopped.whenComplete { _ in isOver.store(true, ordering: .releasing) }
      try await Task.sleep(for: .milliseconds(50))
      let isEarly = isOver.load(ordering: .acquiring)
      #expect(!isEarly)
      obstacle.give()
      try await stopped.get()
      // It had not been taken, so it is left to the next one.
      #expect(store.feed.end == end)
      try store.close()
    }
  }
}

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

  func furtherBatch() -> FrameBatch? { nil }

  func shipped(_ batch: FrameBatch, _ outcome: ShippingOutcome, isFurther: Bool) {}

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

  private static func copy(of leader: RunningNode, in directory: String) throws -> Store {
    var options = StoreOptions(dataDirectory: directory, node: 7)
    options.isCopy = true
    options.origin = try origin(of: leader)
    return try Store.open(options)
  }

  private static func follower(of leader: RunningNode, _ store: Store) -> FollowerDriver {
    var configuration = Configuration(
      dataDirectory: store.options.dataDirectory, host: "127.0.0.1", port: 1)
    configuration.nodeID = "copy"
    let address = NodeAddress(host: "127.0.0.1", port: UInt16(leader.port))
    return FollowerDriver(of: address, configuration, store: store)
  }

  @Test("has ended when what its log has taken is applied, and nothing comes behind that")
  func drained() async throws {
    try await RunningNode.with(.fast) { leader in
      let directory = TemporaryDirectory()
      let store = try Self.copy(of: leader, in: directory.path)
      let follower = Self.follower(of: leader, store)
      follower.start()
      let client = try leader.connect()
      try await #expect(client.ask("PUT", "/kv/a", body: "1").status == 201)
      try await Self.wait(store, for: try #require(try leader.log().last).header.lastSequence)

      let obstacle = Obstacle()
      obstacle.stand(before: store)
      try await #expect(client.ask("PUT", "/kv/b", body: "2").status == 201)
      // It is offered to the log, which has no time for it.
      let deadline = ContinuousClock.now + .seconds(30)
      while !follower.isOffering {
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

  /// Of the frames of a log.
  private static func frames(_ directory: String) throws -> [[UInt8]] {
    var reader = try LogReader(directory: directory)
    var frames: [[UInt8]] = []
    while case .frame = try reader.next() {
      frames.append(reader.withFrame { $0.withUnsafeBytes { Array($0) } })
    }
    return frames
  }

  @Test("goes on where it ended, in the middle of batches that come one behind the other")
  func catchingUp() async throws {
    try await RunningNode.with(.fast) { leader in
      let client = try leader.connect()
      let value = String(repeating: "v", count: 100_000)
      for key in 0..<300 {
        try await #expect(client.ask("PUT", "/kv/\(key)", body: value).status == 201)
      }
      let end = try #require(try leader.log().last).header.lastSequence
      let directory = TemporaryDirectory()
      let store = try Self.copy(of: leader, in: directory.path)
      // Each is stopped a little further on, with one batch being written and one applied at the best.
      for part in 1...5 {
        let follower = Self.follower(of: leader, store)
        follower.start()
        try await Self.wait(store, for: part == 5 ? end : end * UInt64(part) / 6)
        if part < 5 {
          try await follower.stop().get()
          let position = store.feed.end
          try await Task.sleep(for: .milliseconds(20))
          #expect(store.feed.end == position, "nothing comes behind that")
          continue
        }
        // It is live again, and lets go of everything.
        try await #expect(client.ask("PUT", "/kv/last", body: "1").status == 201)
        try await Self.wait(store, for: end + 1)
        try await follower.stop().get()
        #expect(follower.pendingBytes == 0)
      }
      let copied = store.feed.end.sequence
      try store.close()
      let frames = try Self.frames(directory.path + "/wal")
      let original = try Self.frames(leader.dataDirectory + "/wal")
      #expect(UInt64(frames.count) >= copied && frames == Array(original.prefix(frames.count)))
    }
  }
}

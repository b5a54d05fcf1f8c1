import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A leader that comes back with less than its replicas") struct LeaderReturnTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private static func write(_ range: Range<Int>, to node: ServedNode) async throws {
      let statuses = try await Threads.runOne {
        let connection = try node.connect()
        return try range.map { try connection.put("key-\($0)", "value-\($0)").status }
      }
      #expect(statuses.allSatisfy { $0 == 201 })
    }

    private static func epoch(_ node: ServedNode) async throws -> Int? {
      try await Threads.runOne { try ReplicaSet.status(node)["epoch"] as? Int }
    }

    @Test(
      "fetches all of it before it takes writes, and goes on in a new epoch",
      arguments: [0, 400_000])
    func emptied(snapshotBytes: Int) async throws {
      // With few bytes the replicas have no log any more that begins at 1.
      let flags =
        snapshotBytes > 0
        ? ["--snapshot-wal-bytes", "65536", "--wal-retain-bytes", "65536"] : []
      let set = try ReplicaSet(in: directory, replicas: 2, flags: flags)
      let leader = try await set.start(0)
      let replicas = [try await set.start(1), try await set.start(2)]
      let count = snapshotBytes > 0 ? 4_000 : 300
      try await Self.write(0..<count, to: leader)
      try await ReplicaSet.catchUp(leader, replicas)
      try await leader.kill()
      try set.empty(0)
      let back = try await set.start(0)
      #expect(try await Self.epoch(back) == 2)
      let found = try await Threads.runOne {
        try (0..<count).map { try back.connect().get("key-\($0)").text }
      }
      #expect(found == (0..<count).map { "value-\($0)" })
      try await Self.write(count..<count + 50, to: back)
      try await ReplicaSet.catchUp(back, replicas)
      try await ReplicaSet.expectEqual([back] + replicas, "behind the return")
      #expect(try await Self.epoch(replicas[0]) == 2)
      for node in [back] + replicas { try await node.stop() }
      for number in 0...2 {
        // Nothing of theirs had to be put away.
        let diverged = set.settings[number].data + "/diverged"
        #expect(!FileManager.default.fileExists(atPath: diverged))
      }
      try await set.expectEqualLogs()
    }

    @Test("fetches what came behind an older state of its directory")
    func olderState() async throws {
      let set = try ReplicaSet(in: directory, replicas: 1)
      let first = try await set.start(0)
      let replica = try await set.start(1)
      try await Self.write(0..<100, to: first)
      try await ReplicaSet.catchUp(first, [replica])
      try await first.stop()
      let kept = directory.path("kept")
      try FileManager.default.copyItem(atPath: set.settings[0].data, toPath: kept)
      let second = try await set.start(0)
      #expect(try await Self.epoch(second) == 1)
      try await Self.write(100..<200, to: second)
      try await ReplicaSet.catchUp(second, [replica])
      try await second.kill()
      try set.empty(0)
      try FileManager.default.moveItem(atPath: kept, toPath: set.settings[0].data)
      let third = try await set.start(0)
      #expect(try await Self.epoch(third) == 2)
      try await Self.write(200..<300, to: third)
      try await ReplicaSet.catchUp(third, [replica])
      try await ReplicaSet.expectEqual([third, replica], "behind the return")
      let last = try await Threads.runOne { try third.connect().get("key-150").text }
      #expect(last == "value-150")
      for node in [third, replica] { try await node.stop() }
      try await set.expectEqualLogs()
    }

    @Test("goes on in the same epoch where nobody has more, and waits for nobody who is away")
    func same() async throws {
      let set = try ReplicaSet(in: directory, replicas: 2)
      let leader = try await set.start(0)
      try await Self.write(0..<10, to: leader)
      try await leader.kill()
      let back = try await set.start(0)
      #expect(try await Self.epoch(back) == 1)
      try await Self.write(10..<20, to: back)
      try await back.stop()
    }
  }
}

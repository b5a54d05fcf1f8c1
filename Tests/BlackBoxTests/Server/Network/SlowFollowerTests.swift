import Foundation
import Synchronization
import Testing

extension NodeProcessTests {
  @Suite("Followers of the log that take little or nothing") struct SlowFollowerTests {
    private static let followers = 8
    private static let growthBytesMax = 8 << 20

    /// Writes values of 20 KB, and says how much memory the leader had at most meanwhile.
    private static func mostResident(
      _ leader: ServedNode, writing values: Int, in directory: TemporaryDirectory
    ) async throws -> Int {
      let bench = try RunningProcess(
        .kv,
        [
          "bench", "--target", "\(leader.address)", "--write-ratio", "1", "--keys", "50",
          "--value-size", "20000", "--requests", "\(values)", "--warmup", "0", "--connections", "8",
        ], in: directory)
      let isOver = Atomic(false)
      async let most = Threads.runOne {
        var most = 0
        while !isOver.load(ordering: .relaxed) {
          most = max(most, try leader.residentBytes())
          Thread.sleep(forTimeInterval: 0.02)
        }
        return most
      }
      let outcome = try await bench.outcome()
      isOver.store(true, ordering: .relaxed)
      #expect(outcome.status == 0, "\(outcome.errors)")
      return try await most
    }

    @Test("cost the leader a bounded piece of memory each, and other replicas nothing")
    func bounded() async throws {
      let directory = try TemporaryDirectory()
      let set = try ReplicaSet(
        in: directory, replicas: 1,
        flags: ["--segment-bytes", "16MiB", "--snapshot-wal-bytes", "8GiB"])
      let leader = try await set.start(0)
      let replica = try await set.start(1)
      // What a leader takes that has the same to do, without them.
      let without = try await Self.mostResident(leader, writing: 3_000, in: directory)
      let readers = try await Threads.runOne {
        try (0..<Self.followers).map { number in
          let reader = try HTTPConnection(to: leader.address, receiveBufferBytes: 4 << 10)
          // Half of them from the files, half from what comes.
          let from = number % 2 == 0 ? "1" : "\(try ReplicaSet.durable(leader) + 1)"
          try reader.send(
            HTTPRequest(
              method: "GET", target: "/wal/stream?from=\(from)&replica=slow-\(number)"))
          return UncheckedReader(reader)
        }
      }
      let isOver = Atomic(false)
      // The others read nothing at all.
      async let trickled = Threads.runOne {
        var bytes = 0
        while !isOver.load(ordering: .relaxed) {
          for reader in readers.prefix(Self.followers / 2) {
            var piece = [UInt8](repeating: 0, count: 100)
            bytes += max(0, recv(reader.connection.descriptor, &piece, 100, Int32(MSG_DONTWAIT)))
          }
          // A kilobyte a second each.
          Thread.sleep(forTimeInterval: 0.1)
        }
        return bytes
      }
      let with = try await Self.mostResident(leader, writing: 6_000, in: directory)
      let known = try await Threads.runOne {
        try (0..<Self.followers).map { number in
          try ReplicaSet.row(of: "slow-\(number)", on: leader)["member"] as? Bool == false
        }
      }
      isOver.store(true, ordering: .relaxed)
      let taken = try await trickled
      #expect(taken > 1_000)
      #expect(known.allSatisfy { $0 }, "\(known)")
      #expect(with - without < Self.growthBytesMax, "\(without) bytes without, \(with) with them")
      try await ReplicaSet.catchUp(leader, [replica])
      try await ReplicaSet.expectEqual([leader, replica], "beside them")
      withExtendedLifetime(readers) {}
      for node in [leader, replica] { try await node.stop() }
    }

    /// `@unchecked Sendable`: one thread at a time has it.
    private struct UncheckedReader: @unchecked Sendable {
      let connection: HTTPConnection
      init(_ connection: HTTPConnection) { self.connection = connection }
    }
  }
}

extension ReplicaSet {
  /// The node's last durable sequence number.
  static func durable(_ node: ServedNode) throws -> Int {
    let sequence = try status(node)["sequence"] as? [String: Any]
    return try #require(sequence?["durable"] as? Int)
  }
}

import Foundation
import Sharding
import Testing

extension NodeProcessTests {
  @Suite("A purge") struct PurgeTests {
    private var set: DoubledSet
    private let keys = DoubledSet.keys(120, of: 0, of: 2)

    init() throws { set = DoubledSet(in: try TemporaryDirectory()) }

    private func count(of shard: UInt32, _ shards: UInt32 = 4) -> Int {
      keys.count { DoubledSet.shard(of: $0, shards) == shard }
    }

    /// The leader and the replica of shard 0 of 2, written to and stopped.
    private mutating func parents(snapshot: Bool = false, flags: [String] = []) async throws {
      try set.configure([["a", "ar"], ["other"]], flags: flags)
      let nodes = try await set.start(together: ["a", "ar"])
      let (a, ar) = (nodes["a"]!, nodes["ar"]!)
      try await ReplicaSet.awaitStreaming(a, count: 1)
      try await ReplicaSet.awaitRole(a, "leader")
      try await DoubledSet.write(a, keys)
      if snapshot {
        let status = try await Threads.runOne {
          try a.connect().exchange(
            HTTPRequest(method: "POST", target: "/admin/snapshot", body: [])
          ).status
        }
        #expect(status == 200)
        try await DoubledSet.write(a, Array(keys.prefix(30)), "again")
      }
      try await ReplicaSet.catchUp(a, [ar])
      #expect(try await DoubledSet.purge(a).keys == 0)
      try await a.stop()
      try await ar.stop()
      try set.configure(
        [["a", "ar"], ["other"], ["b", "bc", "be"], ["fourth"]], flags: flags)
    }

    @Test(
      "by copying doubles the shards: leaders, replicas, copied ones and empty ones",
      arguments: [false, true], [1, 2])
    func doubling(snapshot: Bool, quorum: Int) async throws {
      var test = self
      try await test.double(snapshot: snapshot, quorum: quorum)
    }

    private mutating func double(snapshot: Bool, quorum: Int) async throws {
      try await parents(snapshot: snapshot, flags: ["-w", "\(quorum)"])
      try set.copy("a", to: "b")
      try set.copy("ar", to: "bc")
      var nodes = try await set.start(together: ["a", "ar"])
      try await ReplicaSet.awaitStreaming(nodes["a"]!, count: 1)
      try await ReplicaSet.awaitRole(nodes["a"]!, "leader")
      let alone = try await DoubledSet.purge(nodes["a"]!)
      #expect(alone.status == 409 && alone.keys == count(of: 2), "\(alone)")
      #expect(
        alone.text.hasPrefix(
          "Error = purge refused: \(count(of: 2)) keys are of shard 2, \"shard-2\", and "
            + "\(set.settings["b"]!.address), "), "\(alone)")
      #expect(alone.text.contains(" cannot be asked: "), "\(alone)")
      #expect(try await DoubledSet.purge(nodes["ar"]!).status == 403)
      #expect(try await DoubledSet.state(nodes["a"]!).keys == keys.count)
      nodes.merge(try await set.start(together: ["b", "bc", "be"])) { $1 }
      try await ReplicaSet.awaitRole(nodes["b"]!, "leader")
      for (leader, shard, replicas) in [("a", 0, ["ar"]), ("b", 2, ["bc", "be"])]
        as [(String, UInt32, [String])]
      {
        let node = nodes[leader]!
        try await ReplicaSet.awaitStreaming(node, count: replicas.count)
        let (own, foreign) = (count(of: shard), keys.count - count(of: shard))
        let dry = try await DoubledSet.purge(node, "?dry_run=true")
        #expect(dry.status == 200 && dry.keys == foreign, "\(dry)")
        #expect(try await DoubledSet.state(node).keys == keys.count)
        let purged = try await DoubledSet.purge(node)
        #expect(purged.status == 200 && purged.keys == foreign, "\(purged)")
        #expect(purged.text == "Error = <nil>")
        #expect(try await DoubledSet.state(node).keys == own)
        let others = replicas.map { nodes[$0]! }
        try await ReplicaSet.catchUp(node, others)
        try await ReplicaSet.expectEqual([node] + others, leader)
        let before = try await DoubledSet.state(node).sequence
        #expect(try await DoubledSet.purge(node).keys == 0)
        // A mark of a quiet log may have come meanwhile.
        #expect(try await DoubledSet.state(node).sequence <= before + 1)
      }
      let (a, b) = (
        try await DoubledSet.state(nodes["a"]!), try await DoubledSet.state(nodes["b"]!)
      )
      #expect(a.epochNode != b.epochNode)
      for node in nodes.values { try await node.stop() }
      let again = try await set.start("b")
      #expect(try await DoubledSet.state(again).keys == count(of: 2))
      #expect(try await DoubledSet.state(again).epochNode == b.epochNode)
      try await again.stop()
    }

    @Test(
      "is refused by an owner without the keys, and by one with another history of the same keys")
    func stranger() async throws {
      var test = self
      try await test.refuseStrangers()
    }

    private mutating func refuseStrangers() async throws {
      try await parents()
      let a = try await set.start("a")
      var b = try await set.start("b")
      let empty = try await DoubledSet.purge(a)
      #expect(
        empty.status == 409 && empty.text.contains("is another one than this node's"), "\(empty)")
      try await b.stop()
      // The same writes in the same order: the same versions, the same digest.
      try FileManager.default.removeItem(atPath: set.data("b"))
      let flags = set.settings["b"]!.flags
      try set.configure([["b"], ["other"]])
      b = try await set.start("b")
      try await DoubledSet.write(b, keys)
      try await b.stop()
      try set.configure([["a", "ar"], ["other"], ["b", "bc", "be"], ["fourth"]])
      #expect(set.settings["b"]!.flags == flags)
      b = try await set.start("b")
      let twin = try await DoubledSet.purge(a)
      #expect(
        twin.status == 409 && twin.text.contains("is another one than this node's"), "\(twin)")
      #expect(try await DoubledSet.purge(a, "?dry_run=true").status == 409)
      #expect(try await DoubledSet.state(a).keys == keys.count)
      let dry = try await DoubledSet.purge(a, "?dry_run=true&force=true")
      #expect(dry.status == 200 && dry.keys == count(of: 2), "\(dry)")
      #expect(try await DoubledSet.state(a).keys == keys.count)
      #expect(try await DoubledSet.purge(a, "?force=true").status == 200)
      #expect(try await DoubledSet.state(a).keys == count(of: 0))
      for node in [a, b] { try await node.stop() }
    }

    @Test("is refused where the owner was copied before the last writes")
    func early() async throws {
      var test = self
      try await test.refuseEarly()
    }

    private mutating func refuseEarly() async throws {
      try await parents()
      try set.copy("a", to: "b")
      let late = DoubledSet.keys(140, of: 0, of: 2).suffix(20)
      try set.configure([["a", "ar"], ["other"]])
      let before = try await set.start("a")
      try await DoubledSet.write(before, Array(late))
      try await before.stop()
      try set.configure([["a", "ar"], ["other"], ["b", "bc", "be"], ["fourth"]])
      let (a, b) = (try await set.start("a"), try await set.start("b"))
      let refused = try await DoubledSet.purge(a)
      #expect(refused.status == 409 && refused.text.contains("does not hold them"), "\(refused)")
      #expect(try await DoubledSet.state(a).keys == 140)
      // It has everything that the other one has.
      #expect(try await DoubledSet.purge(b).status == 200)
      for node in [a, b] { try await node.stop() }
    }

    @Test(
      "is granted by an owner whose log from then is gone, and not by who cannot show anything any more"
    )
    func promotedAndCompacted() async throws {
      var test = self
      try await test.promoteAndCompact()
    }

    private mutating func promoteAndCompact() async throws {
      let flags = ["--snapshot-wal-bytes", "65536", "--wal-retain-bytes", "65536"]
      try await parents(flags: flags)
      try set.copy("a", to: "b")
      let (a, b) = (try await set.start("a"), try await set.start("b"))
      try await compact(b)
      let dry = try await DoubledSet.purge(a, "?dry_run=true")
      #expect(dry.status == 200 && dry.keys == count(of: 2), "\(dry)")
      let replica = try await set.start("be")
      try await ReplicaSet.catchUp(b, [replica])
      try await b.kill()
      let gone = try await DoubledSet.purge(a)
      #expect(
        gone.status == 409 && gone.text.contains("no node that can be asked leads it"), "\(gone)")
      let promoted = try await Threads.runOne {
        try replica.connect().exchange(
          HTTPRequest(method: "POST", target: "/admin/promote", body: [])
        ).status
      }
      #expect(promoted == 200)
      // It began empty: neither log nor note of it is from then, and its keys are others by now.
      let unknown = try await DoubledSet.purge(a)
      #expect(unknown.status == 409 && unknown.text.contains("does not show"), "\(unknown)")
      #expect(try await DoubledSet.state(a).keys == keys.count)
      for node in [a, replica] { try await node.stop() }
    }

    /// Writes and makes snapshots until the log from before is gone.
    private func compact(_ node: ServedNode) async throws {
      let value = String(repeating: "x", count: 8_000)
      for _ in 0..<60 where try await DoubledSet.state(node).oldest <= keys.count + 10 {
        try await DoubledSet.write(node, DoubledSet.keys(20, of: 2, of: 4), value)
        let status = try await Threads.runOne {
          try node.connect().exchange(
            HTTPRequest(method: "POST", target: "/admin/snapshot", body: [])
          ).status
        }
        #expect(status == 200)
      }
      #expect(try await DoubledSet.state(node).oldest > keys.count + 10)
    }

    @Test("that is cut short by kill -9 has happened or not, and goes through the next time")
    func killed() async throws {
      var test = self
      try await test.kill()
    }

    private mutating func kill() async throws {
      try await parents()
      try set.copy("a", to: "b")
      let b = try await set.start("b")
      let whole = set.data("a") + "-whole"
      try FileManager.default.copyItem(atPath: set.data("a"), toPath: whole)
      var numbers = SeededNumbers(seed: 3)
      for round in 0..<6 {
        var a = try await set.start("a")
        let connection = try a.connect()
        try connection.send(HTTPRequest(method: "POST", target: "/purge", body: []))
        try await Task.sleep(for: .microseconds(Int.random(in: 0...6_000, using: &numbers)))
        try await a.kill()
        a = try await set.start("a")
        let found = try await DoubledSet.state(a).keys
        #expect(found == keys.count || found == count(of: 0), "round \(round): \(found)")
        let purged = try await DoubledSet.purge(a)
        #expect(purged.status == 200 && purged.keys == found - count(of: 0), "\(purged)")
        #expect(try await DoubledSet.state(a).keys == count(of: 0))
        try await a.stop()
        try FileManager.default.removeItem(atPath: set.data("a"))
        try FileManager.default.copyItem(atPath: whole, toPath: set.data("a"))
      }
      try await b.stop()
    }
  }
}

import Foundation
import KVClient
import Synchronization
import Testing

extension NodeProcessTests {
  @Suite("The client library, with real nodes", .timeLimit(.minutes(3))) struct ClientLibraryTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private static func address(_ node: ServedNode) -> NodeAddress {
      NodeAddress(host: node.address.ip, port: node.address.port)
    }

    private static func promote(_ node: ServedNode, _ query: String = "") async throws -> Int {
      let pool = KVPool()
      defer { pool.close() }
      let client = NodeClient(address(node), pool: pool, timeout: .seconds(30))
      return try await client.send(KVRequest(.POST, "/admin/promote" + query)).status
    }

    private static func file(_ path: String) throws -> String {
      let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
      return try String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
    }

    @Test("the example of the documentation is the one that runs, and prints what stands there")
    func example() async throws {
      let set = try ReplicaSet(in: directory, replicas: 1)
      let leader = try await set.start(0)
      let replica = try await set.start(1)
      let outcome = try await Executable.clientExample.run(["\(replica.address)"], in: directory)
      #expect(outcome.status == 0, "\(outcome.errors)")
      let documentation = try Self.file("docs/client.md")
      let printed = outcome.lines.map { "    \($0)\n" }.joined()
      #expect(outcome.lines.count == 5 && documentation.contains("\n\n\(printed)\n"), "\(printed)")
      #expect(documentation.contains(try Self.file("examples/client/ClientExample.swift")))
      for node in [leader, replica] { try await node.stop() }
    }

    @Test("does with one node alone whatever a key and a value are")
    func everything() async throws {
      let node = try await ServedNode.start(.init(in: directory))
      let client = KVClient(seeds: [Self.address(node)], readFrom: .any)
      let session = KVSession()
      let keys: [[UInt8]] = [[0], [0xff, 0x2f], Array("a b&c=d%é".utf8), Array("plain".utf8)]
      let values: [[UInt8]] = [
        [], [0, 0xff, 0x0a], Array("\"q\"\n".utf8), Array(repeating: 7, count: 99_999),
      ]
      for (key, value) in zip(keys, values) {
        let written = try await client.put(key, value, session: session)
        let entry = try #require(try await client.get(key, session: session))
        #expect(entry == KVEntry(value: value, version: written.version, etag: written.etag))
      }
      let absent: [UInt8] = [1, 2, 3]
      let many = try await client.getMany([absent] + keys)
      #expect(many.map { $0?.value } == [nil] + values)
      let first = try #require(try await client.get(keys[0]))
      let second = try await client.put(keys[0], [1], if: .matches(first.etag))
      #expect(second.version > first.version)
      for condition in [KVCondition.matches(first.etag), .absent] {
        let error = await #expect(throws: KVClientError.self) {
          try await client.put(keys[0], [2], if: condition)
        }
        #expect(error?.isUnmetCondition == true && error?.nothingWasDone == true, "\(error!)")
      }
      let batch = try await client.batch(
        [.put(absent, [9], ttlSeconds: 1_000), .delete(keys[1]), .put(keys[2], [])],
        session: session)
      #expect(batch > second.version)
      #expect(try await client.get(absent, session: session)?.value == [9])
      #expect(try await client.get(keys[1]) == nil)
      var (listed, after) = ([[UInt8]](), [UInt8]())
      while true {
        let page = try await client.list(after: after, limit: 1)
        listed += page.keys.map(\.key)
        guard let next = page.next else { break }
        after = next
      }
      let expected = [keys[0], absent, keys[2], keys[3]]
      #expect(listed == expected.sorted { $0.lexicographicallyPrecedes($1) })
      let deleted = [try await client.delete(keys[3]), try await client.delete(keys[3])]
      #expect(deleted == [true, false])
      // More than a node answers together: it is asked in parts.
      let large = [UInt8](repeating: 0xff, count: 9 << 20)
      for number in 0..<4 { _ = try await client.put([UInt8(number), 77], large) }
      let found = try await client.getMany((0..<4).map { [UInt8($0), 77] })
      #expect(found.allSatisfy { $0?.value == large })
      await client.close()
      try await node.stop()
    }

    @Test("reads of replicas see what their session has written, and writes find the leader")
    func session() async throws {
      let set = try ReplicaSet(in: directory, replicas: 2)
      async let first = set.start(0)
      async let second = set.start(1)
      async let third = set.start(2)
      let nodes = try await [first, second, third]
      try await ReplicaSet.awaitStreaming(nodes[0], count: 2)
      let client = KVClient(seeds: [Self.address(nodes[2])], readFrom: .replicas)
      let session = KVSession()
      for number in 0..<200 {
        try await client.put("k", "\(number)", session: session)
        #expect(try await client.get("k", session: session)?.text == "\(number)")
      }
      for number in 0..<50 {
        try await client.put("gone", "\(number)", session: session)
        try await client.delete("gone", session: session)
        #expect(try await client.get("gone", session: session) == nil)
      }
      let set1 = try await Executable.kv.run(
        ["set", "by", "a replica", "--http-addr", "\(nodes[1].address)"], in: directory)
      #expect(set1.status == 0 && set1.output.hasPrefix("version "), "\(set1.errors)")
      #expect(try await client.get("by", readFrom: .leader)?.text == "a replica")
      await client.close()
      for node in nodes { try await node.stop() }
    }

    /// Writers, until they are told to stop.
    private final class Writers: Sendable {
      private struct State {
        var isOver = false
        var acknowledged: [String] = []
        var unknown: [String] = []
        var faults: [String] = []
      }

      private let state = Mutex(State())

      var isOver: Bool { state.withLock { $0.isOver } }
      var acknowledged: [String] { state.withLock { $0.acknowledged } }
      var unknown: [String] { state.withLock { $0.unknown } }
      var faults: [String] { state.withLock { $0.faults } }
      func end() { state.withLock { $0.isOver = true } }

      func write(_ client: KVClient, _ writer: Int) async {
        var number = 0
        while !isOver {
          await write(client, "w\(writer)-\(number)")
          number += 1
        }
      }

      private func write(_ client: KVClient, _ key: String) async {
        do throws(KVClientError) {
          try await client.put(key, "value of \(key)")
          state.withLock { $0.acknowledged.append(key) }
        } catch {
          let text = "\(key): \(error)"
          if error.nothingWasDone {
            state.withLock { $0.faults.append(text) }
          } else {
            state.withLock { $0.unknown.append(text) }
          }
        }
      }

      /// Waits until so many more were acknowledged.
      func more(_ count: Int) async throws {
        let wanted = acknowledged.count + count
        let deadline = ContinuousClock.now + .seconds(60)
        while acknowledged.count < wanted {
          try #require(ContinuousClock.now < deadline, "\(unknown) \(faults)")
          try await Task.sleep(for: .milliseconds(5))
        }
      }
    }

    @Test("writes go on through a hand-over, a promotion and the death of a leader; none is lost")
    func failover() async throws {
      let set = try ReplicaSet(in: directory, replicas: 2, flags: ["-w", "2"])
      async let first = set.start(0)
      async let second = set.start(1)
      async let third = set.start(2)
      let nodes = try await [first, second, third]
      try await ReplicaSet.awaitStreaming(nodes[0], count: 2)
      let client = KVClient(seeds: nodes.map(Self.address), timeout: .seconds(60))
      let writers = Writers()
      try await withThrowingTaskGroup(of: Void.self) { group in
        for writer in 0..<4 { group.addTask { await writers.write(client, writer) } }
        // Whatever happens, the writers end.
        defer { writers.end() }
        try await writers.more(100)
        #expect(try await Self.promote(nodes[1], "?handover=true") == 200)
        try await writers.more(100)
        #expect(writers.unknown.isEmpty, "\(writers.unknown)")
        #expect(try await Self.promote(nodes[2]) == 200)
        try await writers.more(100)
        try await nodes[2].kill()
        #expect(try await Self.promote(nodes[0]) == 200)
        try await writers.more(100)
      }
      #expect(writers.faults.isEmpty, "\(writers.faults)")
      // What was under way at the promotion and at the kill.
      #expect(writers.unknown.count <= 16, "\(writers.unknown)")
      let keys = writers.acknowledged
      let values = try await client.getMany(keys.map { Array($0.utf8) })
      let lost = zip(keys, values).filter { $1?.text != "value of \($0)" }.map(\.0)
      #expect(lost.isEmpty, "\(lost.count) of \(keys.count)")
      let topology = try await client.topology()
      #expect(topology.shards.map(\.leader) == [Self.address(nodes[0])])
      await client.close()
      for node in nodes[..<2] { try await node.stop() }
    }

    private static func address(_ address: LoopbackAddress) -> NodeAddress {
      NodeAddress(host: address.ip, port: address.port)
    }

    /// Requests that the nodes have handed on.
    private static func forwarded(_ addresses: [LoopbackAddress]) async throws -> Int {
      try await Threads.runOne {
        try addresses.reduce(0) { sum, address in
          let text = try HTTPConnection(to: address).exchange(
            HTTPRequest(method: "GET", target: "/metrics")
          ).text
          let line = text.split(separator: "\n").first {
            $0.hasPrefix("shiplog_forwarded_requests_total ")
          }
          return sum + (line.flatMap { Int($0.split(separator: " ")[1]) } ?? 0)
        }
      }
    }

    @Test("a configuration that is pushed is learned, and another replica is read from then on")
    func pushed() async throws {
      let cluster = ShardCluster(in: directory, [2, 1])
      let nodes = try await cluster.startAll(
        try cluster.file(ShardCluster.json(1, cluster.shards)))
      let client = KVClient(
        seeds: [Self.address(cluster.shards[1][0])], readFrom: .replicas, timeout: .seconds(60))
      let session = KVSession()
      let keys = (0..<100).map { "k\($0)" }
      for key in keys { try await client.put(key, "1", session: session) }
      // Both shards have one replica each now.
      let more = LoopbackAddress.fresh()
      let shards = [cluster.shards[0], cluster.shards[1] + [more]]
      let json = ShardCluster.json(2, shards)
      let push = try await cluster.push(json, at: cluster.shards[0][0])
      #expect(push.status == 0, "\(push.errors)")
      let added = try await cluster.start(more, try cluster.file(json))
      try await ReplicaSet.catchUp(nodes[1], [added])
      let deadline = ContinuousClock.now + .seconds(40)
      while (try await client.topology().version ?? 0) < 2 {
        try #require(ContinuousClock.now < deadline)
        _ = try await client.get(keys[0])
        try await Task.sleep(for: .milliseconds(20))
      }
      for key in keys { try await client.put(key, "2", session: session) }
      for key in keys {
        #expect(try await client.get(key, session: session)?.text == "2", "\(key)")
      }
      #expect(try await client.topology().shards[1].nodes.contains(Self.address(more)))
      #expect(try await Self.forwarded(shards.flatMap(\.self)) == 0)
      await client.close()
      for node in nodes + [added] { try await node.stop() }
    }

    @Test("a doubling of the shards is learned: nothing is lost, and requests go to the new shards")
    func doubled() async throws {
      let cluster = ShardCluster(in: directory, [2, 2])
      let old = try await cluster.startAll(
        try cluster.file(ShardCluster.json(1, cluster.shards)))
      for shard in 0..<2 { try await ReplicaSet.awaitStreaming(old[shard], count: 1) }
      let client = KVClient(seeds: [Self.address(cluster.shards[0][0])], timeout: .seconds(60))
      let session = KVSession()
      let keys = (0..<200).map { "k\($0)" }
      for key in keys { try await client.put(key, "1", session: session) }
      for shard in 0..<2 { try await ReplicaSet.catchUp(old[shard], [old[2 + shard]]) }
      for node in old { try await node.stop() }
      // Each replica leads the half of its shard's keys: shard j of 4 was shard j mod 2.
      let shards = [0, 1].map { [cluster.shards[$0][0]] } + [0, 1].map { [cluster.shards[$0][1]] }
      let file = try cluster.file(ShardCluster.json(2, shards))
      // A write that begins while nobody is there.
      let waiting = Task { try await client.put("while", "nobody is there", session: session) }
      var new: [ServedNode] = []
      for shard in shards { new.append(try await cluster.start(shard[0], file)) }
      _ = try await waiting.value
      for key in keys {
        #expect(try await client.get(key, session: session)?.text == "1", "\(key)")
      }
      let topology = try await client.topology()
      #expect(topology.shards.map(\.leader) == shards.map { Self.address($0[0]) })
      // From here on it knows who has which key.
      let before = try await Self.forwarded(shards.flatMap(\.self))
      for key in keys { try await client.put(key, "2", session: session) }
      let values = try await client.getMany(keys.map { Array($0.utf8) }, session: session)
      #expect(values.allSatisfy { $0?.text == "2" })
      #expect(try await client.get("while", session: session)?.text == "nobody is there")
      #expect(try await Self.forwarded(shards.flatMap(\.self)) == before)
      await client.close()
      for node in new { try await node.stop() }
    }
  }
}

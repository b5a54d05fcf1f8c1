import KVClient
import NIOCore
import Testing

@Suite("A client of several keys", .timeLimit(.minutes(1)))
struct ManyKeysTests {
  private let keys = (0..<40).map { "key-\($0)" }

  @Test("reads many keys with a request a shard, in the order that was asked for")
  func many() async throws {
    try await withCluster(shards: 4, nodes: 2) { cluster, client in
      for key in keys where key.hasSuffix("1") { try await client.put(key, "value of \(key)") }
      let found = try await client.getMany(keys.map { Array($0.utf8) })
      #expect(found.map { $0?.text } == keys.map { $0.hasSuffix("1") ? "value of \($0)" : nil })
      #expect(cluster.nodes.map { $0[0].count("GET", "/kv") } == [1, 1, 1, 1])
      #expect(cluster.misrouted.isEmpty)
      #expect(try await client.getMany([]) == [])
      // Of a size that needs several requests.
      let long = (0..<20).map { "\($0)-" + String(repeating: "x", count: 1_000) }
      for key in long { try await client.put(key, key) }
      let values = try await client.getMany(long.map { Array($0.utf8) })
      #expect(values.map { $0?.text } == long)
    }
  }

  @Test("writes a batch of one shard, and refuses one of several before anything is sent")
  func batches() async throws {
    try await withCluster(shards: 4, nodes: 2) { cluster, client in
      let written = try await client.batch([
        .put(Array("party".utf8), [0xff, 0]), .put(Array("health".utf8), [], ttlSeconds: 9),
        .delete(Array("earth".utf8)),
      ])
      #expect(written == 1)
      let body = cluster.nodes[3][0].requests.first { $0.path == "/batch" }?.body
      #expect(
        body == """
          {"op":"put","key_base64":"cGFydHk=","value_base64":"/wA="}
          {"op":"put","key_base64":"aGVhbHRo","value_base64":"","ttl":9}
          {"op":"delete","key_base64":"ZWFydGg="}

          """)
      await #expect(throws: KVClientError.self) {
        try await client.batch([.put(Array("party".utf8), []), .delete(Array("moon".utf8))])
      }
      await #expect(throws: KVClientError.self) { try await client.batch([]) }
      #expect(cluster.nodes.joined().map { $0.count("POST", "/batch") }.reduce(0, +) == 1)
    }
  }

  @Test("lists the keys of all shards in order, page by page")
  func lists() async throws {
    try await withCluster(shards: 4, nodes: 1) { cluster, client in
      for key in keys { try await client.put(key, "v") }
      for limit in [1, 7, 1_000] {
        var (seen, after) = ([String](), [UInt8]())
        while true {
          let page = try await client.list(after: after, limit: limit)
          #expect(page.keys.count <= limit)
          seen += page.keys.map { String(decoding: $0.key, as: UTF8.self) }
          guard let next = page.next else { break }
          after = next
        }
        #expect(seen == keys.sorted())
      }
      let one = try await client.list(shard: 2)
      #expect(!one.keys.isEmpty && one.keys.count < keys.count)
      await #expect(throws: KVClientError.self) { try await client.list(shard: 4) }
      await #expect(throws: KVClientError.self) { try await client.list(limit: 0) }
    }
  }
}

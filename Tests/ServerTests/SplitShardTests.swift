import Engine
import Server
import Sharding
import TemporaryFiles
import Testing

@Suite("A node on a child of a split")
struct SplitShardTests {
  private static let shape: [(index: UInt32, count: UInt32)] = [(0, 2), (1, 2)]

  private func shard(of key: String) -> UInt32 {
    UInt32(Array(key.utf8).withUnsafeBytes { ShardHash.fnv1($0) } % 2)
  }

  @Test(
    "serves its keys with the versions that they had, and takes writes", arguments: [true, false])
  func serves(snapshot: Bool) async throws {
    let directory = TemporaryDirectory()
    let (data, out) = (directory.path + "/data", directory.path + "/out")
    var tags: [String: String] = [:]
    let parent = try await RunningNode.start(.fast) { $0.dataDirectory = data }
    let client = try parent.connect()
    for number in 0..<60 {
      _ = try await client.ask("PUT", "/kv/key-\(number % 40)", body: "value \(number)")
    }
    if snapshot { _ = try await client.ask("POST", "/admin/snapshot") }
    for number in 0..<40 {
      let answer = try await client.ask("GET", "/kv/key-\(number)")
      let tag = try #require(answer["etag"])
      tags["key-\(number)"] = tag
    }
    try await parent.stop()
    _ = try Splitter.run(data, into: 2, out: out, options: Splitter.Options(node: 77))
    for shape in Self.shape {
      let mine = tags.filter { shard(of: $0.key) == shape.index }
      #expect(!mine.isEmpty)
      try await RunningNode.with(.fast) { configuration in
        configuration.dataDirectory = "\(out)/shard-\(shape.index)-of-2"
        configuration.shardIndex = shape.index
        configuration.shardCount = 2
      } _: { node in
        for (key, tag) in mine {
          let answer = try await node.ask("GET", "/kv/\(key)")
          #expect(answer.status == 200 && answer["etag"] == tag, "\(key)")
        }
        let status = try await node.ask("GET", "/status")
        #expect(status.text.contains("\"keys\":\(mine.count)"), "\(status.text)")
        let key = try #require(mine.keys.first)
        let stale = try await node.ask("PUT", "/kv/\(key)", ["If-Match: \"no\""], body: "new")
        #expect(stale.status == 412)
        let new = try await node.ask("PUT", "/kv/\(key)", ["If-Match: \(mine[key]!)"], body: "new")
        #expect(new.status == 200)
        try await #expect(node.ask("GET", "/kv/\(key)").text == "new")
      }
    }
  }
}

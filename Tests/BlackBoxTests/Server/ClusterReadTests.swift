import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A read of the whole cluster") struct ClusterReadTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    private static func get(_ target: String, at address: LoopbackAddress) throws -> HTTPAnswer {
      try HTTPConnection(to: address).exchange(HTTPRequest(method: "GET", target: target))
    }

    private static func header(_ name: String, of answer: HTTPAnswer) -> String? {
      answer.head.split(separator: "\r\n").first { $0.lowercased().hasPrefix(name + ": ") }
        .map { String($0.dropFirst(name.count + 2)) }
    }

    /// All pages, line by line.
    private static func list(
      _ query: String, after first: String = "", limit: Int, at address: LoopbackAddress
    ) throws -> [String] {
      var lines: [String] = []
      var after = HTTPRequest.encoded(first)
      while true {
        let answer = try get(
          "/kv?scope=cluster&limit=\(limit)\(query)&after=\(after)", at: address)
        guard answer.status == 200 else { throw ConnectionError.malformed(answer.text) }
        let page = answer.text.split(separator: "\n").map { String($0) }
        #expect(page.count <= limit)
        lines += page
        guard let next = header("x-kv-next", of: answer) else { return lines }
        #expect(page.count == limit)
        guard next != after else { throw ConnectionError.malformed("the same page again") }
        after = next
      }
    }

    private static func key(_ line: String) throws -> String {
      let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
      return try #require(object?["key"] as? String)
    }

    @Test("lists all keys in order, page by page, and reads keys of any shard, through every node")
    func whole() async throws {
      let cluster = ShardCluster(in: directory, [2, 1, 1])
      let nodes = try await cluster.startAll(
        try cluster.file(ShardCluster.json(1, cluster.shards)))
      let keys = (0..<200).map { "k/\(1_000 + $0)" } + ["k", "l \"quoted\"", "z"]
      try await Threads.runOne {
        for key in keys {
          let leader = cluster.shards[ShardCluster.shard(of: key, 3)][0]
          let status = try HTTPConnection(to: leader).put(key, "value of \(key)").status
          #expect(status == 201)
        }
      }
      try await ReplicaSet.catchUp(nodes[0], [nodes[3]])
      try await Threads.runOne {
        for address in cluster.shards.flatMap(\.self) {
          for limit in [7, 100, 1_000] {
            let listed = try Self.list("", limit: limit, at: address).map(Self.key)
            #expect(listed == keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) })
          }
          let some = try Self.list(
            "&prefix=k/10&until=k/1020", after: "k/1009", limit: 4, at: address)
          #expect(try some.map(Self.key) == (1_010..<1_020).map { "k/\($0)" })
          #expect(try Self.list("&prefix=nothing", limit: 5, at: address).isEmpty)
          let asked = ["z", "k/1007", "none", "l \"quoted\"", "k/1001", "z"]
          let query = asked.map { "&key=\(HTTPRequest.encoded($0))" }.joined()
          let answer = try Self.get("/kv?scope=cluster\(query)", at: address)
          #expect(answer.status == 200)
          let lines = answer.text.split(separator: "\n").map { String($0) }
          #expect(try lines.map(Self.key) == asked)
          #expect(lines[2].hasPrefix(#"{"error":"key not found","#))
          #expect(lines.count { $0.contains(#""value":"value of "#) } == 5)
        }
      }
      try await Threads.runOne {
        // Without a scope it is this shard alone.
        let (address, own) = (
          cluster.shards[1][0], keys.filter { ShardCluster.shard(of: $0, 3) == 1 }
        )
        let listed = try Self.get("/kv?limit=1000", at: address).text.split(separator: "\n")
        #expect(listed.count == own.count)
        let other = try #require(keys.first { ShardCluster.shard(of: $0, 3) == 2 })
        let lines = try Self.get(
          "/kv?key=\(HTTPRequest.encoded(own[0]))&key=\(HTTPRequest.encoded(other))", at: address
        ).text.split(separator: "\n")
        #expect(lines[0].contains("\"value\":\"value of "))
        #expect(lines[1] == #"{"error":"key of another shard","key":"\#(other)","shard":2}"#)
        for bad in ["min_version=1", "limit=0", "scope=shard&x", "r=9", "timeout_ms=x"] {
          let answer = try Self.get("/kv?\(bad)&scope=cluster", at: address)
          #expect(answer.status == 400, "\(bad): \(answer.text)")
        }
      }
      for node in nodes { try await node.stop() }
    }

    @Test("is refused as a whole where a shard cannot be reached, which it names")
    func unreachable() async throws {
      let cluster = ShardCluster(in: directory, [1, 1, 1])
      let nodes = try await cluster.startAll(
        try cluster.file(ShardCluster.json(1, cluster.shards)))
      try await nodes[1].kill()
      try await Threads.runOne {
        let keys = (0..<9).map { "&key=k-\($0)" }.joined()
        for query in ["prefix=", "limit=1", keys] {
          let answer = try Self.get("/kv?scope=cluster&\(query)", at: cluster.shards[0][0])
          #expect(answer.status == 502, "\(answer.text)")
          #expect(
            answer.text.contains("shard 1 (s1): \(cluster.shards[1][0]) cannot be reached"),
            "\(answer.text)")
        }
        // A shard that holds none of the keys is not asked.
        let others = (0..<40).map { "o-\($0)" }.filter { ShardCluster.shard(of: $0, 3) != 1 }
        let query = others.map { "&key=\($0)" }.joined()
        let answer = try Self.get("/kv?scope=cluster\(query)", at: cluster.shards[0][0])
        #expect(answer.status == 200)
        #expect(answer.text.split(separator: "\n").count == others.count)
      }
      for node in [nodes[0], nodes[2]] { try await node.stop() }
    }
  }
}

import Sharding
import Testing

@Suite("A configuration that is written")
struct ShardMapWriterTests {
  private func read(_ json: String) throws -> ShardMap {
    try ShardMap(json: Array(json.utf8), file: "f")
  }

  @Test("has one form, whatever it was read from")
  func form() throws {
    let map = try read(
      """
      {"shards":[{"index":1,"leader":"B:02","name":"b","replicas":["[::1]:3"]},
                 {"name":"a","index":0,"leader":"a:1"}],"version":7,"write_quorum":1}
      """)
    #expect(
      String(decoding: map.json, as: UTF8.self) == """
        {
          "version": 7, "hash": "fnv1-64", "write_quorum": 1, "read_quorum": 1,
          "shards": [
            {"name": "a", "index": 0, "leader": "a:1", "replicas": []},
            {"name": "b", "index": 1, "leader": "b:2", "replicas": ["[::1]:3"]}
          ]
        }

        """)
  }

  @Test("is read again as what it was, quotes and all", arguments: 0..<200 as Range<UInt64>)
  func roundTrip(seed: UInt64) throws {
    var random = Numbers(state: seed)
    let map = random.map()
    let again = try ShardMap(json: map.json, file: map.file)
    #expect(again == map && again.json == map.json && again.isSame(as: map))
    var other = map
    other.version += 1
    #expect(!other.isSame(as: map))
    var elsewhere = map
    elsewhere.file = "another"
    #expect(elsewhere.isSame(as: map) && elsewhere != map)
  }

  /// SplitMix64, and configurations from it.
  private struct Numbers: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
      state &+= 0x9E37_79B9_7F4A_7C15
      return avalanche(state)
    }

    private mutating func name(_ index: Int) -> String {
      let parts = ["a", "Größe", "\"", " b", "日本", "e\u{301}", "é", "😀", "x.y", "'", "{}"]
      return "\(index)" + (0..<3).map { _ in parts.randomElement(using: &self)! }.joined() + "."
    }

    mutating func map() -> ShardMap {
      let isLeaderless = Bool.random(using: &self)
      let mode: ShardMap.Mode = isLeaderless ? .leaderless : .leader
      var port = 0
      let shards = (0..<Int.random(in: 1...6, using: &self)).map { index in
        let nodes = (0..<Int.random(in: 1...4, using: &self)).map { _ in
          port += 1
          return ["127.0.0.\(port):\(port)", "node-\(port):80", "[::\(port)]:1"]
            .randomElement(using: &self)!
        }
        return ShardMap.Shard(name: name(index), index: index, nodes: nodes, mode: mode)
      }
      let most = shards.map(\.nodes.count).min()!
      return ShardMap(
        file: "f", version: Int.random(in: 1...Int.max - 1, using: &self), mode: mode,
        hash: ShardHash.allCases.randomElement(using: &self)!,
        writeQuorum: Int.random(in: 1...most, using: &self),
        readQuorum: Int.random(in: 1...most, using: &self), shards: shards)
    }
  }
}

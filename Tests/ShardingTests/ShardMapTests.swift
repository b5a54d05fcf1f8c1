import Sharding
import Testing

@Suite("A configuration of shards")
struct ShardMapTests {
  /// The one of the contract.
  private let four = """
    { "version": 1, "hash": "fnv1-64", "write_quorum": 1, "read_quorum": 1,
      "shards": [ { "name": "name",   "index": 0, "leader": "127.0.0.2:8080", "replicas": ["127.0.0.22:8080"] },
                  { "name": "place",  "index": 1, "leader": "127.0.0.3:8080", "replicas": ["127.0.0.33:8080"] },
                  { "name": "animal", "index": 2, "leader": "127.0.0.4:8080", "replicas": ["127.0.0.44:8080"] },
                  { "name": "thing",  "index": 3, "leader": "127.0.0.5:8080", "replicas": ["127.0.0.55:8080"] } ] }
    """

  @Test("is read whole")
  func whole() throws {
    let map = try read(four)
    #expect(map.mode == .leader && map.hash == .fnv1 && map.writeQuorum == 1)
    #expect(map.shards.map(\.name) == ["name", "place", "animal", "thing"])
    #expect(map.shards.map(\.index) == [0, 1, 2, 3])
    #expect(map.shards[3].leader == "127.0.0.5:8080")
    #expect(Array(map.shards[3].replicas) == ["127.0.0.55:8080"])
    #expect(map.addresses.count == 8)
  }

  @Test("sorts its shards by index, and leaves out what has a default")
  func defaults() throws {
    let map = try read(
      """
      {"shards":[{"name":"b","index":1,"leader":"node-b:1"},
                 {"name":"a","index":0,"leader":"NODE-A:00080","replicas":[]}]}
      """)
    #expect(map.shards.map(\.name) == ["a", "b"] && map.addresses == ["node-a:80", "node-b:1"])
    #expect(map.hash == .fnv1 && map.writeQuorum == 1 && map.readQuorum == 1)
  }

  @Test("takes the other hash, quorums up to the smallest shard, and addresses of IPv6")
  func other() throws {
    let map = try read(
      """
      {"version":1,"hash":"fnv1-64-mix","write_quorum":2,"read_quorum":2,"shards":[
        {"name":"a","index":0,"leader":"[::1]:1","replicas":["[::1]:2","[fe80::A]:3"]},
        {"name":"b","index":1,"leader":"[::1]:4","replicas":["[::1]:5"]}]}
      """)
    #expect(map.hash == .fnv1Mixed && map.writeQuorum == 2 && map.readQuorum == 2)
    #expect(map.shards[0].nodes == ["[::1]:1", "[::1]:2", "[fe80::a]:3"])
  }

  @Test("of a leaderless cluster has nodes, at the top or in each shard")
  func leaderless() throws {
    let one = try read(#"{"mode":"leaderless","nodes":["a:1","b:1","c:1"],"write_quorum":3}"#)
    #expect(one.mode == .leaderless && one.writeQuorum == 3 && one.shards.count == 1)
    #expect(one.shards[0].nodes == ["a:1", "b:1", "c:1"] && one.shards[0].leader == nil)
    #expect(one.shards[0].replicas.isEmpty)
    let two = try read(
      """
      {"mode":"leaderless","shards":[{"name":"x","index":0,"nodes":["a:1"]},
                                     {"name":"y","index":1,"nodes":["b:1","b:2"]}]}
      """)
    #expect(two.shards.map(\.nodes) == [["a:1"], ["b:1", "b:2"]])
  }

  @Test(
    "puts the keys of the contract into the right one of four",
    arguments: [
      ("party", 3), ("health", 3), ("moon", 2), ("mars", 2), ("earth", 3), ("watermelon", 3),
      ("chair", 0), ("boy", 1), ("my-key", 1), ("mykey", 0), ("user:123", 2), ("user:456", 3),
      ("foo", 3), ("key-550710753", 0), ("key-291864019", 1), ("key-7986636", 2),
      ("key-676220700", 3),
    ] as [(String, Int)])
  func ofFour(key: String, expected: Int) throws {
    let map = try read(four)
    #expect(Array(key.utf8).withUnsafeBytes { map.shard(of: $0) } == expected)
  }

  @Test(
    "and of two",
    arguments: [("adjective", 0), ("adverb", 1), ("watermelon", 1)] as [(String, Int)])
  func ofTwo(key: String, expected: Int) throws {
    let map = try read(
      #"{"shards":[{"name":"a","index":0,"leader":"a:1"},{"name":"b","index":1,"leader":"b:1"}]}"#)
    #expect(Array(key.utf8).withUnsafeBytes { map.shard(of: $0) } == expected)
  }

  @Test("spreads key-1 to key-100 as 27, 25, 24 and 24")
  func spread() throws {
    let map = try read(four)
    var counts = [0, 0, 0, 0]
    for number in 1...100 {
      counts[Array("key-\(number)".utf8).withUnsafeBytes { map.shard(of: $0) }] += 1
    }
    #expect(counts == [27, 25, 24, 24])
  }

  // MARK: - What is refused

  private static func shard(_ index: Int, _ rest: String = "") -> String {
    #"{"name":"s\#(index)","index":\#(index),"leader":"s\#(index):1"\#(rest)}"#
  }

  private static func shards(_ list: String..., rest: String = "") -> String {
    #"{"shards":[\#(list.joined(separator: ","))]\#(rest)}"#
  }

  @Test(
    "is refused with file and field",
    arguments: [
      (
        shards(shard(0), #"{"name":"x","index":0,"leader":"x:1"}"#),
        "shards[1].index: duplicate shard index: 0"
      ),
      (shards(shard(0), shard(2)), "shards: missing shard index: 1"),
      (shards(shard(1)), "shards: missing shard index: 0"),
      (shards(), "shards: no shards: there must be one at least"),
      ("{}", "shards: missing"),
      (
        shards(shard(0), #"{"name":"s0","index":1,"leader":"x:1"}"#),
        #"shards[1].name: duplicate shard name: "s0""#
      ),
      (
        shards(shard(0), #"{"name":"x","index":1,"leader":"S0:01"}"#),
        "shards[1].leader: duplicate address: s0:1 is shards[0].leader, too"
      ),
      (
        shards(shard(0, #","replicas":["r:1","r:1"]"#)),
        "shards[0].replicas[1]: duplicate address: r:1 is shards[0].replicas[0], too"
      ),
      (shards(shard(0), rest: #","shard":1"#), "shard: unknown field"),
      (shards(shard(0, #","Replicas":[]"#)), "shards[0].Replicas: unknown field"),
      (shards(shard(0, #","index":0"#)), "shards[0].index: is there twice"),
      (
        shards(shard(0), rest: #","version":0"#),
        "version: must be a whole number from 1 to 9223372036854775807"
      ),
      (shards(shard(0), rest: #","version":"1""#), "version: must be a number, not a text"),
      (
        shards(shard(0), rest: #","hash":"md5""#),
        #"hash: unknown hash "md5": fnv1-64 or fnv1-64-mix"#
      ),
      (
        shards(shard(0), rest: #","mode":"both""#),
        #"mode: unknown mode "both": leaderless, or leave it out"#
      ),
      (
        shards(shard(0), rest: #","write_quorum":0"#),
        "write_quorum: must be a whole number from 1 to 1"
      ),
      (
        shards(shard(0, #","replicas":["r:1"]"#), shard(1), rest: #","read_quorum":2"#),
        "read_quorum: must be a whole number from 1 to 1"
      ),
      (
        shards(shard(0, #","replicas":["r:1"]"#), rest: #","write_quorum":1.5"#),
        "write_quorum: must be a whole number from 1 to 2"
      ),
      ("[]", "must be an object, not a list"),
      (#"{"shards":{}}"#, "shards: must be a list, not an object"),
      (#"{"shards":[null]}"#, "shards[0]: must be an object, not null"),
      (#"{"shards":[{"index":0,"leader":"a:1"}]}"#, "shards[0].name: missing"),
      (#"{"shards":[{"name":"a","leader":"a:1"}]}"#, "shards[0].index: missing"),
      (#"{"shards":[{"name":"a","index":0}]}"#, "shards[0].leader: missing"),
      (
        #"{"shards":[{"name":"a","index":"0","leader":"a:1"}]}"#,
        "shards[0].index: must be a number, not a text"
      ),
      (
        #"{"shards":[{"name":"a","index":-1,"leader":"a:1"}]}"#,
        "shards[0].index: must be a whole number from 0 to 1023"
      ),
      (
        #"{"shards":[{"name":7,"index":0,"leader":"a:1"}]}"#,
        "shards[0].name: must be a text, not a number"
      ),
      (
        #"{"shards":[{"name":"","index":0,"leader":"a:1"}]}"#,
        "shards[0].name: bad name: from 1 to 64 bytes long"
      ),
      (
        #"{"shards":[{"name":"a","index":0,"leader":true}]}"#,
        "shards[0].leader: must be a text, not true or false"
      ),
      (
        #"{"shards":[{"name":"a","index":0,"leader":"a:1","replicas":"b:1"}]}"#,
        "shards[0].replicas: must be a list, not a text"
      ),
      (
        shards(shard(0, #","nodes":[]"#)),
        #"shards[0].nodes: only where "mode" is "leaderless""#
      ),
      (#"{"nodes":["a:1"]}"#, #"nodes: only where "mode" is "leaderless""#),
      (
        #"{"mode":"leaderless","nodes":["a:1"],"shards":[]}"#,
        #"shards: either "shards" or "nodes", not both"#
      ),
      (#"{"mode":"leaderless","nodes":[]}"#, "nodes: must be one address at least"),
      (
        #"{"mode":"leaderless","shards":[{"name":"a","index":0,"leader":"a:1"}]}"#,
        #"shards[0].leader: a leaderless shard has "nodes" in place of "leader" and "replicas""#
      ),
      (
        "{\n  \"shards\": [\n    {\"name\" \"a\"}\n]}",
        "line 3, column 13: not JSON: a colon is missing"
      ),
      ("", "line 1, column 1: not JSON: a value is missing: the text ends here"),
    ])
  func refused(json: String, message: String) throws {
    #expect(refusal(json) == "sharding.json: \(message)")
  }

  @Test(
    "refuses what is no address",
    arguments: [
      ("a", "the port is missing"), (":1", "the host is missing"), ("", "the host is missing"),
      ("a:", "the port must be a number from 1 to 65535"),
      ("a:0", "the port must be a number from 1 to 65535"),
      ("a:65536", "the port must be a number from 1 to 65535"),
      ("a:+1", "the port must be a number from 1 to 65535"),
      ("a b:1", #""a b" is no host's name"#),
      ("http://a:1", "write HOST:PORT, and an IPv6 address in brackets: [::1]:8080"),
      ("::1:8080", "write HOST:PORT, and an IPv6 address in brackets: [::1]:8080"),
      ("[::1:80", "the closing ] is missing"), ("[a]:80", "[a] is no IPv6 address"),
      ("[::1]", "the port is missing"), ("[]:1", "[] is no IPv6 address"),
    ])
  func badAddress(text: String, reason: String) {
    #expect(
      refusal(#"{"shards":[{"name":"a","index":0,"leader":"\#(text)"}]}"#)
        == #"sharding.json: shards[0].leader: bad address "\#(text)": \#(reason)"#)
  }

  @Test(
    "refuses names that are none of a directory",
    arguments: ["../a", "a/b", ".a", "-a", " a", "a ", #"a\\b"#, #"a\u0000b"#, #"a\u001b[1m"#])
  func badName(name: String) {
    #expect(
      refusal(#"{"shards":[{"name":"\#(name)","index":0,"leader":"a:1"}]}"#)?
        .hasPrefix("sharding.json: shards[0].name: bad name: ") == true)
  }

  @Test("is bounded")
  func bounds() {
    let many = (0...1_024).map { Self.shard($0) }.joined(separator: ",")
    #expect(refusal(#"{"shards":[\#(many)]}"#) == "sharding.json: shards: more than 1024 shards")
    let nodes = (1...64).map { #""r:\#($0)""# }.joined(separator: ",")
    #expect(
      refusal(Self.shards(Self.shard(0, #","replicas":[\#(nodes)]"#)))
        == "sharding.json: shards[0].replicas: more than 63 nodes")
    #expect(
      refusal(String(repeating: " ", count: 1 << 20 + 1))?.contains("larger than 1048576 bytes")
        == true)
  }

  private func read(_ json: String) throws(ShardMapError) -> ShardMap {
    try ShardMap(json: Array(json.utf8), file: "sharding.json")
  }

  private func refusal(_ json: String) -> String? {
    do throws(ShardMapError) {
      _ = try read(json)
      return nil
    } catch {
      return error.description
    }
  }
}

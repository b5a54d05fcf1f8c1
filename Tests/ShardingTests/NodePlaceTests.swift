import Sharding
import Testing

@Suite("The place of a node in a configuration")
struct NodePlaceTests {
  private let map: ShardMap

  init() throws {
    let json = """
      {"shards":[{"name":"a","index":0,"leader":"a:1","replicas":["a:2","a:3"]},
                 {"name":"b","index":1,"leader":"b:1","replicas":["b:2"]}]}
      """
    map = try ShardMap(json: Array(json.utf8), file: "f")
  }

  private func place(
    _ address: String?, _ shard: String? = nil, replica: Bool = false
  ) throws(ShardMapError) -> NodePlace {
    try map.place(address: address, shard: shard, isReplica: replica)
  }

  private func refusal(
    _ address: String?, _ shard: String? = nil, replica: Bool = false
  ) -> String? {
    do throws(ShardMapError) {
      _ = try place(address, shard, replica: replica)
      return nil
    } catch {
      return error.description
    }
  }

  @Test("is found by its address")
  func address() throws {
    let leader = try place("b:1")
    #expect(leader.shard.name == "b" && leader.role == .leader && leader.isListed)
    let replica = try place("a:3")
    #expect(replica.shard.index == 0 && replica.role == .replica && replica.isListed)
    #expect(try place("a:3", "a") == replica)
    #expect(try place("a:3", "a", replica: true) == replica)
    #expect(try place("a:3", replica: true) == replica)
  }

  @Test("is found by the shard where that leaves one address")
  func shard() throws {
    #expect(try place(nil, "a").address == "a:1")
    #expect(try place(nil, "b", replica: true).address == "b:2")
    #expect(try place(nil, "b", replica: true).role == .replica)
    #expect(
      refusal(nil, "a", replica: true)
        == "f: which of its nodes is this one? Choose with --http-addr: a:1, a:2, a:3")
    #expect(
      refusal(nil)
        == "f: which of its nodes is this one? Choose with --http-addr: a:1, a:2, a:3, b:1, b:2")
  }

  @Test("is one more replica at an address that is not listed, of a shard that is named")
  func unlisted() throws {
    let extra = try place("c:1", "b", replica: true)
    #expect(extra.shard.name == "b" && extra.role == .replica && !extra.isListed)
    #expect(extra.address == "c:1")
    let said =
      "Choose one of them with --http-addr, or add one more replica with --shard NAME --replica"
    #expect(
      refusal("c:1") == "f: c:1 is none of its nodes, which are a:1, a:2, a:3, b:1, b:2. \(said)")
    #expect(refusal("c:1", replica: true) == refusal("c:1"))
    #expect(refusal("c:1", "b") == "f: c:1 is none of its nodes, which are b:1, b:2. \(said)")
  }

  @Test("is refused where address, shard and role contradict each other")
  func contradictions() {
    #expect(
      refusal("a:1", "potato") == #"f: shards: Shard "potato" not found. There are a, b"#)
    #expect(refusal("a:1", "b") == #"f: shards: a:1 is a node of "a", not of "b""#)
    #expect(
      refusal("a:1", "a", replica: true)
        == #"f: shards: a:1 is the leader of "a": leave --replica out"#)
  }

  @Test("is a node like the others when leaderless")
  func leaderless() throws {
    let map = try ShardMap(
      json: Array(#"{"mode":"leaderless","nodes":["a:1","a:2"]}"#.utf8), file: "f")
    let place = try map.place(address: "a:2", shard: nil, isReplica: false)
    #expect(place.role == .replica && place.shard.name == "default")
    #expect(throws: ShardMapError.self) {
      try map.place(address: nil, shard: "default", isReplica: false)
    }
  }
}

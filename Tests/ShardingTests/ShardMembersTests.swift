import Sharding
import Testing

@Suite("A shard that no file describes")
struct ShardMembersTests {
  private func refusal(_ leader: String, _ replicas: [String]) -> String? {
    do throws(ShardMapError) {
      _ = try ShardMap(leader: leader, replicas: replicas, source: "s")
      return nil
    } catch {
      return error.description
    }
  }

  @Test("has its leader first, and addresses in one way of writing")
  func nodes() throws {
    let map = try ShardMap(leader: "A:01", replicas: ["b:2", "[::1]:3"], source: "s")
    #expect(map.shards.map(\.nodes) == [["a:1", "b:2", "[::1]:3"]])
    #expect(map.shards[0].leader == "a:1" && map.writeQuorum == 1 && map.readQuorum == 1)
    #expect(try ShardMap(leader: "a:1", replicas: [], source: "s").addresses == ["a:1"])
  }

  @Test("refuses bad addresses, doubled ones, and too many")
  func refusals() {
    #expect(refusal("a", []) == #"s: bad address "a": the port is missing"#)
    #expect(refusal("a:1", ["b:x"])?.hasPrefix(#"s: bad address "b:x": the port"#) == true)
    #expect(refusal("a:1", ["A:1"]) == "s: duplicate address: a:1 is the leader, too")
    #expect(refusal("a:1", ["b:1", "b:1"]) == "s: duplicate address: b:1 is replica 1, too")
    let many = (1...64).map { "b:\($0)" }
    #expect(refusal("a:1", many) == "s: more than 64 nodes")
    #expect(refusal("a:1", Array(many.dropLast())) == nil)
  }
}

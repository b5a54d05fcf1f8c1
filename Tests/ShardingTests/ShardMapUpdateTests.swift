import Sharding
import Testing

@Suite("A configuration that is offered to nodes that have one")
struct ShardMapUpdateTests {
  private func map(
    version: Int = 2, _ shards: [[String]] = [["a:1", "a:2"], ["b:1"]], hash: String = "fnv1-64",
    writeQuorum: Int = 1, names: [String] = ["x", "y", "z"]
  ) throws -> ShardMap {
    let shards = shards.enumerated().map { index, nodes in
      let replicas = nodes.dropFirst().map { "\"\($0)\"" }.joined(separator: ",")
      return
        #"{"name":"\#(names[index])","index":\#(index),"leader":"\#(nodes[0])","replicas":[\#(replicas)]}"#
    }
    return try ShardMap(
      json: Array(
        #"{"version":\#(version),"hash":"\#(hash)","write_quorum":\#(writeQuorum),"shards":[\#(shards.joined(separator: ","))]}"#
          .utf8), file: "f")
  }

  private func reason(_ offered: ShardMap) throws -> String {
    guard case .refused(let reason) = ShardMapUpdate(of: try map(), by: offered) else { return "" }
    return reason
  }

  @Test("counts by its version alone")
  func versions() throws {
    #expect(ShardMapUpdate(of: try map(), by: try map(version: 1)) == .notAbove)
    #expect(ShardMapUpdate(of: try map(), by: try map()) == .known)
    #expect(
      ShardMapUpdate(of: try map(), by: try map([["a:1", "a:3"], ["b:1"]])) == .contradiction)
    #expect(ShardMapUpdate(of: try map(), by: try map(names: ["x", "w"])) == .contradiction)
    #expect(ShardMapUpdate(of: try map(), by: try map(version: 3)) == .taken)
    #expect(ShardMapUpdate(of: try map(), by: try map(version: 900)) == .taken)
  }

  @Test("may change nodes, their order, quorums and names")
  func possible() throws {
    for shards in [
      [["a:2", "a:1"], ["b:1"]], [["a:1"], ["b:1"]], [["a:1", "a:2", "a:3"], ["b:1", "b:2"]],
      [["a:2"], ["b:1"]],
    ] {
      #expect(ShardMapUpdate(of: try map(), by: try map(version: 3, shards)) == .taken)
    }
    let pairs = [["a:1", "a:2"], ["b:1", "b:2"]]
    #expect(
      ShardMapUpdate(
        of: try map(pairs), by: try map(version: 3, pairs, writeQuorum: 2, names: ["p", "q"]))
        == .taken)
  }

  @Test("may not change what the keys depend on, and says how that is done")
  func fixed() throws {
    let more = try reason(try map(version: 3, [["a:1"], ["b:1"], ["c:1"]]))
    #expect(more.contains("the number of shards") && more.contains("2 here, 3 in version 3"))
    #expect(more.contains("snapshot-split"))
    let hash = try reason(try map(version: 3, hash: "fnv1-64-mix"))
    #expect(hash.hasPrefix("the hash cannot change") && hash.contains("fnv1-64-mix in version 3"))
    var leaderless = try map(version: 3)
    leaderless.mode = .leaderless
    #expect(try reason(leaderless).hasPrefix("the mode cannot change"))
  }

  @Test("may not move a node with its data to another shard")
  func moved() throws {
    let moved = try reason(try map(version: 3, [["a:1"], ["b:1", "a:2"]]))
    #expect(moved.hasPrefix("a:2 is a node of shard 0, and cannot be one of shard 1"), "\(moved)")
    let swapped = try reason(try map(version: 3, [["b:1"], ["a:1", "a:2"]]))
    #expect(swapped.hasPrefix("b:1 is a node of shard 1, and cannot be one of shard 0"))
  }

  @Test("may not have a stranger lead a shard")
  func stranger() throws {
    let refused = try reason(try map(version: 3, [["a:3", "a:1"], ["b:1"]]))
    #expect(refused.hasPrefix("a:3 is to lead shard 0, of which it is no node yet"), "\(refused)")
  }
}

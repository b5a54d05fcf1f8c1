import Sharding
import Testing

@Suite("What another configuration would change")
struct ShardMapDifferenceTests {
  private func map(
    _ count: Int, hash: ShardHash = .fnv1, name: (Int) -> String = { "s\($0)" }
  ) throws -> ShardMap {
    let shards = (0..<count).map {
      #"{"name":"\#(name($0))","index":\#($0),"leader":"\#(name($0)):1"}"#
    }
    let json = #"{"hash":"\#(hash.name)","shards":[\#(shards.joined(separator: ","))]}"#
    return try ShardMap(json: Array(json.utf8), file: "f")
  }

  @Test("is nothing where it is the same")
  func same() throws {
    let difference = ShardMapDifference(from: try map(4), to: try map(4))
    #expect(difference.moves.isEmpty && difference.nodes.isEmpty && difference.movedShare == 0)
  }

  @Test("is half of each shard when the shards double")
  func doubling() throws {
    let difference = ShardMapDifference(from: try map(2), to: try map(4))
    #expect(
      difference.moves == [
        .init(from: "s0", to: "s2", share: 0.25), .init(from: "s1", to: "s3", share: 0.25),
      ])
    #expect(difference.movedShare == 0.5)
    #expect(
      difference.nodes == [
        .init(shard: "s2", before: nil, after: ["s2:1"]),
        .init(shard: "s3", before: nil, after: ["s3:1"]),
      ])
  }

  @Test(
    "is what happens to real keys",
    arguments: [(2, 3), (3, 2), (4, 6), (4, 2), (1, 5), (6, 4)] as [(Int, Int)])
  func counted(from: Int, to: Int) throws {
    let (old, new) = (
      try map(from, hash: .fnv1Mixed), try map(to, hash: .fnv1Mixed)
    )
    let difference = ShardMapDifference(from: old, to: new)
    var counts: [String: Int] = [:]
    let keys = 20_000
    for number in 0..<keys {
      let key = Array("key-\(number)".utf8)
      let (before, after) = key.withUnsafeBytes { (old.shard(of: $0), new.shard(of: $0)) }
      if before != after { counts["s\(before) s\(after)", default: 0] += 1 }
    }
    #expect(Set(counts.keys) == Set(difference.moves.map { "\($0.from) \($0.to)" }))
    for move in difference.moves {
      let share = Double(counts["\(move.from) \(move.to)"] ?? 0) / Double(keys)
      #expect(abs(share - move.share) < 0.02, "\(move)")
    }
  }

  @Test("is nearly everything under another hash, and all under other names")
  func everything() throws {
    let hash = ShardMapDifference(from: try map(4), to: try map(4, hash: .fnv1Mixed))
    #expect(hash.movedShare == 0.75 && hash.moves.count == 12 && hash.nodes.isEmpty)
    let names = ShardMapDifference(from: try map(2), to: try map(2) { "t\($0)" })
    #expect(names.movedShare == 1)
    #expect(names.nodes.map(\.shard) == ["s0", "s1", "t0", "t1"])
    #expect(names.nodes[0].after == nil)
  }
}

import Foundation
import Sharding
import Testing

@Suite("The example of a configuration")
struct ExampleTests {
  @Test("is one")
  func isRead() throws {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
    let json = try Data(contentsOf: root.appendingPathComponent("sharding.json"))
    let map = try ShardMap(json: Array(json), file: "sharding.json")
    #expect(map.shards.map(\.name) == ["name", "place", "animal", "thing"])
    #expect(map.addresses.count == 8 && map.hash == .fnv1)
  }
}

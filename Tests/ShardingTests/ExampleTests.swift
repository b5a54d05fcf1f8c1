import Foundation
import Sharding
import Testing

@Suite("The example of a configuration")
struct ExampleTests {
  @Test("is one")
  func isRead() throws {
    let map = try Self.read("sharding.json")
    #expect(map.shards.map(\.name) == ["name", "place", "animal", "thing"])
    #expect(map.addresses.count == 8 && map.hash == .fnv1)
  }

  @Test("of five nodes has the quorums of its name", arguments: [(5, 1), (1, 5), (3, 3)])
  func fiveNodes(write: Int, read: Int) throws {
    let map = try Self.read("examples/w\(write)r\(read).json")
    #expect(map.writeQuorum == write && map.readQuorum == read)
    #expect(map.shards.map(\.name) == ["w\(write)r\(read)"] && map.addresses.count == 5)
  }

  private static func read(_ name: String) throws -> ShardMap {
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
    let json = try Data(contentsOf: root.appendingPathComponent(name))
    return try ShardMap(json: Array(json), file: name)
  }
}

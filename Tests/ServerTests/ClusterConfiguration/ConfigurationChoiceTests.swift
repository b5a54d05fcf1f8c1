import Server
import Sharding
import Testing

@Suite("Of a file and what a node has taken")
struct ConfigurationChoiceTests {
  private func map(_ version: Int, _ file: String, leader: String = "a:1") throws -> ShardMap {
    try ShardMap(
      json: Array(
        #"{"version":\#(version),"shards":[{"name":"x","index":0,"leader":"\#(leader)"}]}"#.utf8),
      file: file)
  }

  @Test("the higher version counts, and it is said where there was a choice")
  func higher() throws {
    let older = try #require(
      try ConfigurationChoice(file: map(3, "f.json"), stored: map(5, "d/config")))
    #expect(older.map.version == 5 && !older.isToBeStored)
    #expect(older.remark == "configuration: version 5, of d/config; f.json is older, version 3")
    let newer = try #require(
      try ConfigurationChoice(file: map(6, "f.json"), stored: map(5, "d/config")))
    #expect(newer.map.version == 6 && newer.isToBeStored)
    #expect(newer.remark == "configuration: version 6, of f.json; d/config is older, version 5")
  }

  @Test("the only one counts")
  func only() throws {
    #expect(try ConfigurationChoice(file: nil, stored: nil) == nil)
    let file = try #require(try ConfigurationChoice(file: map(3, "f.json"), stored: nil))
    #expect(file.map.version == 3 && file.remark == nil && !file.isToBeStored)
    let stored = try #require(try ConfigurationChoice(file: nil, stored: map(4, "d/config")))
    #expect(stored.map.version == 4 && stored.remark == "configuration: version 4, of d/config")
  }

  @Test("neither counts where both have one version and differ; what to do is said")
  func contradiction() throws {
    let same = try #require(
      try ConfigurationChoice(file: map(3, "f.json"), stored: map(3, "d/config")))
    #expect(same.map.file == "f.json" && !same.isToBeStored)
    #expect {
      _ = try ConfigurationChoice(file: map(3, "f.json"), stored: map(3, "d/config", leader: "b:1"))
    } throws: { error in
      "\(error)".hasPrefix(
        "f.json and d/config are both version 3, and differ: raise the version in f.json")
    }
  }
}

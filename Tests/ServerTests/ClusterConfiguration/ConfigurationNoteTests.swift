import Server
import Sharding
import SimulatedDisk
import Testing
import WAL

@Suite("A configuration in the data directory")
struct ConfigurationNoteTests {
  private static func map(_ version: Int, nodes: Int = 1) throws -> ShardMap {
    let replicas = (1..<nodes).map { "\"a:\($0 + 1)\"" }.joined(separator: ",")
    return try ShardMap(
      json: Array(
        #"{"version":\#(version),"shards":[{"name":"x","index":0,"leader":"a:1","replicas":[\#(replicas)]}]}"#
          .utf8), file: "/data/config")
  }

  @Test("is none at first, and then what was written last")
  func written() throws {
    let disk = SimulatedDisk(seed: 1)
    let note = ConfigurationNote("/data", fileSystem: disk)
    #expect(try note.read() == nil)
    #expect(try ConfigurationNote("/none", fileSystem: disk).read() == nil)
    for map in [try Self.map(2, nodes: 9), try Self.map(3), try Self.map(4, nodes: 3)] {
      try note.write(map)
      #expect(try note.read() == map)
      disk.losePower()
      #expect(try note.read() == map)
    }
  }

  @Test("is the one before or the one behind at a crash, at whichever call, and never another")
  func crash() throws {
    let (old, new) = (try Self.map(2, nodes: 4), try Self.map(3))
    var isDone = false
    var call = 1
    var found: Set<Int> = []
    while !isDone {
      for losesPower in [true, false] {
        for seed in 0..<8 as Range<UInt64> {
          let disk = SimulatedDisk(seed: seed)
          let note = ConfigurationNote("/data", fileSystem: disk)
          try note.write(old)
          // A longer one, that never got its name.
          disk.put("/data/config.tmp", [UInt8](repeating: 7, count: 4_000))
          let start = disk.calls
          disk.fault = { _, _ in disk.calls >= start + call ? .die : nil }
          do {
            try note.write(new)
            isDone = true
          } catch {
            guard disk.isDead else { throw error }
          }
          if losesPower { disk.losePower() } else { disk.restartProcess() }
          let read = try #require(try note.read(), "call \(call)")
          #expect(read == old || read == new, "call \(call)")
          #expect(!isDone || read == new)
          found.insert(read.version)
          try note.write(new)
          #expect(try note.read() == new)
        }
      }
      call += 1
    }
    #expect(found == [2, 3] && call > 5)
  }

  @Test("is refused with whichever byte of it is changed or gone, and nothing is changed")
  func damage() throws {
    let disk = SimulatedDisk(seed: 1)
    let note = ConfigurationNote("/data", fileSystem: disk)
    try note.write(try Self.map(2, nodes: 2))
    let bytes = try #require(disk.contents("/data/config"))
    var damaged: [[UInt8]] = bytes.indices.map { index in
      var copy = bytes
      copy[index] ^= 4
      return copy
    }
    damaged += [[], Array(bytes.dropLast()), bytes + [10], [10] + bytes, Array(bytes.prefix(9))]
    for bytes in damaged {
      try disk.remove("/data/config")
      disk.put("/data/config", bytes)
      #expect {
        _ = try note.read()
      } throws: { error in
        "\(error)".hasPrefix("/data/config: at byte ") && "\(error)".contains("kv config show")
      }
      #expect(disk.contents("/data/config") == bytes)
    }
  }
}

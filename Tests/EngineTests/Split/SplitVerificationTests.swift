import Engine
import Sharding
import SimulatedDisk
import Testing
import WAL

@Suite("The proof of a split")
struct SplitVerificationTests {
  private let fixture = SnapshotFixture()
  private let rule = SplitRule(
    parent: ShardNote(index: 0, count: 1, hash: .fnv1), count: 2, frameTimeMilliseconds: 0)
  private let entries: [[UInt8]: Found]
  private let paths = ["/data/snapshots/0.snap", "/data/snapshots/1.snap"]

  init() throws {
    var random = SeededRandom(seed: 3)
    entries = SnapshotFixture.someEntries(200, &random)
    try fixture.write(entries)
  }

  private func child(_ index: Int) -> [[UInt8]: Found] {
    SplitFixture.entries(entries, of: rule.note(of: index))
  }

  private func verify(_ children: [[[UInt8]: Found]], shardCount: UInt32 = 2) throws {
    for (index, entries) in children.enumerated() {
      var header = fixture.header()
      header.shardIndex = UInt32(index)
      header.shardCount = shardCount
      let writer = try SnapshotWriter(
        header, path: paths[index], fileSystem: fixture.disk, pace: Pace())
      for entry in fixture.sorted(entries) { try fixture.append(entry, to: writer) }
      _ = try writer.finish()
    }
    try SplitVerification(rule: rule, fileSystem: fixture.disk, pace: Pace())
      .run(try fixture.open(), paths, leftOut: LeftOut())
  }

  @Test("is had where each child has what is its own")
  func whole() throws {
    try verify([child(0), child(1)])
  }

  @Test("is not had where a key is missing, twice, in the wrong one, or one that nobody had")
  func keys() throws {
    let (first, second) = (child(0), child(1))
    let key = try #require(second.keys.sorted { $0.lexicographicallyPrecedes($1) }.first)
    var without = second
    without[key] = nil
    let with = first.merging([key: second[key]!]) { $1 }
    let new = second.merging([utf8("new"): Found(version: 5, value: [], expiry: nil)]) { $1 }
    for children in [
      [first, without], [with, second], [with, without], [second, first], [first, new],
    ] {
      #expect(throws: WALError.self) { try verify(children) }
    }
  }

  @Test("is not had where a value, an expiry or a version is another, though the digests may agree")
  func contents() throws {
    let (first, second) = (child(0), child(1))
    let key = try #require(second.first { !$0.value.value.isEmpty && $0.value.expiry == nil }?.key)
    var value = second
    value[key]!.value[0] ^= 1
    #expect {
      try verify([first, value])
    } throws: { "\($0)".contains("missing in it, or is another") }
    var version = second
    version[key]!.version += 1_000
    #expect(throws: WALError.self) { try verify([first, version]) }
    let expiring = try #require(second.first { $0.value.expiry != nil }?.key)
    var expiry = second
    expiry[expiring]!.expiry! += 1
    #expect {
      try verify([first, expiry])
    } throws: { "\($0)".contains("missing in it, or is another") }
  }

  @Test("is not had of another split's children")
  func shards() {
    #expect { try verify([child(0), child(1)], shardCount: 4) } throws: {
      "\($0)".contains("not of")
    }
  }
}

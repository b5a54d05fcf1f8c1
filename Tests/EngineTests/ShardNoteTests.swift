import Engine
import Sharding
import SimulatedDisk
import Testing
import WAL

@Suite("The note of which shard a directory holds")
struct ShardNoteTests {
  private let disk = SimulatedDisk(seed: 1, directories: ["/data"])

  private func open(
    _ index: UInt32, of count: UInt32, _ hash: ShardHash = .fnv1
  ) throws(WALError) -> Store {
    var options = StoreOptions(dataDirectory: "/data", node: 7)
    options.fileSystem = disk
    options.usesThreads = false
    options.segmentBytes = 4_096
    (options.shardIndex, options.shardCount, options.hash) = (index, count, hash)
    return try Store.open(options)
  }

  /// Opens and closes it; the words of the refusal, or nil.
  private func refusal(
    _ index: UInt32, of count: UInt32, _ hash: ShardHash = .fnv1
  ) throws -> String? {
    let store: Store
    do throws(WALError) {
      store = try open(index, of: count, hash)
    } catch {
      return error.description
    }
    try store.close()
    return nil
  }

  private var note: String {
    String(decoding: disk.contents("/data/shard") ?? [], as: UTF8.self)
  }

  @Test("is a line with a checksum")
  func text() {
    let note = ShardNote(index: 3, count: 4, hash: .fnv1Mixed)
    #expect(note.text.hasPrefix("3 of 4 fnv1-64-mix "))
    #expect(ShardNote(note.text) == note)
    for other in [
      "", "3 of 4 fnv1-64-mix", note.text + " ", note.text.replacing("3 of", with: "2 of"),
      note.text.replacing(" of ", with: " in "), note.text.uppercased(),
      "4 of 4 fnv1-64 00000000",
    ] {
      #expect(ShardNote(other) == nil, "\(other)")
    }
  }

  @Test("says what the directory held before, and where its history was then")
  func start() {
    let text =
      "2 of 4 fnv1-64 from 0 of 2 at 5fecdedd8c298c74 1-c69a7e52497fff40 205 81f4e6b1 8ee39098"
    let point = LogBase(
      origin: 0x5fec_dedd_8c29_8c74,
      position: LogPosition(
        epoch: Epoch(number: 1, node: 0xc69a_7e52_497f_ff40), sequence: 205, crc: 0x81f4_e6b1))
    let note = ShardNote(
      index: 2, count: 4, hash: .fnv1,
      start: ShardStart(heldIndex: 0, heldCount: 2, point: point))
    #expect(note.text == text && ShardNote(text) == note)
    #expect(ShardNote("0 of 1 fnv1-64 598ac645") == ShardNote(index: 0, count: 1, hash: .fnv1))
    // Every character counts, and none may be missing.
    for position in text.indices {
      var other = text
      other.replaceSubrange(position...position, with: text[position] == "7" ? "6" : "7")
      #expect(ShardNote(other) == nil, "\(other)")
      other = text
      other.remove(at: position)
      #expect(ShardNote(other) == nil, "\(other)")
    }
  }

  @Test("is there before there is a log, and stays")
  func written() throws {
    #expect(try refusal(2, of: 4) == nil)
    #expect(note.hasPrefix("2 of 4 fnv1-64 "))
    let before = note
    #expect(try refusal(2, of: 4) == nil)
    #expect(note == before)
  }

  @Test("lets a shard be taken for one that is cut out of it, from then on")
  func cut() throws {
    #expect(try refusal(1, of: 2) == nil)
    #expect(try refusal(3, of: 4) == nil)
    // Its log's first record was there; no key was, so nothing of another shard can be.
    #expect(note.hasPrefix("3 of 4 fnv1-64 from 1 of 2 at "))
    #expect(try refusal(3, of: 4) == nil)
    #expect(note.hasPrefix("3 of 4 fnv1-64 from 3 of 4 at "))
    #expect(
      try refusal(1, of: 2)
        == "/data: it holds shard 3 of 4 (fnv1-64), and does not serve as shard 1 of 2 (fnv1-64). Start "
        + "with the configuration that it was made with, or choose another --data-dir")
    #expect(try refusal(7, of: 12) == nil)
  }

  @Test(
    "keeps a directory from serving as any other shard",
    arguments: [(0, 2), (0, 4), (2, 4), (1, 3), (4, 6), (0, 1)] as [(UInt32, UInt32)])
  func other(index: UInt32, count: UInt32) throws {
    #expect(try refusal(1, of: 2) == nil)
    let before = disk.paths.filter { !$0.hasSuffix("LOCK") }.map { disk.contents($0) }
    let said = try #require(try refusal(index, of: count))
    #expect(said.contains("shard 1 of 2 (fnv1-64)") && said.contains("shard \(index) of \(count) "))
    #expect(disk.paths.filter { !$0.hasSuffix("LOCK") }.map { disk.contents($0) } == before)
  }

  @Test("keeps a directory from another hash")
  func hash() throws {
    #expect(try refusal(1, of: 2, .fnv1Mixed) == nil)
    let said = try #require(try refusal(1, of: 2))
    #expect(said.contains("shard 1 of 2 (fnv1-64-mix)") && said.contains("shard 1 of 2 (fnv1-64)."))
  }

  @Test("is refused when it is damaged, and nothing is changed")
  func damaged() throws {
    #expect(try refusal(1, of: 2) == nil)
    var bytes = try #require(disk.contents("/data/shard"))
    bytes[0] ^= 1
    disk.put("/data/shard", bytes)
    let said = try #require(try refusal(0, of: 2))
    #expect(said.hasPrefix("/data/shard: at byte 0: damaged: "), "\(said)")
    #expect(disk.contents("/data/shard") == bytes)
  }

  @Test("is made for a directory of before there were notes: one shard, the first hash")
  func absent() throws {
    #expect(try refusal(0, of: 1) == nil)
    try disk.remove("/data/shard")
    #expect(try refusal(0, of: 1, .fnv1Mixed)?.contains("shard 0 of 1 (fnv1-64)") == true)
    #expect(disk.contents("/data/shard") == nil)
    #expect(try refusal(1, of: 2) == nil)
    #expect(note.hasPrefix("1 of 2 "))
  }

  @Test("is what the snapshot says where there is none")
  func snapshot() throws {
    let node = SnapshotNode(disk)
    (node.options.shardIndex, node.options.shardCount) = (1, 2)
    try node.start()
    node.put("key")
    _ = try node.snapshot()
    try node.stop()
    try disk.remove("/data/shard")
    (node.options.shardIndex, node.options.shardCount) = (0, 2)
    #expect {
      try node.start()
    } throws: { error in
      "\(error)".hasPrefix(
        "/data: it holds shard 1 of 2 (fnv1-64), and does not serve as shard 0 of 2 (fnv1-64).")
    }
    #expect(disk.contents("/data/shard") == nil)
    (node.options.shardIndex, node.options.shardCount) = (3, 4)
    try node.start()
    node.expectAll("as a part of it")
    #expect(note.hasPrefix("3 of 4 fnv1-64 "))
    try node.stop()
  }
}

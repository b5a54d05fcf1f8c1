import Engine
import Glibc
import Sharding
import SimulatedDisk
import Testing
import WAL

/// The repository's root, from where this file was compiled.
private let root = #filePath.split(separator: "/").dropLast(4).reduce("") { $0 + "/" + $1 }

private func contents(_ path: String) throws -> [UInt8] {
  let file = try SystemFileSystem().open(path, .readOnly)
  return try file.bytes(count: Int(try file.size()))
}

/// A snapshot of format version 1 that never changes.
private struct FrozenSnapshot {
  /// A record of a snapshot, with all that it can hold.
  struct Entry {
    var version: UInt64
    var key: [UInt8]
    var value: [UInt8]
    var metadata = RecordMetadata()
    var clock: [ClockEntry] = []

    var record: [UInt8] {
      let count = Record.encodedBytes(
        metadata: metadata, clockEntries: clock.count, key: key.count, value: value.count)
      return [UInt8](unsafeUninitializedCapacity: count) { buffer, written in
        Record.encode(
          .put, metadata: metadata, clock: clock, key: key.span.bytes, value: value.span.bytes,
          into: UnsafeMutableRawBufferPointer(buffer))
        written = count
      }
    }
    var order: KeyOrder { KeyOrder(shardHash: key.withUnsafeBytes { ShardHash.fnv1($0) }) }
  }

  var name: String
  var header: SnapshotHeader
  var entries: [Entry]

  var path: String { root + "/Tests/Fixtures/v1/\(name).snap" }

  /// That of the worked example: the log of the log's own example, up to its end.
  static var example: FrozenSnapshot {
    let position = LogPosition(epoch: Epoch(number: 1, node: 7), sequence: 2, crc: 0xE78C_5FD3)
    return FrozenSnapshot(
      name: "example",
      header: SnapshotHeader(
        timeMilliseconds: 1_700_000_000_500, frameTimeMilliseconds: 1_700_000_000_000,
        hash: .fnv1, shardIndex: 0, shardCount: 1,
        positions: [LogBase(origin: 0x0123_4567_89AB_CDEF, position: position)],
        epochs: [EpochHistory.Start(Epoch(number: 1, node: 7), at: 1)]),
      entries: [Entry(version: 2, key: utf8("party"), value: utf8("Great"))])
  }

  /// One with every field in use, of several blocks.
  static var known: FrozenSnapshot {
    var snapshot = FrozenSnapshot(
      name: "known", header: SnapshotFixture().header(sequence: 1_000_000), entries: [])
    snapshot.header.shardIndex = 1
    snapshot.header.shardCount = 4
    snapshot.header.positions.append(
      LogBase(
        origin: 9, position: LogPosition(epoch: Epoch(number: 3, node: 4), sequence: 5, crc: 6)))
    for (number, key) in SnapshotFixture.colliding(3).enumerated() {
      snapshot.entries.append(Entry(version: UInt64(number + 3), key: key, value: []))
    }
    for number in 0..<300 {
      snapshot.entries.append(
        Entry(
          version: UInt64(number * 7 + 10), key: utf8("key-\(number)"),
          value: utf8(String(repeating: "value-\(number) ", count: 200)),
          metadata: RecordMetadata(
            expiryMilliseconds: number % 3 == 0 ? 1_800_000_000_000 : nil,
            stamp: number % 5 == 0 ? UInt64(number) : nil),
          clock: number % 7 == 0 ? [ClockEntry(origin: 5, sequence: 6)] : []))
    }
    snapshot.entries.sort {
      $0.order == $1.order ? $0.key.lexicographicallyPrecedes($1.key) : $0.order < $1.order
    }
    return snapshot
  }

  func write(_ disk: SimulatedDisk) throws -> SnapshotFile {
    let path = "/data/a.snap"
    let writer = try SnapshotWriter(header, path: path, fileSystem: disk, pace: Pace())
    for entry in entries {
      let bytes = entry.record
      let record = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 8)
      defer { record.deallocate() }
      record.copyBytes(from: bytes)
      try writer.append(
        entry.order, version: entry.version, UnsafeRawBufferPointer(record),
        dataBytes: entry.key.count + entry.value.count)
    }
    _ = try writer.finish()
    return try SnapshotFile(path, fileSystem: disk)
  }
}

@Suite("Snapshot format v1")
struct SnapshotFixtureTests {
  /// The bytes of all blocks, decompressed.
  private func blocks(_ file: SnapshotFile) throws -> [[UInt8]] {
    var blocks = SnapshotBlocks(file)
    return try file.footer.blocks.indices.map { number in
      try blocks.load(number)
      while try blocks.next() != nil {}
      return Array(blocks.bytes)
    }
  }

  /// `WRITE_FIXTURES` makes the files, which is for a new format version only: these never change.
  private func frozen(_ snapshot: FrozenSnapshot) throws -> SnapshotFile {
    if getenv("WRITE_FIXTURES") != nil {
      let disk = SimulatedDisk(seed: 1)
      _ = try snapshot.write(disk)
      try SystemFileSystem().open(snapshot.path, .create)
        .writeAll(disk.contents("/data/a.snap")!, at: 0)
    }
    return try SnapshotFile(snapshot.path)
  }

  @Test("reads snapshots that were written when it was new", arguments: ["example", "known"])
  func reads(name: String) throws {
    let snapshot = name == "known" ? FrozenSnapshot.known : .example
    let file = try frozen(snapshot)
    #expect(file.header == snapshot.header)
    #expect(file.footer.entries == UInt64(snapshot.entries.count))
    let expected = snapshot.entries.flatMap { entry in
      withUnsafeBytes(of: entry.version.littleEndian) { Array($0) } + entry.record
    }
    #expect(try blocks(file).flatMap { $0 } == expected)
    let index = Index(shardCount: file.header.shardCount)
    try SnapshotLoad.run(file, into: index, threads: 2)
    for entry in snapshot.entries {
      let found = Found(
        version: entry.version, value: entry.value, expiry: entry.metadata.expiryMilliseconds)
      #expect(index.get(entry.key) == found)
    }
  }

  /// What zstd makes of a block may differ between its versions; all else may not.
  @Test("writes what it wrote when it was new", arguments: ["example", "known"])
  func writes(name: String) throws {
    let snapshot = name == "known" ? FrozenSnapshot.known : .example
    let file = try frozen(snapshot)
    let disk = SimulatedDisk(seed: 1)
    let again = try snapshot.write(disk)
    let headerBytes = snapshot.header.bytes
    #expect(
      Array(try contents(snapshot.path)[..<headerBytes])
        == Array(disk.contents("/data/a.snap")![..<headerBytes]))
    #expect(try blocks(again) == blocks(file))
    #expect(again.footer.digests == file.footer.digests)
    #expect(
      again.footer.dataBytes == file.footer.dataBytes
        && again.footer.entries == file.footer.entries)
    #expect(again.footer.blocks.map(\.rawBytes) == file.footer.blocks.map(\.rawBytes))
    #expect(again.footer.blocks.map(\.entries) == file.footer.blocks.map(\.entries))
    #expect(again.footer.blocks.map(\.firstOrder) == file.footer.blocks.map(\.firstOrder))
    #expect(name == "example" || file.footer.blocks.count > 2)
  }

  /// The example of `docs/format.md`, byte for byte; bytes that it leaves out are zero.
  @Test("is what the worked example in its description shows")
  func workedExample() throws {
    let bytes = try contents(FrozenSnapshot.example.path)
    let text = String(decoding: try contents(root + "/docs/format.md"), as: UTF8.self)
    let lines = text.split(separator: "\n").drop { $0 != "## Worked example of a snapshot" }
    var isShown = [Bool](repeating: false, count: bytes.count)
    for line in lines where line.hasPrefix("    0") {
      let words = line.split(separator: " ")
      var offset = try #require(Int(words[0], radix: 16))
      for byte in words.dropFirst().prefix(while: { $0.count == 2 }) {
        #expect(UInt8(byte, radix: 16) == bytes[offset], "\(line)")
        isShown[offset] = true
        offset += 1
      }
    }
    #expect(zip(bytes, isShown).allSatisfy { $0 == 0 || $1 })
    #expect(isShown.count { $0 } > 200)
  }
}

import Engine
import Sharding
import SimulatedDisk
import Testing
import WAL

/// Snapshots on a simulated disk, of entries that a test lists.
struct SnapshotFixture {
  let disk = SimulatedDisk(seed: 1, directories: ["/data", "/data/snapshots"])
  var hash = ShardHash.fnv1
  var shardCount: UInt32 = 1

  /// Keys of these bytes and any number of zeros behind them all have the hash 0.
  static let zeroHashKey: [UInt8] = [0x92, 0x06, 0x77, 0x4c, 0xe0, 0x2f, 0x89, 0x2a, 0xd2]

  static func colliding(_ count: Int, behind suffix: [UInt8] = []) -> [[UInt8]] {
    (0..<count).map { zeroHashKey + [UInt8](repeating: 0, count: $0) + suffix }
  }

  func header(sequence: UInt64 = 1 << 40) -> SnapshotHeader {
    SnapshotHeader(
      timeMilliseconds: 1_700_000_000_000, frameTimeMilliseconds: 1_600_000_000_000, hash: hash,
      shardIndex: 0, shardCount: shardCount,
      positions: [
        LogBase(
          origin: 0x0123_4567_89AB_CDEF,
          position: LogPosition(
            epoch: Epoch(number: 2, node: 9), sequence: sequence, crc: 0xDEAD_BEEF))
      ],
      epochs: [
        EpochHistory.Start(Epoch(number: 1, node: 7), at: 1),
        EpochHistory.Start(Epoch(number: 2, node: 9), at: 5),
      ])
  }

  /// The entries as a snapshot has them.
  func sorted(_ entries: [[UInt8]: Found]) -> [(order: KeyOrder, key: [UInt8], found: Found)] {
    entries.map { key, found in
      (KeyOrder(shardHash: key.withUnsafeBytes { hash($0) }), key, found)
    }.sorted {
      $0.order == $1.order ? $0.key.lexicographicallyPrecedes($1.key) : $0.order < $1.order
    }
  }

  func append(
    _ entry: (order: KeyOrder, key: [UInt8], found: Found), to writer: SnapshotWriter
  ) throws {
    let metadata = RecordMetadata(expiryMilliseconds: entry.found.expiry)
    let count = Record.encodedBytes(
      metadata: metadata, key: entry.key.count, value: entry.found.value.count)
    let record = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 8)
    defer { record.deallocate() }
    Record.encode(
      .put, metadata: metadata, key: entry.key.span.bytes, value: entry.found.value.span.bytes,
      into: record)
    try writer.append(
      entry.order, version: entry.found.version, UnsafeRawBufferPointer(record),
      dataBytes: entry.key.count + entry.found.value.count)
  }

  @discardableResult
  func write(_ entries: [[UInt8]: Found], to path: String = "/data/snapshots/a.snap") throws
    -> SnapshotFooter
  {
    let writer = try SnapshotWriter(header(), path: path, fileSystem: disk, pace: Pace())
    for entry in sorted(entries) { try append(entry, to: writer) }
    return try writer.finish()
  }

  func open(_ path: String = "/data/snapshots/a.snap") throws(WALError) -> SnapshotFile {
    try SnapshotFile(path, fileSystem: disk)
  }

  /// The keys and versions in the order of the file.
  func entries(_ file: SnapshotFile) throws -> [(key: [UInt8], found: Found)] {
    var found: [(key: [UInt8], found: Found)] = []
    var blocks = SnapshotBlocks(file)
    for number in file.footer.blocks.indices {
      try blocks.load(number)
      while let entry = try blocks.next() {
        let bytes = blocks.bytes
        found.append(
          (
            Array(bytes[entry.record.key]),
            Found(
              version: entry.version, value: Array(bytes[entry.record.value]),
              expiry: entry.record.metadata.expiryMilliseconds)
          ))
      }
    }
    return found
  }

  func load(_ file: SnapshotFile, threads: Int = 1) throws -> Index {
    let index = Index(hash: file.header.hash, shardCount: file.header.shardCount)
    try SnapshotLoad.run(file, into: index, threads: threads)
    return index
  }

  /// Entries of all sizes, some of which expire, among them keys of one hash.
  static func someEntries(_ count: Int, _ random: inout SeededRandom) -> [[UInt8]: Found] {
    var entries: [[UInt8]: Found] = [:]
    for key in colliding(5) + colliding(4, behind: [1, 2]) {
      entries[key] = Found(version: 1 + random.next() % 1_000, value: key, expiry: nil)
    }
    for number in 0..<count {
      let key = random.bytes(1 + random.below(40))
      let value = random.bytes(random.once(in: 50) ? 20_000 : random.below(300))
      entries[key] = Found(
        version: UInt64(number) + 1, value: value,
        expiry: random.once(in: 4) ? 1_800_000_000_000 + random.next() % 1_000 : nil)
    }
    return entries
  }
}

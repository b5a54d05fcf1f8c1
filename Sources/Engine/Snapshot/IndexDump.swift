import WAL

/// A snapshot from memory, for when a part of the log cannot be read.
///
/// The node goes on meanwhile, so what is written first mixes moments: each key as it is when its
/// stripe's turn comes. But it has every change up to the moment when it was begun, and what came
/// later is in the log: a merge of both is exact again, because of each key the highest sequence number
/// counts.
enum IndexDump {
  static func run(
    _ log: SnapshotLog, _ place: SnapshotMerge.Place, pace: Pace
  ) throws(WALError) -> SnapshotFile {
    let start = try log.sealedEnd()
    try log.awaitCoverable(start.position.sequence, pace)
    let mixed = try write(log, start, place, pace)
    let fileSystem = place.directory.fileSystem
    do {
      try log.awaitCoverable(try log.sealedEnd().position.sequence, pace)
      let behind = try log.sealedSegments(behind: start.position.sequence)
      let input = SnapshotMerge.Input(
        previous: mixed, segments: behind.segments, next: behind.next)
      let made = try SnapshotMerge.run(input, place, pace: pace)
      try fileSystem.remove(mixed.path)
      return made
    } catch {
      do { try fileSystem.remove(mixed.path) } catch {}
      throw error
    }
  }

  private struct Entry {
    var order: KeyOrder
    var version: UInt64
    var expiry: UInt64?
    var key: [UInt8]
    var value: [UInt8]
    var large: LargeValue?
  }

  private static func write(
    _ log: SnapshotLog, _ start: LogBase, _ place: SnapshotMerge.Place, _ pace: Pace
  ) throws(WALError) -> SnapshotFile {
    let header = SnapshotHeader(
      timeMilliseconds: place.clock.wallMilliseconds(),
      frameTimeMilliseconds: log.index.frameTime, hash: place.hash,
      shardIndex: place.shardIndex, shardCount: place.shardCount, positions: [start],
      epochs: log.epochs.all.filter { $0.firstSequence <= start.position.sequence })
    // A start removes what ends so.
    let path = place.directory.path + "/index" + SnapshotWriter.temporarySuffix
    let fileSystem = place.directory.fileSystem
    let writer = try SnapshotWriter(header, path: path, fileSystem: fileSystem, pace: pace)
    do {
      // Keys of other shards, before a purge, stand elsewhere in the order than the stripes do.
      let bits = UInt64(place.shardCount.trailingZeroBitCount)
      let mask: UInt64 = 1 << bits - 1
      for residue in residues(log.index, mask) {
        for stripe in 0..<Index.stripeCount {
          for entry in entries(log.index, stripe, mask, residue) { try append(entry, to: writer) }
        }
      }
      _ = try writer.finish()
    } catch {
      writer.discard()
      throw error
    }
    return try SnapshotFile(path, fileSystem: fileSystem)
  }

  /// The low bits of the hashes that there are, in the order of snapshots.
  private static func residues(_ index: Index, _ mask: UInt64) -> [UInt64] {
    guard mask > 0 else { return [0] }
    var found: Set<UInt64> = []
    var run = KeyRun()
    for stripe in 0..<Index.stripeCount {
      var next: UInt64? = 0
      while let start = next {
        run.removeAll()
        next = index.copyKeys(
          ofStripe: stripe, from: start, slots: KeyDirectoryBuild.slotsPerLock, into: &run)
        run.forEach(in: 0..<run.count) { found.insert(index.hasher($0).shard & mask) }
      }
    }
    return found.sorted { $0.bitReversed < $1.bitReversed }
  }

  /// The keys of a stripe, and what each has when its turn comes. The lock is held for a few of them
  /// at a time: readers and the writer go on.
  private static func entries(
    _ index: Index, _ stripe: Int, _ mask: UInt64, _ residue: UInt64
  ) -> [Entry] {
    var entries: [Entry] = []
    var run = KeyRun()
    var next: UInt64? = 0
    while let start = next {
      run.removeAll()
      next = index.copyKeys(
        ofStripe: stripe, from: start, slots: KeyDirectoryBuild.slotsPerLock, into: &run)
      run.forEach(in: 0..<run.count) { key in
        let hash = index.hasher(key)
        guard hash.shard & mask == residue else { return }
        _ = index.read(key, hash) { view in
          entries.append(
            Entry(
              order: KeyOrder(shardHash: hash.shard), version: view.version,
              expiry: view.expiryMilliseconds, key: Array(key),
              value: view.large == nil ? Array(view.value) : [], large: view.large))
        }
      }
    }
    return entries.sorted { a, b in
      guard a.order == b.order else { return a.order < b.order }
      return a.key.withUnsafeBytes { left in
        b.key.withUnsafeBytes { right in compare(left, right) < 0 }
      }
    }
  }

  private static func append(_ entry: Entry, to writer: SnapshotWriter) throws(WALError) {
    let metadata = RecordMetadata(expiryMilliseconds: entry.expiry)
    let value = entry.large?.bytes.count ?? entry.value.count
    let bytes = Record.encodedBytes(metadata: metadata, key: entry.key.count, value: value)
    let record = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes, alignment: 16)
    defer { record.deallocate() }
    let key = entry.key.span.bytes
    if let large = entry.large {
      Record.encode(.put, metadata: metadata, key: key, value: large.bytes.bytes, into: record)
    } else {
      Record.encode(
        .put, metadata: metadata, key: key, value: entry.value.span.bytes, into: record)
    }
    try writer.append(
      entry.order, version: entry.version, UnsafeRawBufferPointer(record),
      dataBytes: entry.key.count + value)
  }
}

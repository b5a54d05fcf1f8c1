import Sharding
import WAL

/// A snapshot of a leaderless shard: what its logs had come to at one moment.
///
/// It is written from memory while the node goes on; what changes meanwhile is kept as it was. It has nothing of
/// what is behind its positions: whoever takes it in from another node may never get that. Beside the keys it has
/// the deletions that keep writes out which stand behind a position.
package enum MergedSnapshot {
  /// In an entry's version, below the number of its dot: which position's log it is of.
  private static let originBits: UInt64 = 10

  private struct Entry {
    var order: KeyOrder
    var key: [UInt8]
    var versions: [KeyVersion]
    var deletions: [VersionVector]
  }

  /// Writes it under a temporary name, and then gives it its own.
  ///
  /// - Parameters:
  ///   - cut: as `beginSnapshot` gave it.
  ///   - sync: makes everything durable that the logs have: what is in the snapshot is in them.
  package static func write(
    _ state: MergedState, _ cut: MergedState.Cut, _ place: SnapshotMerge.Place, pace: Pace,
    sync: () throws(WALError) -> Void
  ) throws(WALError) -> SnapshotFile {
    let positions = cut.positions
    guard !positions.isEmpty else { throw .setting("there is nothing to make a snapshot of") }
    let header = SnapshotHeader(
      timeMilliseconds: place.clock.wallMilliseconds(), frameTimeMilliseconds: cut.frameTime,
      hash: place.hash, shardIndex: place.shardIndex, shardCount: place.shardCount,
      positions: positions, epochs: [], isLeaderless: true)
    var numbers: [UInt64: UInt64] = [:]
    for (number, base) in positions.enumerated() { numbers[base.origin] = UInt64(number) }
    let fileSystem = place.directory.fileSystem
    let path = place.directory.path(of: header.sequence)
    let writer = try SnapshotWriter(header, path: path, fileSystem: fileSystem, pace: pace)
    do throws(WALError) {
      for stripe in 0..<Index.stripeCount {
        try pace.rest()
        for entry in entries(of: stripe, state, cut) {
          for version in entry.versions {
            guard let number = numbers[version.dot.origin] else {
              throw .setting("a value is of a log that nothing is known of")
            }
            try append(
              entry, .put, version: version.dot.sequence << originBits | number,
              RecordMetadata(expiryMilliseconds: version.expiry, stamp: version.stamp),
              version.clock, version.value, to: writer)
          }
          for clock in entry.deletions {
            try append(entry, .delete, version: 1, RecordMetadata(), clock, [], to: writer)
          }
        }
      }
      try sync()
      _ = try writer.finish()
    } catch {
      writer.discard()
      throw error
    }
    return try SnapshotFile(path, fileSystem: fileSystem)
  }

  private static func append(
    _ entry: Entry, _ type: RecordType, version: UInt64, _ metadata: RecordMetadata,
    _ clock: VersionVector, _ value: [UInt8], to writer: SnapshotWriter
  ) throws(WALError) {
    let bytes = Record.encodedBytes(
      metadata: metadata, clockEntries: clock.entries.count, key: entry.key.count,
      value: value.count)
    let record = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes, alignment: 16)
    defer { record.deallocate() }
    Record.encode(
      type, metadata: metadata, clock: clock.entries, key: entry.key.span.bytes,
      value: value.span.bytes, into: record)
    try writer.append(
      entry.order, version: version, UnsafeRawBufferPointer(record),
      dataBytes: entry.key.count + value.count)
  }

  /// What a stripe has, in the order of snapshots. The stripe's lock is held for a few keys at a time.
  private static func entries(
    of stripe: Int, _ state: MergedState, _ cut: MergedState.Cut
  ) -> [Entry] {
    let index = state.index
    var found: [[UInt8]: [KeyVersion]] = [:]
    var run = KeyRun()
    var next: UInt64? = 0
    while let start = next {
      run.removeAll()
      next = index.copyKeys(
        ofStripe: stripe, from: start, slots: KeyDirectoryBuild.slotsPerLock, into: &run)
      run.forEach(in: 0..<run.count) { key in
        let versions = state.versionsOfCut(key)
        if !versions.isEmpty { found[Array(key)] = versions.all }
      }
    }
    // Behind those that are there: what goes meanwhile is among these.
    for key in state.changedKeys(ofStripe: stripe) where found[key] == nil {
      let versions = key.withUnsafeBytes { state.versionsOfCut($0) }
      if !versions.isEmpty { found[key] = versions.all }
    }
    for key in cut.deletions.keys where found[key] == nil {
      let number = key.withUnsafeBytes { index.stripeNumber(index.hasher($0)) }
      if number == stripe { found[key] = [] }
    }
    let entries = found.map { key, versions in
      Entry(
        order: key.withUnsafeBytes { KeyOrder(shardHash: index.hasher($0).shard) }, key: key,
        versions: versions, deletions: cut.deletions[key] ?? [])
    }
    return entries.sorted { a, b in
      guard a.order == b.order else { return a.order < b.order }
      return a.key.withUnsafeBytes { left in
        b.key.withUnsafeBytes { right in compare(left, right) < 0 }
      }
    }
  }

  // MARK: - Reading

  /// What a snapshot has of one key.
  package struct Restored {
    package var key: [UInt8]
    package var versions: [KeyVersion]
    package var deletions: [VersionVector]
  }

  /// Calls `body` with every key, in the order of the file.
  package static func forEach(
    _ file: SnapshotFile, progress: StartProgress? = nil, _ body: (Restored) -> Void
  ) throws(WALError) {
    guard file.header.isLeaderless else {
      throw .setting("\(file.path) is the snapshot of a shard that has a leader")
    }
    progress?.begin(.snapshot, total: UInt64(file.footer.blocks.count))
    var blocks = SnapshotBlocks(file)
    var current: Restored?
    for number in file.footer.blocks.indices {
      try progress?.check()
      try blocks.load(number)
      while let entry = try blocks.next() {
        let bytes = blocks.bytes
        let key = Array(UnsafeRawBufferPointer(rebasing: bytes[entry.record.key]))
        if current?.key != key {
          if let current { body(current) }
          current = Restored(key: key, versions: [], deletions: [])
        }
        let clock = VersionVector(
          record: UnsafeRawBufferPointer(rebasing: bytes[entry.record.clock]))
        guard entry.record.type == .put else {
          current!.deletions.append(clock)
          continue
        }
        guard let dot = dot(of: entry.version, file.header) else {
          throw .invalidFile(
            path: file.path, offset: file.footer.blocks[number].offset,
            reason: "\(SnapshotViolation.entry)")
        }
        current!.versions.append(
          KeyVersion(
            dot: dot, clock: clock, stamp: entry.record.metadata.stamp ?? 0,
            expiry: entry.record.metadata.expiryMilliseconds,
            value: Array(UnsafeRawBufferPointer(rebasing: bytes[entry.record.value]))))
      }
      progress?.add(1)
    }
    if let current { body(current) }
  }

  /// The dot that an entry's version stands for; nil for none.
  package static func dot(of version: UInt64, _ header: SnapshotHeader) -> Dot? {
    guard header.isLeaderless else { return nil }
    let number = Int(version & (1 << originBits - 1))
    guard number < header.positions.count, version >> originBits > 0 else {
      return nil
    }
    return Dot(origin: header.positions[number].origin, sequence: version >> originBits)
  }

  /// Puts a snapshot into an empty state.
  package static func load(
    _ file: SnapshotFile, into state: MergedState, progress: StartProgress? = nil
  ) throws(WALError) {
    state.apply { writer in
      for base in file.header.positions {
        writer.setApplied(base)
      }
    }
    try forEach(file, progress: progress) { restored in
      state.apply { writer in
        restored.key.withUnsafeBytes { key in
          if !restored.versions.isEmpty { writer.restore(key, restored.versions) }
          for clock in restored.deletions { writer.restore(key, deletion: clock) }
        }
      }
    }
    state.apply { $0.endFrame(time: file.header.frameTimeMilliseconds) }
  }

  /// Takes in the snapshot of another node, whose logs do not go back as far as this one's copies of them.
  ///
  /// What the snapshot does not have, and its positions cover, that node has seen replaced or deleted.
  package static func absorb(_ file: SnapshotFile, into state: MergedState) throws(WALError) {
    var theirs = VersionVector()
    for base in file.header.positions {
      theirs.add(Dot(origin: base.origin, sequence: base.position.sequence))
    }
    // The keys of a stripe stand together.
    var stripe = 0
    var found: [[UInt8]: Restored] = [:]
    let index = state.index
    func settle() {
      state.absorb(stripe: stripe, found, theirs: theirs)
      found = [:]
    }
    try forEach(file) { restored in
      let number = index.stripeNumber(restored.key.withUnsafeBytes { index.hasher($0) })
      while stripe < number {
        settle()
        stripe += 1
      }
      found[restored.key] = restored
    }
    while stripe < Index.stripeCount {
      settle()
      stripe += 1
    }
    state.apply { writer in
      for base in file.header.positions { writer.setApplied(base) }
      writer.endFrame(time: file.header.frameTimeMilliseconds)
    }
  }
}

extension MergedState {
  /// Merges what another node has of a stripe, of which `found` is all.
  fileprivate func absorb(
    stripe: Int, _ found: [[UInt8]: MergedSnapshot.Restored], theirs: VersionVector
  ) {
    var keys = Set(found.keys)
    var run = KeyRun()
    var next: UInt64? = 0
    while let start = next {
      run.removeAll()
      next = index.copyKeys(
        ofStripe: stripe, from: start, slots: KeyDirectoryBuild.slotsPerLock, into: &run)
      run.forEach(in: 0..<run.count) { keys.insert(Array($0)) }
    }
    for key in keys {
      apply { writer in
        key.withUnsafeBytes { writer.absorb($0, found[key], theirs: theirs) }
      }
    }
  }
}

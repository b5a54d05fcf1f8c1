import Engine
import Glibc
import SimulatedDisk
import Testing
import WAL

@Suite("A node whose files are damaged")
struct SnapshotDamageTests {
  /// A node that was killed: two snapshots, the log behind the older one, and some behind the newer.
  private func killed(cleanly: Bool = false) throws -> SnapshotNode {
    let node = SnapshotNode(SimulatedDisk(seed: 1))
    try node.start()
    node.write(20)
    try node.snapshot()
    // Behind each some segments, and nothing is due.
    node.options.snapshotLogBytes = 1 << 30
    try node.stop()
    try node.start()
    node.write(24, stepEach: 100)
    try node.snapshot()
    node.write(9, stepEach: 100)
    if cleanly { try node.stop() } else { node.kill() }
    try #require(node.snapshotFiles.count == 2)
    return node
  }

  private func sequence(_ path: String) -> UInt64 { SnapshotDirectory.sequence(name(path))! }

  private func name(_ path: String) -> String { String(path.split(separator: "/").last!) }

  private func segments(_ disk: SimulatedDisk) throws -> [SegmentFile] {
    try SegmentFile.list("/data/wal", in: disk)
  }

  private func files(_ node: SnapshotNode) -> [String] {
    node.disk.paths.filter { !$0.hasSuffix("LOCK") }
  }

  private func flip(_ disk: SimulatedDisk, _ path: String, _ offset: Int) {
    var bytes = disk.contents(path)!
    bytes[offset] ^= 0x10
    disk.put(path, bytes)
  }

  /// Makes zeros of the last frame of a segment: by itself it looks whole then.
  private func removeEnd(_ disk: SimulatedDisk, _ segment: SegmentFile) throws {
    var reader = LogReader(files: [segment], fileSystem: disk)
    while case .frame = try reader.next() {}
    var bytes = disk.contents(segment.path)!
    for index in Int(reader.frameOffset)..<bytes.count { bytes[index] = 0 }
    disk.put(segment.path, bytes)
  }

  private func load(_ info: SnapshotInfo, _ disk: SimulatedDisk) throws -> [[UInt8]: Found] {
    let index = Index()
    try SnapshotLoad.run(try SnapshotFile(info.path, fileSystem: disk), into: index, threads: 1)
    return index.contents()
  }

  @Test("starts from the older snapshot when the newer one is damaged anywhere")
  func newestSnapshot() throws {
    let original = try killed()
    let newest = original.snapshotFiles[1]
    let bytes = original.disk.contents(newest)!
    let headerBytes = 56 + 40 + 24 + 8
    // Header, block, digests, trailer.
    let offsets =
      Array(0..<headerBytes) + Array(stride(from: headerBytes, to: headerBytes + 200, by: 3))
      + Array(stride(from: headerBytes, to: bytes.count, by: 61))
      + Array(bytes.count - 40..<bytes.count)
    var variants = offsets.map { offset in
      var damaged = bytes
      damaged[offset] ^= 1 << UInt8(offset % 8)
      return damaged
    }
    variants += [
      0, 1, 31, 56, 100, headerBytes, bytes.count / 2, bytes.count - 32, bytes.count - 1,
    ]
    .map { Array(bytes[..<$0]) }
    variants.append(bytes + [0])
    for (number, variant) in variants.enumerated() {
      let node = original.copy { $0.put(newest, variant) }
      try node.start()
      node.expectAll("variant \(number)")
      let report = node.store!.report
      #expect(report.badSnapshots.count == 1 && report.snapshot != nil, "variant \(number)")
      #expect(node.store!.snapshots.newest?.path == original.snapshotFiles[0])
      #expect(node.disk.contents("/data/quarantine/" + name(newest)) == variant)
      guard number % 40 == 0 else { continue }
      // And goes on as if nothing had been.
      node.write(3)
      let info = try node.snapshot()
      #expect(info.sequence > sequence(newest))
      node.kill()
      try node.start()
      node.expectAll("variant \(number), later")
      #expect(node.store!.report.snapshot?.info == info)
    }
  }

  @Test("is refused when no snapshot is whole and the log does not go back to the beginning")
  func noSnapshot() throws {
    let original = try killed()
    let names = original.snapshotFiles
    let node = original.copy { disk in for name in names { flip(disk, name, 60) } }
    let before = files(node)
    let error = #expect(throws: WALError.self) { try node.start() }
    for name in names { #expect("\(error!)".contains(name), "\(error!)") }
    #expect("\(error!)".contains(".wal"), "\(error!)")
    #expect(files(node) == before)
    // Nor does an empty directory for the log make it a new node.
    let bare = original.copy { disk in
      for name in names { flip(disk, name, 60) }
      for path in disk.paths where path.hasSuffix(".wal") { disk.delete(path) }
    }
    #expect(throws: WALError.self) { try bare.start() }
    // Without its snapshot, but with all of its log, it needs none.
    let full = SnapshotNode(SimulatedDisk(seed: 2), snapshotLogBytes: 1 << 30)
    try full.start()
    full.write(20, stepEach: 100)
    try full.snapshot()
    full.write(5, stepEach: 100)
    full.kill()
    flip(full.disk, full.snapshotFiles[0], 60)
    try full.start()
    full.expectAll("the whole log")
    #expect(full.store!.report.snapshot == nil && full.store!.report.badSnapshots.count == 1)
  }

  @Test(
    "puts covered log away that is damaged: a frame, a header, its end",
    arguments: ["frame", "header", "end"])
  func coveredSegment(what: String) throws {
    let original = try killed()
    let covered = try segments(original.disk).filter {
      $0.firstSequence! <= sequence(original.snapshotFiles[1])
    }
    try #require(covered.count > 3)
    for segment in covered {
      let node = try original.copy { disk in
        switch what {
        case "frame": flip(disk, segment.path, 300)
        case "header": flip(disk, segment.path, 20)
        default: try removeEnd(disk, segment)
        }
      }
      try node.start()
      node.expectAll("at the start")
      #expect(node.store!.report.snapshot?.info.sequence == sequence(original.snapshotFiles[1]))
      node.store!.step()
      let place = "/data/quarantine/" + name(segment.path)
      #expect(node.disk.contents(place) != nil && node.disk.contents(segment.path) == nil)
      #expect(node.observer.moved.withLock { $0.contains(place) })
      node.write(5)
      node.kill()
      try node.start()
      node.expectAll("later")
    }
  }

  /// The segments that the newest snapshot covers.
  private func covered(_ node: SnapshotNode) throws -> [SegmentFile] {
    let all = try segments(node.disk)
    let newest = sequence(node.snapshotFiles[1])
    return zip(all, all.dropFirst()).filter { $1.firstSequence! <= newest + 1 }.map(\.0)
  }

  @Test("takes writes when damaged covered log cannot be put away, and says so")
  func noQuarantine() throws {
    let original = try killed()
    let segment = try covered(original)[1]
    let node = original.copy { flip($0, segment.path, 64 + 100) }
    try node.start()
    node.disk.fault = { call, path in
      call == .rename && path == segment.path ? .fail(EXDEV) : nil
    }
    node.store!.step()
    #expect(
      node.observer.errors.withLock { $0 }.contains(
        .system(.rename, path: segment.path, errno: EXDEV)))
    #expect(node.observer.moved.withLock { $0.isEmpty } && node.put("key-0"))
    node.disk.fault = { _, _ in nil }
    node.kill()
    try node.start()
    node.store!.step()
    #expect(!node.observer.moved.withLock { $0.isEmpty })
    node.expectAll("later")
  }

  @Test("looks through the rest of its covered log when a segment of that is given up meanwhile")
  func retiredMeanwhile() throws {
    let original = SnapshotNode(SimulatedDisk(seed: 1), snapshotLogBytes: 1 << 30)
    try original.start()
    // Keeps the log that no snapshot needs; only as long as the process lives.
    let leases = original.store!.snapshots.leases
    try #require(leases.take("copy", sequence: 0, snapshot: nil, seconds: 1_000))
    original.write(20, stepEach: 100)
    let older = try original.snapshot()
    original.write(24, stepEach: 100)
    try original.snapshot()
    original.write(9, stepEach: 100)
    original.kill()
    let covered = try covered(original)
    try #require(covered[1].firstSequence! <= older.sequence)
    let damaged = covered.filter { $0.firstSequence! > older.sequence }[1].path
    let node = original.copy { flip($0, damaged, 64 + 100) }
    try node.start()
    // As the thread that disposes of it does it.
    var isGone = false
    node.disk.fault = { [disk = node.disk] call, path in
      if call == .open, path == covered[0].path, !isGone {
        isGone = true
        disk.delete(path)
      }
      return nil
    }
    node.store!.step()
    #expect(isGone && node.observer.errors.withLock { $0 } == [])
    let place = "/data/quarantine/" + name(damaged)
    #expect(node.observer.moved.withLock { $0.contains(place) })
    node.disk.fault = { _, _ in nil }
    node.kill()
    try node.start()
    node.expectAll("later")
  }

  @Test(
    "is refused when what is behind its newest snapshot is damaged, and nothing is changed",
    arguments: [true, false])
  func neededSegment(cleanly: Bool) throws {
    let original = try killed(cleanly: cleanly)
    let needed = try segments(original.disk).filter {
      $0.firstSequence! > sequence(original.snapshotFiles[1])
    }
    try #require(needed.count > 1)
    let node = original.copy { flip($0, needed[0].path, 64 + 100) }
    let before = files(node)
    let error = #expect(throws: WALError.self) { try node.start() }
    #expect("\(error!)".contains(needed[0].path))
    #expect(files(node) == before)
    let headless = original.copy { flip($0, needed[0].path, 20) }
    #expect(throws: WALError.self) { try headless.start() }
    let missing = original.copy { $0.delete(needed[0].path) }
    #expect(throws: WALError.self) { try missing.start() }
  }

  @Test("starts from a snapshot that ends inside a damaged segment: what is behind it is read")
  func insideSegment() throws {
    let node = SnapshotNode(SimulatedDisk(seed: 3), snapshotLogBytes: 1 << 30)
    node.options.segmentBytes = 16_384
    try node.start()
    node.write(30, stepEach: 100)
    node.kill()
    let files = try segments(node.disk)
    try #require(files.count > 1)
    // The frames of the last segment: a snapshot ends with each but the last.
    var reader = LogReader(files: files, fileSystem: node.disk)
    var ends: [(sequence: UInt64, offset: UInt64)] = []
    while case .frame(let header) = try reader.next() {
      if reader.path == files.last!.path { ends.append((header.lastSequence, reader.frameOffset)) }
    }
    try #require(ends.count > 3)
    for number in 1..<ends.count - 1 {
      let base = node.copy { _ in }
      _ = try SnapshotMerge.run(
        SnapshotMerge.Input(
          previous: nil,
          segments: files, through: ends[number].sequence),
        SnapshotMerge.Place(
          directory: SnapshotDirectory("/data", fileSystem: base.disk), hash: .fnv1), pace: Pace())
      var offsets = [20, 40]
      for end in ends[...number] { offsets += [Int(end.offset) + 4, Int(end.offset) + 90] }
      for offset in offsets {
        let damaged = base.copy { flip($0, files.last!.path, offset) }
        damaged.options.segmentBytes = 16_384
        let moment = "\(offset), the snapshot up to \(ends[number])"
        do {
          try damaged.start()
        } catch {
          Issue.record("\(moment): \(error)")
          continue
        }
        damaged.expectAll(moment)
        #expect(damaged.store!.report.log.covered.count == 1, "\(moment)")
        // It is read over again and again, until a snapshot covers all of it.
        damaged.write(2)
        damaged.kill()
        try damaged.start()
        damaged.expectAll("\(moment), again")
        let info = try damaged.snapshot()
        #expect(damaged.store!.index.contents() == (try load(info, damaged.disk)))
        #expect(!damaged.observer.moved.withLock { $0.isEmpty }, "\(moment)")
        damaged.kill()
        try damaged.start()
        damaged.expectAll("\(moment), with a snapshot of all of it")
        #expect(damaged.store!.report.log.covered.isEmpty)
      }
      // Damage behind it is not covered.
      for end in ends[(number + 1)...].dropLast(2) {
        let damaged = base.copy { flip($0, files.last!.path, Int(end.offset) + 90) }
        damaged.options.segmentBytes = 16_384
        #expect(throws: WALError.self) { try damaged.start() }
      }
    }
  }

  /// Leaves the log's first two segments, which end before the newest snapshot.
  private func cutLog(_ disk: SimulatedDisk) throws {
    for segment in try segments(disk).dropFirst(2) { disk.delete(segment.path) }
  }

  @Test("goes on behind its snapshot when the log ends before that")
  func logEndsBefore() throws {
    let original = try killed()
    let newest = sequence(original.snapshotFiles[1])
    let node = try original.copy { try cutLog($0) }
    try node.start()
    let report = node.store!.report
    #expect(report.log.position.sequence == newest && !report.log.quarantined.isEmpty)
    #expect(report.log.needsNewEpoch)
    let contents = try load(node.store!.snapshots.newest!, node.disk)
    #expect(node.store!.index.contents() == contents)
    node.put("later")
    node.kill()
    try node.start()
    #expect(node.store!.value("later") != nil && node.store!.index.count == contents.count + 1)
    // A clean stop says that more was there.
    let clean = try killed(cleanly: true)
    let short = try clean.copy { try cutLog($0) }
    #expect(throws: WALError.self) { try short.start() }
  }

  @Test(
    "makes its snapshot from memory when the log cannot be read, and can start again for that",
    arguments: ["frame", "header", "end", "unreadable", "snapshot"])
  func runningNode(what: String) throws {
    let node = SnapshotNode(SimulatedDisk(seed: 4), snapshotLogBytes: 1 << 30)
    try node.start()
    node.write(12, stepEach: 100)
    let first = try node.snapshot()
    node.write(18, stepEach: 100)
    let behind = try segments(node.disk).filter { $0.firstSequence! > first.sequence }
    try #require(behind.count > 3)
    let path = what == "snapshot" ? first.path : behind[1].path
    switch what {
    case "frame", "snapshot": flip(node.disk, path, 300)
    case "header": flip(node.disk, path, 20)
    case "end": try removeEnd(node.disk, behind[1])
    default:
      node.disk.fault = { call, found in call == .read && found == path ? .fail(5) : nil }
    }
    // The background finds it by itself, unless it is the snapshot's or only the next segment tells.
    if what == "snapshot" || what == "end" { try node.snapshot() } else { node.store!.step() }
    node.disk.fault = { _, _ in nil }
    let report = try #require(node.observer.reports.withLock { $0.last })
    #expect(report.isFromIndex && node.observer.errors.withLock { $0 } == [])
    #expect(node.store!.index.contents() == (try load(report.info, node.disk)))
    #expect(node.observer.moved.withLock { $0.contains("/data/quarantine/" + name(path)) })
    node.write(10)
    node.kill()
    try node.start()
    node.expectAll(what)
    #expect(node.store!.report.badSnapshots.isEmpty)
    try node.snapshot()
    node.kill()
    try node.start()
    node.expectAll("\(what), later")
  }
}

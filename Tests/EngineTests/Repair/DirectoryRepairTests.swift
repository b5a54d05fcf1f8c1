import Engine
import Glibc
import SimulatedDisk
import Testing
import WAL

@Suite("A damaged log")
struct DirectoryRepairTests {
  /// Damages a copy, and has it repaired; expects the twin's frames where anything was wrong at all.
  ///
  /// - Returns: whether it was damaged beyond what a start mends by itself.
  @discardableResult
  private func expectHealed(
    _ log: TwinLog, _ moment: String, _ damage: (SimulatedDisk) throws -> Void
  ) throws -> Bool {
    let disk = TwinLog.copy(log.disk)
    try damage(disk)
    let found = try TwinLog.examine(disk, log.origin, log.wasClean)
    let report = try TwinLog.repair(disk, [log.twin])
    guard !found.isWhole else { return false }
    if found.holes.contains(where: { $0.end == nil }) {
      // Nothing says how far the log went: that takes somebody's word.
      #expect(!report.isWhole, "\(moment)")
      return true
    }
    #expect(report.isWhole, "\(moment): \(report.unhealed)")
    if found.torn == nil { try log.expectSame(disk, moment) }
    #expect(try TwinLog.examine(disk, log.origin, log.wasClean).isWhole, "\(moment)")
    return true
  }

  @Test("is healed wherever a sector is zero", arguments: [true, false])
  func sectors(cleanly: Bool) throws {
    let log = try TwinLog(seed: 3, cleanly: cleanly)
    var healed = 0
    for segment in try TwinLog.segments(log.disk) {
      let size = log.disk.contents(segment.path)!.count
      for offset in stride(from: 0, to: size, by: 512) {
        let wasDamaged = try expectHealed(log, "\(segment.path) at \(offset)") { disk in
          disk.put(
            segment.path,
            zeroed(disk.contents(segment.path)!, offset..<min(offset + 512, size)))
        }
        if wasDamaged { healed += 1 }
      }
    }
    #expect(healed > 30)
  }

  private func zeroed(_ bytes: [UInt8], _ range: Range<Int>) -> [UInt8] {
    var bytes = bytes
    for index in range { bytes[index] = 0 }
    return bytes
  }

  @Test("is healed whatever bits flip, several at once", arguments: 0..<6 as Range<UInt64>)
  func bits(seed: UInt64) throws {
    let log = try TwinLog(seed: seed, cleanly: seed % 2 == 0)
    let segments = try TwinLog.segments(log.disk)
    var random = SeededRandom(seed: seed + 100)
    var healed = 0
    for round in 0..<60 {
      let wasDamaged = try expectHealed(log, "seed \(seed), round \(round)") { disk in
        for _ in 0...random.below(4) {
          let path = segments[random.below(segments.count)].path
          var bytes = disk.contents(path)!
          bytes[random.below(bytes.count)] ^= 1 << UInt8(random.below(8))
          disk.put(path, bytes)
        }
      }
      if wasDamaged { healed += 1 }
    }
    #expect(healed > 10)
  }

  @Test("is healed when whole segments are gone, cut short, exchanged, doubled or another log's")
  func segments() throws {
    let log = try TwinLog(seed: 5, cleanly: true, frames: 90)
    let foreign = try TwinLog(seed: 6, cleanly: true)
    let paths = try TwinLog.segments(log.disk).map(\.path)
    let other = try TwinLog.segments(foreign.disk)[1].path
    try #require(paths.count > 6)
    for (number, path) in paths.enumerated() {
      let isDamaged = try expectHealed(log, "\(number) is gone") { $0.delete(path) }
      #expect(isDamaged || number == paths.count - 1)
      for count in [0, 10, 64, 100, 512, 2_000, 4_000] {
        try expectHealed(log, "\(number) has \(count) bytes") { disk in
          disk.put(path, Array(disk.contents(path)!.prefix(count)))
        }
      }
      try expectHealed(log, "\(number) is another log's") { disk in
        disk.put(path, foreign.disk.contents(other)!)
      }
      let next = paths[(number + 1) % paths.count]
      try expectHealed(log, "\(number) is exchanged") { disk in
        let bytes = disk.contents(path)!
        disk.put(path, disk.contents(next)!)
        disk.put(next, bytes)
      }
      try expectHealed(log, "\(number) is the next one, too") { disk in
        disk.put(path, disk.contents(next)!)
      }
      try expectHealed(log, "\(number), and what follows, is gone") { disk in
        disk.delete(path)
        disk.delete(next)
        disk.delete(paths[(number + 2) % paths.count])
      }
    }
    try expectHealed(log, "a segment more") { disk in
      disk.put(
        "/data/wal/" + SegmentName.of(SegmentName.firstSequence(String(paths[3].suffix(24)))! + 1),
        disk.contents(paths[1])!)
    }
    try expectHealed(log, "all of it is gone") { disk in for path in paths { disk.delete(path) } }
  }

  @Test("keeps what was damaged, and asks nobody where only a segment's header was")
  func kept() throws {
    let log = try TwinLog(seed: 7, cleanly: true)
    let path = try TwinLog.segments(log.disk)[2].path
    let disk = TwinLog.copy(log.disk)
    var bytes = disk.contents(path)!
    bytes[20] ^= 1
    disk.put(path, bytes)
    let before = log.twin.delivered
    let report = try TwinLog.repair(disk, [log.twin])
    #expect(report.isWhole && log.twin.delivered == before)
    #expect(report.healed.map(\.sequences) == [nil])
    let kept = try #require(report.healed.first?.keptPaths.first)
    #expect(kept.hasPrefix("/data/quarantine/") && disk.contents(kept) == bytes)
    try log.expectSame(disk, "header")
  }

  @Test("is left as it is where nobody has the same frames, and says who was asked")
  func refused() throws {
    let log = try TwinLog(seed: 8, cleanly: true)
    let foreign = try TwinLog(seed: 9, cleanly: true)
    let short = TwinLog.Twin(log.twin.disk, log.origin)
    short.limit = 3
    let path = try TwinLog.segments(log.disk)[3].path
    let disk = TwinLog.copy(log.disk)
    var bytes = disk.contents(path)!
    bytes[100] ^= 1
    disk.put(path, bytes)
    let before = disk.paths.filter { !$0.hasSuffix("LOCK") }
    for sources in [[], [foreign.twin], [short], [short, foreign.twin]] {
      let report = try TwinLog.repair(disk, sources)
      #expect(!report.isWhole && report.healed.isEmpty)
      #expect(report.unhealed[0].reasons.count == sources.count)
      #expect(report.unhealed[0].damage.path == path)
      #expect(disk.contents(path) == bytes)
      #expect(disk.paths.filter { !$0.hasSuffix("LOCK") } == before)
    }
    let report = try TwinLog.repair(disk, [short, foreign.twin, log.twin])
    #expect(report.isWhole && report.healed[0].sources == ["twin"])
    try log.expectSame(disk, "at last")
  }

  @Test("takes a log of the same numbers and another history for what it is")
  func otherHistory() throws {
    let log = try TwinLog(seed: 10, cleanly: true)
    // The same origin and the same numbers, with other frames from one on: a fork.
    let forked = Fork(log.twin, log.origin)
    let segments = try TwinLog.segments(log.disk)
    for segment in segments.dropFirst().dropLast() {
      let disk = TwinLog.copy(log.disk)
      var bytes = disk.contents(segment.path)!
      bytes[80] ^= 4
      disk.put(segment.path, bytes)
      let report = try TwinLog.repair(disk, [forked])
      #expect(!report.isWhole && disk.contents(segment.path) == bytes)
      #expect(report.healed.isEmpty)
    }
  }

  /// A source whose frames have another record each, with checksums that are right.
  private final class Fork: FrameSource, @unchecked Sendable {
    let name = "fork"
    private let twin: TwinLog.Twin
    private let origin: UInt64

    init(_ twin: TwinLog.Twin, _ origin: UInt64) {
      self.twin = twin
      self.origin = origin
    }

    func read(
      _ request: FrameRequest, check: () throws(WALError) -> Void,
      _ take: (RawSpan) throws(WALError) -> Bool
    ) throws(WALError) -> FrameDelivery {
      try twin.read(request, check: check) { (frame) throws(WALError) in
        let count = frame.byteCount
        var segment = SegmentHeader(origin: origin, previous: .start, durableSequence: 0).encoded
        frame.withUnsafeBytes { segment += $0 }
        // The wall clock's lowest byte.
        segment[64 + 56] ^= 1
        let forged = Array(ChecksumRepair.repaired(segment)[64..<64 + count])
        return try take(forged.span.bytes)
      }
    }
  }

  @Test("takes another's end only where that is asked for, and a new epoch is due then")
  func unknownEnd() throws {
    let log = try TwinLog(seed: 11)
    let path = try TwinLog.segments(log.disk).last!.path
    let disk = TwinLog.copy(log.disk)
    disk.put(path, [UInt8](repeating: 0, count: disk.contents(path)!.count))
    let refused = try TwinLog.repair(disk, [log.twin])
    #expect(!refused.isWhole && refused.unhealed[0].through == nil)
    #expect(refused.unhealed[0].reasons[0].contains("how far the log went"))
    var repair = try DirectoryRepair("/data", isCopy: false, fileSystem: disk)
    repair.takesUnknownEnd = true
    let report = try repair.run([log.twin])
    #expect(report.isWhole && report.healed[0].hasUnknownEnd)
    #expect(try TwinLog.Twin(disk, log.origin).all() == log.frames)
    #expect(try LogNotes(in: "/data/wal", fileSystem: disk).isEpochDue)
  }

  @Test(
    "is healed in the end, whichever call a repair dies in, and loses nothing meanwhile",
    arguments: 0..<3 as Range<UInt64>)
  func crashes(seed: UInt64) throws {
    let log = try TwinLog(seed: 20 + seed, cleanly: seed != 1, frames: 30)
    let segments = try TwinLog.segments(log.disk)
    try #require(segments.count > 4)
    let damage: (SimulatedDisk) -> Void = { disk in
      switch seed {
      case 0:
        disk.put(segments[1].path, disk.contents(segments[2].path)!)
        var bytes = disk.contents(segments[3].path)!
        bytes[200] ^= 1
        disk.put(segments[3].path, bytes)
      case 1: disk.delete(segments[2].path)
      default:
        let bytes = disk.contents(segments[1].path)!
        disk.put(segments[1].path, disk.contents(segments[2].path)!)
        disk.put(segments[2].path, bytes)
      }
    }
    var call = 1
    var wasInterrupted = true
    while wasInterrupted {
      wasInterrupted = false
      for round in 0..<3 as Range<UInt64> {
        let disk = TwinLog.copy(log.disk, seed: round)
        damage(disk)
        let before = try readable(disk, log)
        for _ in 0...round {
          let start = disk.calls
          disk.fault = { _, _ in disk.calls >= start + call ? .die : nil }
          let result = Result { () throws(WALError) in try TwinLog.repair(disk, [log.twin]) }
          if disk.isDead { wasInterrupted = true } else { _ = try result.get() }
          if round == 0 { disk.restartProcess() } else { disk.losePower() }
          let left = try readable(disk, log)
          #expect(left.isSuperset(of: before), "call \(call): \(before.subtracting(left))")
        }
        let report = try TwinLog.repair(disk, [log.twin])
        #expect(report.isWhole, "call \(call)")
        try log.expectSame(disk, "call \(call)")
        disk.restartProcess()
      }
      call += 1
    }
    #expect(call > 60)
  }

  /// The sequence numbers of the frames that can be read.
  private func readable(_ disk: SimulatedDisk, _ log: TwinLog) throws -> Set<UInt64> {
    var numbers: Set<UInt64> = []
    for case .frames(let stretch) in try TwinLog.examine(disk, log.origin, log.wasClean).items {
      numbers.formUnion(stretch.before.sequence + 1...stretch.end.sequence)
    }
    return numbers
  }

  @Test("is healed where a sector cannot be read at all")
  func unreadable() throws {
    let log = try TwinLog(seed: 31, cleanly: true)
    let path = try TwinLog.segments(log.disk)[3].path
    let disk = TwinLog.copy(log.disk)
    let bytes = disk.contents(path)!
    disk.fault = { call, found in call == .read && found == path ? .fail(EIO) : nil }
    let report = try TwinLog.repair(disk, [log.twin])
    #expect(report.isWhole && report.healed.count == 1)
    // It is the file itself that is kept: there can be no copy.
    #expect(disk.contents(report.healed[0].keptPaths[0]) == bytes)
    disk.fault = { _, _ in nil }
    try log.expectSame(disk, "unreadable")
  }

  @Test("is as it was when the disk is full or fails, and healed later", arguments: [EIO, ENOSPC])
  func failures(code: Int32) throws {
    let log = try TwinLog(seed: 30, cleanly: true, frames: 30)
    let path = try TwinLog.segments(log.disk)[2].path
    var call = 1
    var wasReached = true
    while wasReached {
      let disk = TwinLog.copy(log.disk)
      var bytes = disk.contents(path)!
      bytes[200] ^= 1
      disk.put(path, bytes)
      let target = disk.calls + call
      disk.fault = { _, _ in disk.calls == target ? .fail(code) : nil }
      // An error, or done in spite of it.
      _ = Result { () throws(WALError) in try TwinLog.repair(disk, [log.twin]) }
      wasReached = disk.calls >= target
      disk.losePower()
      let report = try TwinLog.repair(disk, [log.twin])
      #expect(report.isWhole, "call \(call)")
      try log.expectSame(disk, "call \(call)")
      call += 1
    }
    #expect(call > 60)
  }
}

import Glibc
import SimulatedDisk
import Testing
import WAL

/// A fixed story that passes every point of a log's life: creation, commits, rotation, a frame with
/// a segment of its own, retirement, recycling, a mark, an epoch, a close, and a start after it.
private struct Story {
  let disk: SimulatedDisk
  var options: LogOptions
  private let clock = Clock()
  var acknowledged: UInt64 = 0
  var written: [UInt64: [UInt8]] = [:]
  var base: LogBase?

  final class Clock: @unchecked Sendable {
    // Only touched by the test that owns it.
    var milliseconds: UInt64 = 1_700_000_000_000
  }

  init(seed: UInt64, policy: SyncPolicy) {
    disk = SimulatedDisk(seed: seed)
    let clock = clock
    options = LogOptions(dataDirectory: "/data", node: 7)
    options.fileSystem = disk
    options.clock = LogClock(
      wallMilliseconds: { clock.milliseconds },
      monotonicNanoseconds: { clock.milliseconds * 1_000_000 })
    options.usesThreads = false
    options.segmentBytes = 4_096
    options.syncPolicy = policy
  }

  private mutating func commit(_ writer: LogWriter, bytes: Int) throws(WALError) {
    var frame = FrameBuilder(capacityBytes: 256)
    let sequence = writer.position.sequence + 1
    let value = [UInt8](repeating: UInt8(sequence % 251), count: bytes)
    frame.append(.put, key: ([1] as [UInt8]).span.bytes, value: value.span.bytes)
    written[sequence] = value
    try writer.commit(&frame)
    note(writer)
  }

  private mutating func note(_ writer: LogWriter) {
    acknowledged = max(acknowledged, writer.progress.durable)
  }

  mutating func run() throws(WALError) {
    for life in 0..<2 {
      let (writer, report) = try LogRecovery.open(options)
      acknowledged = max(acknowledged, report.position.sequence)
      if report.needsNewEpoch {
        try writer.startEpoch(
          Epoch(number: writer.epoch.number + 1, node: 7), reason: .recovered)
      }
      note(writer)
      for number in 0..<12 {
        try commit(writer, bytes: 600)
        if number % 3 == 0 { while writer.backgroundStep() {} }
        note(writer)
      }
      try commit(writer, bytes: 6_000)
      for _ in 0..<2 {
        clock.milliseconds += 200
        _ = try writer.tick()
        while writer.backgroundStep() {}
      }
      note(writer)
      try writer.startEpoch(
        Epoch(number: writer.epoch.number + 1, node: 7), reason: .promoted)
      note(writer)
      options.base = LogBase(origin: writer.origin, position: writer.position)
      writer.retire(through: writer.position.sequence, expecting: 2 * options.segmentBytes)
      for _ in 0..<8 { try commit(writer, bytes: 900) }
      while writer.backgroundStep() {}
      if life == 0 {
        try writer.close()
        acknowledged = max(acknowledged, writer.position.sequence)
      }
    }
  }

  /// Starts until a start is not interrupted, and checks what is there.
  ///
  /// - Parameter diesAt: the call of the first start in which the process dies.
  /// - Returns: false when that start had fewer calls than that.
  func recover(diesAt call: Int?) throws -> Bool {
    var found: [UInt64: [UInt8]] = [:]
    let start = disk.calls
    if let call { disk.fault = { _, _ in disk.calls >= start + call ? .die : nil } }
    do {
      let report = try LogRecovery.open(options) { (header, records) throws(WALError) in
        do {
          var cursor = RecordCursor(count: header.recordCount)
          while let record = try cursor.next(in: records) {
            guard record.type == .put else { continue }
            found[header.firstSequence] = records.extracting(record.value).withUnsafeBytes {
              Array($0)
            }
          }
        } catch { throw .setting("\(error)") }
      }.report
      #expect(report.position.sequence >= acknowledged)
      for (sequence, value) in found { #expect(written[sequence] == value) }
      return false
    } catch {
      guard disk.isDead else { throw error }
      return true
    }
  }
}

@Suite("A crash at every call")
struct EveryCallTests {
  @Test(
    "of a log's life loses nothing acknowledged, and never keeps it from starting",
    arguments: [SyncPolicy.always, .interval(milliseconds: 100)])
  func life(policy: SyncPolicy) throws {
    var call = 1
    var wasInterrupted = true
    while wasInterrupted {
      wasInterrupted = false
      for seed in 0..<4 as Range<UInt64> {
        var story = Story(seed: seed, policy: policy)
        let disk = story.disk
        let target = call
        disk.fault = { _, _ in disk.calls >= target ? .die : nil }
        do {
          try story.run()
        } catch {
          #expect(disk.isDead, "\(error)")
          wasInterrupted = true
        }
        crash(disk, seed)
        #expect(try story.recover(diesAt: nil) == false)
      }
      call += 1
    }
    #expect(call > 200)
  }

  @Test("of a recovery is recovered from, again and again")
  func recovery() throws {
    var call = 1
    var wasInterrupted = true
    while wasInterrupted {
      wasInterrupted = false
      for seed in 0..<12 as Range<UInt64> {
        let policy: SyncPolicy = seed % 3 == 0 ? .none : .always
        var whole = Story(seed: seed, policy: policy)
        try whole.run()
        var story = Story(seed: seed, policy: policy)
        let disk = story.disk
        // Somewhere in the second life, where there is something to cut.
        let target = whole.disk.calls * (50 + Int(seed) * 4) / 100
        disk.fault = { _, _ in disk.calls >= target ? .die : nil }
        // Dying in the background is not an error of the story itself.
        do { try story.run() } catch {}
        try #require(disk.isDead)
        crash(disk, seed)
        for round in 0..<3 {
          if try story.recover(diesAt: call + round) { wasInterrupted = true }
          crash(disk, seed + UInt64(round))
        }
        #expect(try story.recover(diesAt: nil) == false)
      }
      call += 1
    }
    #expect(call > 20)
  }

  @Test(
    "that fails once, for lack of space or for no reason, loses nothing", arguments: [EIO, ENOSPC])
  func failure(code: Int32) throws {
    var call = 1
    var wasReached = true
    while wasReached {
      wasReached = false
      for seed in 0..<3 as Range<UInt64> {
        var story = Story(seed: seed, policy: seed == 1 ? .none : .always)
        let disk = story.disk
        let target = call
        disk.fault = { _, _ in disk.calls == target ? .fail(code) : nil }
        // The story ends at what it is told; what it is not told does no harm.
        do { try story.run() } catch {}
        if disk.calls >= target { wasReached = true }
        crash(disk, seed &+ UInt64(call))
        #expect(try story.recover(diesAt: nil) == false)
      }
      call += 1
    }
    #expect(call > 200)
  }

  @Test("of a recovery that fails once is an error, and the next start is as if it had not been")
  func failedRecovery() throws {
    for seed in 0..<3 as Range<UInt64> {
      var whole = Story(seed: seed, policy: .always)
      try whole.run()
      var call = 1
      var wasReached = true
      while wasReached {
        var story = Story(seed: seed, policy: .always)
        let disk = story.disk
        let death = whole.disk.calls * (55 + Int(seed) * 15) / 100
        disk.fault = { _, _ in disk.calls >= death ? .die : nil }
        do { try story.run() } catch {}
        crash(disk, 1)
        let target = disk.calls + call
        disk.fault = { _, _ in disk.calls == target ? .fail(EIO) : nil }
        // Refused for the error, or done in spite of it; what it did is there either way.
        do { _ = try story.recover(diesAt: nil) } catch is WALError {}
        wasReached = disk.calls >= target
        crash(disk, seed)
        #expect(try story.recover(diesAt: nil) == false)
        call += 1
      }
      #expect(call > 20)
    }
  }

  private func crash(_ disk: SimulatedDisk, _ seed: UInt64) {
    if seed % 4 == 0 { disk.restartProcess() } else { disk.losePower() }
  }
}

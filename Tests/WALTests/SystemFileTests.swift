import Glibc
import TemporaryFiles
import Testing
import WAL

@Suite("The real disk")
struct SystemFileTests {
  private let directory = TemporaryDirectory()
  private let disk = SystemFileSystem()

  @Test("keeps what is written and says how long a file is")
  func readAndWrite() throws {
    let path = directory.path + "/file"
    let file = try disk.open(path, .create)
    try file.allocate(8_192)
    #expect(try file.size() == 8_192)
    try file.writeAll([1, 2, 3], at: 4_095)
    try file.sync()
    #expect(try file.bytes(at: 4_094, count: 5) == [0, 1, 2, 3, 0])
    #expect(try file.bytes(at: 8_190, count: 100) == [0, 0], "the file ends there")
    #expect(try disk.open(path, .readOnly).bytes(at: 4_095, count: 1) == [1])
  }

  @Test(
    "writes past the cache what can be written so, and the rest through it, whatever the name is")
  func uncached() throws {
    let path = directory.path + "/file"
    let file = try disk.open(path, .create)
    try file.allocate(1 << 20)
    var expected = [UInt8](repeating: 1, count: 1 << 20)
    try file.writeAll(expected, at: 0)
    try disk.rename(path, to: path + "2")
    for (start, count) in [
      (0, 65_536), (69_632, 131_072), (300_000, 65_536), (409_600, 70_000), (1_044_480, 4_096),
    ] {
      let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: count, alignment: 4_096)
      defer { piece.deallocate() }
      for index in 0..<count { piece[index] = UInt8(truncatingIfNeeded: index ^ start >> 8) }
      #expect(try file.writeUncached(UnsafeRawBufferPointer(piece), at: UInt64(start)) == count)
      expected.replaceSubrange(start..<start + count, with: piece)
      #expect(try file.bytes(count: 1 << 20) == expected)
    }
    try file.sync()
    #expect(try disk.open(path + "2", .readOnly).bytes(count: 2 << 20) == expected)
  }

  @Test("says what failed, on which path, and why")
  func errors() throws {
    let missing = directory.path + "/missing"
    let error = #expect(throws: WALError.self) { try disk.open(missing, .readOnly) }
    #expect(error == .system(.open, path: missing, errno: ENOENT) && error!.isNotFound)
    #expect("\(error!)" == "\(missing): cannot open: No such file or directory")
    #expect(throws: WALError.system(.list, path: missing, errno: ENOENT)) {
      try disk.list(missing)
    }
    _ = try disk.open(directory.path + "/there", .create)
    #expect(throws: WALError.self) { try disk.open(directory.path + "/there", .create) }
    #expect(throws: WALError.system(.write, path: "/dev/full", errno: ENOSPC)) {
      try disk.open("/dev/full", .readWrite).writeAll([1], at: 0)
    }
    #expect(throws: WALError.self) { try disk.rename(missing, to: missing + "2") }
    #expect(throws: WALError.self) { try disk.remove(missing) }
    #expect(throws: WALError.self) { try disk.syncDirectory(missing) }
    #expect(throws: WALError.self) { try disk.makeDirectory(missing + "/deeper") }
  }

  @Test("lists, renames and removes")
  func names() throws {
    try disk.makeDirectory(directory.path + "/d")
    try disk.makeDirectory(directory.path + "/d")
    #expect(try disk.isDirectory(directory.path + "/d"))
    let file = try disk.open(directory.path + "/d/a", .create)
    #expect(try file.linkCount() == 1)
    try disk.rename(directory.path + "/d/a", to: directory.path + "/d/b")
    try disk.syncDirectory(directory.path + "/d")
    #expect(try disk.list(directory.path + "/d") == ["b"])
    try disk.remove(directory.path + "/d/b")
    #expect(try disk.list(directory.path + "/d").isEmpty)
    #expect(try file.linkCount() == 0)
  }

  @Test("locks files between their holders")
  func locks() throws {
    let path = directory.path + "/lock"
    let first = try disk.open(path, .createOrOpen)
    let second = try disk.open(path, .createOrOpen)
    #expect(try first.tryLock(exclusive: false))
    #expect(try second.tryLock(exclusive: false))
    #expect(try !second.tryLock(exclusive: true))
    try first.unlock()
    #expect(try second.tryLock(exclusive: true))
    #expect(try !first.tryLock(exclusive: false))
  }
}

@Suite("A data directory's lock")
struct DirectoryLockTests {
  @Test("keeps a second holder off and names the first")
  func refused() throws {
    let directory = TemporaryDirectory()
    var lock: DirectoryLock? = try DirectoryLock(directory.path)
    let error = #expect(throws: WALError.self) { try DirectoryLock(directory.path) }
    #expect(error == .locked(path: directory.path + "/LOCK", holder: "process \(getpid())"))
    withExtendedLifetime(lock) {}
    lock = nil
    _ = try DirectoryLock(directory.path)
  }
}

@Suite("A log on the real disk")
struct RealLogTests {
  @Test(
    "survives being opened again and again, with its threads at work",
    arguments: [SyncPolicy.always, .interval(milliseconds: 2), .none])
  func lives(policy: SyncPolicy) throws {
    let directory = TemporaryDirectory()
    var options = LogOptions(dataDirectory: directory.path, node: 7)
    options.segmentBytes = 65_536
    options.syncPolicy = policy
    options.markDelayMilliseconds = 5
    var expected: UInt64 = 0
    for life in 0..<6 {
      var seen: UInt64 = 0
      let (writer, report) = try LogRecovery.open(options) { (header, _) throws(WALError) in
        seen = header.lastSequence
      }
      #expect(report.position.sequence == (life == 0 ? 1 : expected) && report.cut == nil)
      #expect(seen == (life == 0 ? 0 : expected))
      #expect(report.needsNewEpoch == (policy != .always && life > 0 && life % 2 == 1))
      if report.needsNewEpoch {
        try writer.startEpoch(
          Epoch(number: writer.epoch.number + 1, node: 7), reason: .recovered)
      }
      var frame = FrameBuilder()
      let value = [UInt8](repeating: UInt8(life), count: 1_000)
      for number in 0..<300 {
        for _ in 0...number % 3 {
          frame.append(.put, key: Array("\(number)".utf8).span.bytes, value: value.span.bytes)
        }
        try writer.commit(&frame)
        _ = try writer.tick()
      }
      // Until the log is marked and nothing more is due.
      while let due = try writer.tick() {
        let now = options.clock.monotonicNanoseconds()
        usleep(UInt32(min(due > now ? (due - now) / 1_000 : 0, 10_000)))
      }
      #expect(writer.progress.durable + 1 >= writer.position.sequence)
      if life % 2 == 1 { try writer.close(markContent: [1]) } else { try writer.sync() }
      expected = writer.position.sequence
    }
    var reader = try LogReader(directory: options.directory)
    var records: UInt64 = 0
    while case .frame(let header) = try reader.next() { records += UInt64(header.recordCount) }
    #expect(records == expected)
  }

  @Test("can be followed while it is written, over rotations and retirements")
  func followed() throws {
    let directory = TemporaryDirectory()
    var options = LogOptions(dataDirectory: directory.path, node: 7)
    options.segmentBytes = 16_384
    let writer = try LogRecovery.open(options).writer
    let progress = writer.progress
    let target: UInt64 = 3_000
    let path = options.directory
    let seen = Monitor<UInt64>(0)
    let follower = ThreadHandle {
      do {
        var reader = try LogReader(directory: path, from: 1)
        var next: UInt64 = 1
        while next <= target {
          // As shipping does it: never beyond what is durable.
          reader.limit = progress.durable
          switch try reader.next() {
          case .frame(let header):
            #expect(header.firstSequence == next)
            next = header.lastSequence + 1
            seen.signal { $0 = header.lastSequence }
          case .damage(let damage):
            Issue.record("\(damage)")
            return seen.signal { $0 = target }
          case .end: usleep(200)
          }
        }
      } catch {
        Issue.record("\(error)")
        seen.signal { $0 = target }
      }
    }
    var frame = FrameBuilder()
    let value = [UInt8](repeating: 1, count: 300)
    while writer.position.sequence < target {
      frame.append(.put, key: value.span.bytes.extracting(0..<3), value: value.span.bytes)
      try writer.commit(&frame)
      if writer.position.sequence % 64 == 0 {
        // Only what the follower has seen is given up.
        let position = writer.position.sequence
        seen.wait { $0 + 500 >= position ? () : nil }
        writer.retire(through: seen.withLock { $0 > 200 ? $0 - 200 : 0 })
      }
    }
    follower.join()
    #expect(writer.oldestSequence > 1)
    try writer.close()
  }
}

import WAL

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#elseif canImport(Darwin)
  import Darwin
#endif

/// Puts `key-1`, `key-2`, … and says after every commit how far the log is acknowledged.
struct LogFeeder {
  private let arguments: Arguments

  init(_ arguments: Arguments) {
    self.arguments = arguments
  }

  func run() throws(WALError) {
    let fileSystem = SystemFileSystem()
    try fileSystem.makeDirectory(arguments.dataDirectory)
    let lock = try DirectoryLock(arguments.dataDirectory)
    var options = LogOptions(dataDirectory: arguments.dataDirectory, node: 0xA1)
    options.syncPolicy = arguments.sync
    options.segmentBytes = arguments.segmentBytes
    var written: UInt64 = 0
    let (writer, report) = try LogRecovery.open(options) { (header, records) throws(WALError) in
      written += Self.puts(header, records)
    }
    if report.needsNewEpoch {
      try writer.startEpoch(
        Epoch(number: writer.epoch.number + 1, node: options.node), reason: .recovered)
    }
    try feed(writer, from: written)
    if arguments.marks {
      usleep(UInt32(options.markDelayMilliseconds + 20) * 1_000)
      _ = try writer.tick()
    }
    guard arguments.closes else { _exit(0) }
    try writer.close()
    withExtendedLifetime(lock) {}
  }

  private static func puts(_ header: FrameHeader, _ records: RawSpan) -> UInt64 {
    var cursor = RecordCursor(count: header.recordCount)
    var puts: UInt64 = 0
    do {
      while let record = try cursor.next(in: records) { puts += record.type == .put ? 1 : 0 }
    } catch {
      preconditionFailure("the reader has checked the records: \(error)")
    }
    return puts
  }

  private func feed(_ writer: LogWriter, from written: UInt64) throws(WALError) {
    var frame = FrameBuilder()
    var index = written
    let parent = getppid()
    let last = arguments.count == 0 ? UInt64.max : written + arguments.count
    // Whoever started this to kill it may have died first.
    while index < last, getppid() == parent {
      var key = ""
      for _ in 0..<min(arguments.batch, last - index) {
        index += 1
        key = "key-\(index)"
        var value = Array("value-\(index)-".utf8)
        let padding = max(0, arguments.valueBytes - value.count)
        value += [UInt8](repeating: UInt8(ascii: "."), count: padding)
        frame.append(.put, key: Array(key.utf8).span.bytes, value: value.span.bytes)
      }
      acknowledge(try writer.commit(&frame), key)
      if arguments.delayMilliseconds > 0 { usleep(UInt32(arguments.delayMilliseconds) * 1_000) }
    }
    if let deleted = arguments.deleted {
      frame.append(.delete, key: Array(deleted.utf8).span.bytes, value: RawSpan())
      acknowledge(try writer.commit(&frame), deleted)
    }
  }

  private func acknowledge(_ position: LogPosition, _ key: String) {
    print("acked \(position.sequence) \(key)")
    fflush(nil)
  }
}

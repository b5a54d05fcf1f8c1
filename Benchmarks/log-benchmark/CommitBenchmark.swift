import Glibc
import WAL

/// Durable commits beside the bare loop that they are made of, in turns.
enum CommitBenchmark {
  private static let key = Array("key-000000000001".utf8)
  private static let value = [UInt8](repeating: 0x76, count: 100)

  static func run(_ directory: String) throws {
    let writer = try open(directory + "/commit")
    let bare = try BareLoop(directory + "/bare", frameBytes: 200)
    var commits: [Double] = []
    var loops: [Double] = []
    var ratios: [Double] = []
    for _ in 0..<15 {
      let rate = try measure(writer, batch: 1, seconds: 0.5)
      let limit = try bare.measure(seconds: 0.5)
      commits.append(rate)
      loops.append(limit)
      ratios.append(rate / limit)
    }
    row("LogWriter", spread(commits, "commits/s", grouped))
    row("bare pwrite + fdatasync", spread(loops, "commits/s", grouped))
    row("ratio, pair by pair", spread(ratios, "") { fixed($0) })
  }

  static func byBatch(_ directory: String) throws {
    let writer = try open(directory + "/batch")
    let batches = [1, 4, 16, 64, 256, 1_024, 4_096]
    var rates = [[Double]](repeating: [], count: batches.count)
    // In turns, because the speed of a disk drifts.
    for _ in 0..<9 {
      for (index, batch) in batches.enumerated() {
        rates[index].append(try measure(writer, batch: batch, seconds: 0.2))
      }
    }
    for (batch, rates) in zip(batches, rates) {
      let records = rates.map { $0 * Double(batch) }
      row(
        "\(grouped(Double(batch)))",
        spread(records, "records/s", grouped) + "  = \(grouped(median(rates))) commits/s")
    }
  }

  /// A log that is in a segment which was made ready, as it is after the first one.
  private static func open(_ data: String) throws -> LogWriter {
    mkdir(data, 0o755)
    let writer = try LogRecovery.open(LogOptions(dataDirectory: data, node: 1)).writer
    var frame = FrameBuilder()
    sleep(1)
    let large = [UInt8](repeating: 1, count: 8 << 20)
    while writer.segmentFiles.count < 2 {
      frame.append(.put, key: key.span.bytes, value: large.span.bytes)
      try writer.commit(&frame)
    }
    sleep(1)
    return writer
  }

  private static func measure(
    _ writer: LogWriter, batch: Int, seconds limit: Double
  ) throws -> Double {
    var frame = FrameBuilder()
    var commits = 0
    let start = seconds()
    var elapsed = 0.0
    while elapsed < limit {
      for _ in 0..<batch {
        frame.append(.put, key: key.span.bytes, value: value.span.bytes)
      }
      try writer.commit(&frame)
      commits += 1
      elapsed = seconds() - start
    }
    writer.retire(through: writer.position.sequence)
    return Double(commits) / elapsed
  }
}

/// `pwrite` and `fdatasync` into a zero-filled file, and nothing else.
final class BareLoop {
  private let file: any File
  private let bytes: [UInt8]
  private var offset = 0
  private let fileBytes = 64 << 20

  init(_ path: String, frameBytes: Int) throws {
    file = try SystemFileSystem().open(path, .create)
    bytes = [UInt8](repeating: 0x62, count: frameBytes)
    let zeros = [UInt8](repeating: 0, count: 1 << 20)
    for index in 0..<fileBytes / zeros.count {
      try file.writeAll(zeros, at: UInt64(index * zeros.count))
    }
    try file.sync()
  }

  func measure(seconds limit: Double) throws -> Double {
    var commits = 0
    let start = seconds()
    var elapsed = 0.0
    while elapsed < limit {
      if offset + bytes.count > fileBytes { offset = 0 }
      try file.writeAll(bytes, at: UInt64(offset))
      try file.sync()
      offset += bytes.count
      commits += 1
      elapsed = seconds() - start
    }
    return Double(commits) / elapsed
  }
}

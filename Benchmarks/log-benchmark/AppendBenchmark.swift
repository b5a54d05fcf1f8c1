import Glibc
import WAL

enum AppendBenchmark {
  /// Bytes a round, in frames of 1,000 records.
  private static let roundBytes = 1 << 30

  static func run(_ directory: String) throws {
    let key = Array("key-000000000001".utf8)
    // 8 + 16 + 76: a record of 100 bytes.
    let value = [UInt8](repeating: 0x76, count: 76)
    var appended: [Double] = []
    var encoded: [Double] = []
    var written: [Double] = []
    for round in 0..<5 {
      let data = "\(directory)/append-\(round)"
      mkdir(data, 0o755)
      var options = LogOptions(dataDirectory: data, node: 1)
      options.syncPolicy = .none
      let writer = try LogRecovery.open(options).writer
      var frame = FrameBuilder(capacityBytes: 128 << 10)
      var bytes = 0
      var start = seconds()
      while bytes < roundBytes {
        fill(&frame, key, value)
        bytes += frame.recordsBytes
        try writer.commit(&frame)
      }
      appended.append(Double(bytes) / (seconds() - start) / 1e9)
      try writer.close()
      // The same without a disk: what building frames alone costs.
      bytes = 0
      start = seconds()
      while bytes < roundBytes {
        fill(&frame, key, value)
        bytes += frame.recordsBytes
        frame.removeAll()
      }
      encoded.append(Double(bytes) / (seconds() - start) / 1e9)
      written.append(try write(data))
      removeTree(data)
    }
    row("LogWriter", spread(appended, "GB/s") { fixed($0) })
    row("records into frames only", spread(encoded, "GB/s") { fixed($0) })
    row("bare pwrite of 100,072 bytes", spread(written, "GB/s") { fixed($0) })
  }

  private static func fill(_ frame: inout FrameBuilder, _ key: [UInt8], _ value: [UInt8]) {
    for _ in 0..<1_000 { frame.append(.put, key: key.span.bytes, value: value.span.bytes) }
  }

  /// What the system takes, into allocated files of a segment's size.
  private static func write(_ data: String) throws -> Double {
    let bytes = [UInt8](repeating: 0x76, count: 100_072)
    var elapsed = 0.0
    for number in 0..<16 {
      let file = try SystemFileSystem().open("\(data)/bare-\(number)", .create)
      let start = seconds()
      try file.allocate(64 << 20)
      var offset = 0
      while offset + bytes.count <= 64 << 20 {
        try file.writeAll(bytes, at: UInt64(offset))
        offset += bytes.count
      }
      elapsed += seconds() - start
    }
    return Double(16 * (64 << 20)) / elapsed / 1e9
  }
}

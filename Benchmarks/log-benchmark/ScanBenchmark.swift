import Glibc
import WAL

enum ScanBenchmark {
  static func run(_ directory: String) throws {
    for (name, records, valueBytes) in [
      ("1 record of 100 bytes a frame", 1, 76), ("64 a frame", 64, 76),
      ("1,000 a frame", 1_000, 76),
      ("1 of 4 KiB a frame", 1, 4_000),
    ] {
      let data = "\(directory)/scan"
      mkdir(data, 0o755)
      try write(data, records, valueBytes)
      var rates: [Double] = []
      var recordRates: [Double] = []
      for _ in 0..<5 {
        var reader = try LogReader(directory: data + "/wal")
        var bytes = 0
        var count = 0
        let start = seconds()
        while case .frame(let header) = try reader.next() {
          bytes += header.frameBytes
          count += Int(header.recordCount)
        }
        let elapsed = seconds() - start
        rates.append(Double(bytes) / elapsed / 1e9)
        recordRates.append(Double(count) / elapsed)
      }
      row(
        name,
        spread(rates, "GB/s") { fixed($0) } + "  = \(grouped(median(recordRates))) records/s")
      removeTree(data)
    }
  }

  private static func write(_ data: String, _ records: Int, _ valueBytes: Int) throws {
    var options = LogOptions(dataDirectory: data, node: 1)
    options.syncPolicy = .none
    let writer = try LogRecovery.open(options).writer
    let key = Array("key-000000000001".utf8)
    let value = [UInt8](repeating: 0x76, count: valueBytes)
    var frame = FrameBuilder()
    var bytes = 0
    while bytes < 256 << 20 {
      for _ in 0..<records { frame.append(.put, key: key.span.bytes, value: value.span.bytes) }
      bytes += frame.recordsBytes + Format.frameHeaderBytes
      try writer.commit(&frame)
    }
    try writer.close()
  }
}

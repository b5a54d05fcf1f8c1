import CChecksum

enum ChecksumBenchmark {
  static func run() {
    let bytes = [UInt8](repeating: 0x5A, count: 1 << 20)
    for size in [68, 256, 4_096, 65_536, 1 << 20] {
      let repeats = max(16, (1 << 30) / size / 4)
      var rates: [Double] = []
      for _ in 0..<5 {
        var crc: UInt32 = 0
        let start = seconds()
        for _ in 0..<repeats { crc = shiplog_crc32c(crc, bytes, size) }
        rates.append(Double(repeats * size) / (seconds() - start) / 1e9)
        precondition(crc != 1)
      }
      row("\(grouped(Double(size))) bytes", spread(rates, "GB/s") { fixed($0, 1) })
    }
    var rates: [Double] = []
    for _ in 0..<5 {
      let start = seconds()
      let crc = shiplog_crc32c_portable(0, bytes, bytes.count)
      rates.append(Double(bytes.count) / (seconds() - start) / 1e9)
      precondition(crc != 1)
    }
    row("portable, 1 MiB", spread(rates, "GB/s") { fixed($0, 1) })
  }
}

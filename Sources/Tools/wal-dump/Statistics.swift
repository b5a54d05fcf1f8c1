import Engine
import WAL

/// Counts what a log holds.
struct Statistics: FrameSink, ~Copyable {
  private let filter: RecordFilter
  private let isJSON: Bool
  private let nowMilliseconds: UInt64
  private var output = Output()
  private var log = ""
  private var counts = LogCounts()

  init(filter: RecordFilter, isJSON: Bool, nowMilliseconds: UInt64) {
    self.filter = filter
    self.isJSON = isJSON
    self.nowMilliseconds = nowMilliseconds
  }

  mutating func begin(_ log: String, isOneOfSeveral: Bool) {
    self.log = log
    counts = LogCounts()
  }

  mutating func take(_ header: FrameHeader, _ records: RawSpan) {
    var admitted: UInt64 = 0
    forEachRecord(header, records) { (record, sequence) in
      guard filter.admits(record, sequence, records) else { return }
      admitted += 1
      counts.add(record, sequence, records)
    }
    // A frame counts when something in it does.
    if admitted > 0 { counts.add(header) }
  }

  mutating func pause() {}

  mutating func end(segments: Int) {
    write(counts.lines(segments: segments, nowMilliseconds: nowMilliseconds))
  }

  mutating func end(_ snapshot: SnapshotFile) {
    write(counts.lines(snapshot, nowMilliseconds: nowMilliseconds))
  }

  private mutating func write(_ lines: [(name: String, value: StatisticsValue)]) {
    if isJSON {
      output.append("{\"log\":")
      JSONText.appendString(log, to: &output)
      for line in lines {
        output.append(",\"")
        output.append(string: line.name)
        output.append("\":")
        line.value.appendJSON(to: &output)
      }
      output.append("}\n")
    } else {
      output.append(string: log)
      output.append("\n")
      for line in lines {
        let name = line.name.split(separator: "_").joined(separator: " ")
        output.append("  ")
        output.append(string: name)
        output.append(spaces: 24 - name.utf8.count)
        line.value.appendText(to: &output)
        output.append("\n")
      }
    }
    output.flush()
  }

  func check() throws(DumpError) { try output.check() }
}

/// One number, or moment, of the statistics.
enum StatisticsValue {
  case number(UInt64)
  /// Of which there is none in an empty log.
  case moment(UInt64?)
  case tenths(UInt64)

  func appendText(to output: inout Output) {
    switch self {
    case .moment(let milliseconds?): Timestamp.append(milliseconds, to: &output)
    case .moment(nil): output.append("-")
    default: appendJSON(to: &output)
    }
  }

  func appendJSON(to output: inout Output) {
    switch self {
    case .number(let number), .moment(let number?): output.append(decimal: number)
    case .moment(nil): output.append("null")
    case .tenths(let number):
      output.append(decimal: number / 10)
      output.append(UInt8(ascii: "."))
      output.append(decimal: number % 10)
    }
  }
}

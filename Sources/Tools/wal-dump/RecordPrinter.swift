import Engine
import WAL

/// Prints records, one a line.
struct RecordPrinter: FrameSink, ~Copyable {
  private let filter: RecordFilter
  private let text: RecordText
  private var json: RecordJSON?
  private var output = Output()

  init(filter: RecordFilter, isJSON: Bool, showsValues: Bool) {
    self.filter = filter
    text = RecordText(showsValues: showsValues)
    json = isJSON ? RecordJSON(showsValues: showsValues) : nil
  }

  mutating func begin(_ log: String, isOneOfSeveral: Bool) {
    guard isOneOfSeveral else { return }
    if json != nil {
      json?.log = log
    } else {
      output.append("# ")
      output.append(string: log)
      output.append("\n")
    }
  }

  mutating func take(_ header: FrameHeader, _ records: RawSpan) {
    forEachRecord(header, records) { (record, sequence) in
      guard filter.admits(record, sequence, records) else { return }
      if let json {
        json.append(record, sequence, header, records, to: &output)
      } else {
        text.append(record, sequence, header, records, to: &output)
      }
    }
  }

  mutating func pause() { output.flush() }

  mutating func end(segments: Int) { output.flush() }

  mutating func end(_ snapshot: SnapshotFile) { output.flush() }

  func check() throws(DumpError) { try output.check() }
}

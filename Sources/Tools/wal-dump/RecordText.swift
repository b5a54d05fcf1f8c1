import WAL

/// A record as a line of text: `seq epoch time type key value-size crc`, then what else it has.
struct RecordText {
  var showsValues = false

  func append(
    _ record: Record, _ sequence: UInt64, _ header: FrameHeader, _ bytes: RawSpan,
    to output: inout Output
  ) {
    output.append(decimal: sequence, width: 8)
    output.append(UInt8(ascii: " "))
    output.append(decimal: header.epoch.number, width: 3)
    output.append(UInt8(ascii: " "))
    Timestamp.append(header.timeMilliseconds, to: &output)
    output.append(UInt8(ascii: " "))
    let name = record.type.name
    output.append(name)
    output.append(spaces: 8 - name.utf8CodeUnitCount)
    appendSubject(record, header, bytes, to: &output)
    // Most keys are shorter than this; behind longer ones the columns move to the right.
    if record.type == .mark || !record.key.isEmpty {
      output.append(spaces: 18 - record.key.count)
    }
    output.append(decimal: UInt64(record.value.count), width: 9)
    output.append(UInt8(ascii: " "))
    output.append(hexadecimal: header.crc)
    appendMetadata(record, bytes, to: &output)
    if showsValues {
      output.append(UInt8(ascii: " "))
      bytes.extracting(record.value).withUnsafeBytes { QuotedText.append($0, to: &output) }
    }
    output.append(UInt8(ascii: "\n"))
  }

  /// The key; or in its place, and without quotes, what a record without key is about.
  private func appendSubject(
    _ record: Record, _ header: FrameHeader, _ bytes: RawSpan, to output: inout Output
  ) {
    switch RecordContent(record, bytes) {
    case .key:
      bytes.extracting(record.key).withUnsafeBytes { QuotedText.append($0, to: &output) }
    case .range(let range):
      output.append("shard=")
      output.append(decimal: UInt64(range.index))
      output.append(UInt8(ascii: "/"))
      output.append(decimal: UInt64(range.count))
      output.append(",hash=")
      output.append(string: RecordContent.hashName(range.hash))
    case .epoch(let change):
      output.append("reason=")
      output.append(string: RecordContent.reasonName(change.reason))
      output.append(",node=")
      output.append(hexadecimal: header.epoch.node)
      output.append(",previous=")
      output.append(decimal: change.previous.number)
      output.append(UInt8(ascii: "-"))
      output.append(hexadecimal: change.previous.node)
    case .none:
      output.append("-")
      output.append(spaces: 1)
    }
  }

  private func appendMetadata(_ record: Record, _ bytes: RawSpan, to output: inout Output) {
    if let expiry = record.metadata.expiryMilliseconds {
      output.append(" expiry=")
      Timestamp.append(expiry, to: &output)
    }
    if let stamp = record.metadata.stamp {
      output.append(" stamp=")
      output.append(decimal: stamp)
    }
    guard !record.clock.isEmpty else { return }
    let clock = bytes.extracting(record.clock)
    for index in 0..<clock.byteCount / ClockEntry.encodedBytes {
      let entry = ClockEntry(in: clock, at: index)
      output.append(index == 0 ? " clock=" : ",")
      output.append(hexadecimal: entry.origin)
      output.append(UInt8(ascii: ":"))
      output.append(decimal: entry.sequence)
    }
  }
}

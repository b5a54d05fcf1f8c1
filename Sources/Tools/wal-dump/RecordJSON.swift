import WAL

/// A record as a line of JSON.
struct RecordJSON {
  var showsValues = false
  /// Said in every line where there are several logs.
  var log: String?

  func append(
    _ record: Record, _ sequence: UInt64, _ header: FrameHeader, _ bytes: RawSpan,
    to output: inout Output
  ) {
    output.append("{\"seq\":")
    output.append(decimal: sequence)
    output.append(",\"epoch\":")
    output.append(decimal: header.epoch.number)
    output.append(",\"epoch_node\":\"")
    output.append(hexadecimal: header.epoch.node)
    output.append("\",\"time\":")
    output.append(decimal: header.timeMilliseconds)
    output.append(",\"type\":\"")
    output.append(record.type.name)
    output.append("\"")
    appendSubject(record, bytes, to: &output)
    output.append(",\"value_size\":")
    output.append(decimal: UInt64(record.value.count))
    if showsValues {
      output.append(UInt8(ascii: ","))
      bytes.extracting(record.value).withUnsafeBytes {
        JSONText.appendMember("\"value", $0, to: &output)
      }
    }
    appendMetadata(record, bytes, to: &output)
    output.append(",\"crc\":\"")
    output.append(hexadecimal: header.crc)
    output.append(UInt8(ascii: "\""))
    if let log {
      output.append(",\"log\":")
      JSONText.appendString(log, to: &output)
    }
    output.append("}\n")
  }

  private func appendSubject(_ record: Record, _ bytes: RawSpan, to output: inout Output) {
    switch RecordContent(record, bytes) {
    case .key:
      output.append(UInt8(ascii: ","))
      bytes.extracting(record.key).withUnsafeBytes {
        JSONText.appendMember("\"key", $0, to: &output)
      }
    case .range(let range):
      output.append(",\"key\":null,\"shard\":")
      output.append(decimal: UInt64(range.index))
      output.append(",\"shards\":")
      output.append(decimal: UInt64(range.count))
      output.append(",\"hash\":")
      JSONText.appendString(RecordContent.hashName(range.hash), to: &output)
    case .epoch(let change):
      output.append(",\"key\":null,\"reason\":")
      JSONText.appendString(RecordContent.reasonName(change.reason), to: &output)
      output.append(",\"previous_epoch\":")
      output.append(decimal: change.previous.number)
      output.append(",\"previous_epoch_node\":\"")
      output.append(hexadecimal: change.previous.node)
      output.append(UInt8(ascii: "\""))
    case .none:
      output.append(",\"key\":null")
    }
  }

  private func appendMetadata(_ record: Record, _ bytes: RawSpan, to output: inout Output) {
    if let expiry = record.metadata.expiryMilliseconds {
      output.append(",\"expiry\":")
      output.append(decimal: expiry)
    }
    if let stamp = record.metadata.stamp {
      output.append(",\"stamp\":")
      output.append(decimal: stamp)
    }
    guard !record.clock.isEmpty else { return }
    let clock = bytes.extracting(record.clock)
    output.append(",\"clock\":{")
    for index in 0..<clock.byteCount / ClockEntry.encodedBytes {
      let entry = ClockEntry(in: clock, at: index)
      if index > 0 { output.append(UInt8(ascii: ",")) }
      output.append(UInt8(ascii: "\""))
      output.append(hexadecimal: entry.origin)
      output.append("\":")
      output.append(decimal: entry.sequence)
    }
    output.append(UInt8(ascii: "}"))
  }
}

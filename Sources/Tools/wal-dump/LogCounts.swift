import Engine
import WAL

/// The numbers behind `--stats`.
struct LogCounts {
  private var frames: UInt64 = 0
  private var frameBytes: UInt64 = 0
  private var records: UInt64 = 0
  private var recordsByType = [UInt64](repeating: 0, count: 256)
  private var keyBytes: UInt64 = 0
  private var valueBytes: UInt64 = 0
  private var valueBytesMax: UInt64 = 0
  private var valueMaxSequence: UInt64 = 0
  private var sequences: ClosedRange<UInt64>?
  private var times: (first: UInt64, last: UInt64)?
  private var epochs: UInt64 = 0
  private var lastEpoch: Epoch?
  private var keys = KeyTable()

  mutating func add(_ header: FrameHeader) {
    frames += 1
    frameBytes += UInt64(header.frameBytes)
    times = (times?.first ?? header.timeMilliseconds, header.timeMilliseconds)
    if lastEpoch != header.epoch { epochs += 1 }
    lastEpoch = header.epoch
  }

  mutating func add(_ record: Record, _ sequence: UInt64, _ bytes: RawSpan) {
    records += 1
    recordsByType[Int(record.type.rawValue)] += 1
    keyBytes += UInt64(record.key.count)
    valueBytes += UInt64(record.value.count)
    if record.type == .put, record.value.count > Int(valueBytesMax) || valueMaxSequence == 0 {
      valueBytesMax = UInt64(record.value.count)
      valueMaxSequence = sequence
    }
    // A snapshot's entries are in another order.
    sequences =
      min(sequences?.lowerBound ?? sequence, sequence)...max(sequences?.upperBound ?? 0, sequence)
    guard record.type == .put || record.type == .delete else { return }
    var state = KeyTable.State()
    state.isPresent = record.type == .put
    if let expiry = record.metadata.expiryMilliseconds { state.expiryMilliseconds = expiry }
    bytes.extracting(record.key).withUnsafeBytes { keys.set($0, state) }
  }

  /// What there is to say, in order. `keys_live` are those whose last record is a put that has not
  /// expired; what a purge or a handoff has removed is not taken off, because that takes the hash
  /// of the shards.
  func lines(
    segments: Int, nowMilliseconds: UInt64
  ) -> [(name: String, value: StatisticsValue)] {
    var lines: [(name: String, value: StatisticsValue)] = [
      ("records", .number(records)), ("frames", .number(frames)),
      ("segments", .number(UInt64(segments))), ("bytes", .number(frameBytes)),
      ("records_per_frame", .tenths(frames == 0 ? 0 : records * 10 / frames)),
      ("keys", .number(UInt64(keys.count))),
      ("keys_live", .number(UInt64(keys.present(atMilliseconds: nowMilliseconds)))),
      ("key_bytes", .number(keyBytes)), ("value_bytes", .number(valueBytes)),
      ("value_bytes_max", .number(valueBytesMax)),
      ("value_bytes_max_seq", .number(valueMaxSequence)),
    ]
    for type in RecordType.allCases {
      lines.append(("\(type.name)", .number(recordsByType[Int(type.rawValue)])))
    }
    lines += [
      ("first_seq", .number(sequences?.lowerBound ?? 0)),
      ("last_seq", .number(sequences?.upperBound ?? 0)),
      ("first_time", .moment(times?.first)), ("last_time", .moment(times?.last)),
      ("epochs", .number(epochs)), ("last_epoch", .number(lastEpoch?.number ?? 0)),
    ]
    return lines
  }

  /// The same of a snapshot's entries: there every key is one.
  func lines(
    _ snapshot: SnapshotFile, nowMilliseconds: UInt64
  ) -> [(name: String, value: StatisticsValue)] {
    let header = snapshot.header
    return [
      ("entries", .number(records)), ("blocks", .number(UInt64(snapshot.footer.blocks.count))),
      ("bytes", .number(snapshot.bytes)), ("keys", .number(UInt64(keys.count))),
      ("keys_live", .number(UInt64(keys.present(atMilliseconds: nowMilliseconds)))),
      ("key_bytes", .number(keyBytes)), ("value_bytes", .number(valueBytes)),
      ("value_bytes_max", .number(valueBytesMax)),
      ("value_bytes_max_seq", .number(valueMaxSequence)), ("sequence", .number(header.sequence)),
      ("frame_time", .moment(header.frameTimeMilliseconds)),
      ("made", .moment(header.timeMilliseconds)),
      ("epochs", .number(UInt64(header.epochs.count))),
      ("last_epoch", .number(header.base.position.epoch.number)),
    ]
  }
}

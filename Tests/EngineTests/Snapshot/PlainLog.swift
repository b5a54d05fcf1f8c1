import Engine
import Sharding
import WAL

/// What a log leaves, found out in the plainest way: record by record, into a dictionary.
struct PlainLog {
  private(set) var entries: [[UInt8]: Found] = [:]
  private(set) var frameTime: UInt64 = 0
  /// The last number that counts.
  private(set) var sequence: UInt64 = 0
  /// Where the epochs begin.
  private(set) var epochs: [EpochHistory.Start] = []

  /// Reads the log up to a sequence number.
  init(_ files: [SegmentFile], fileSystem: any FileSystem, through: UInt64 = .max) throws {
    var reader = LogReader(files: files, fileSystem: fileSystem)
    while sequence < through {
      switch try reader.next() {
      case .end: return
      case .damage(let damage): throw WALError.damaged(damage)
      case .frame(let header):
        if epochs.last?.epoch != header.epoch {
          epochs.append(EpochHistory.Start(header.epoch, at: header.firstSequence))
        }
        try reader.withRecords { try apply(header, $0, through) }
        frameTime = max(frameTime, header.timeMilliseconds)
        entries = entries.filter { $0.value.expiry.map { $0 > frameTime } ?? true }
      }
    }
  }

  private mutating func apply(_ header: FrameHeader, _ records: RawSpan, _ through: UInt64) throws {
    var cursor = RecordCursor(count: header.recordCount)
    sequence = header.firstSequence - 1
    while sequence < through, let record = try cursor.next(in: records) {
      sequence += 1
      let key = records.extracting(record.key).withUnsafeBytes { Array($0) }
      switch record.type {
      case .put:
        entries[key] = Found(
          version: sequence, value: records.extracting(record.value).withUnsafeBytes { Array($0) },
          expiry: record.metadata.expiryMilliseconds)
      case .delete: entries[key] = nil
      case .purge:
        let range = try ShardRange(parsing: records.extracting(record.value))
        let hash = ShardHash(rawValue: range.hash)!
        entries = entries.filter { entry in
          entry.key.withUnsafeBytes { hash($0) } % UInt64(range.count) == UInt64(range.index)
        }
      case .epoch, .handoff, .mark: break
      }
    }
  }
}

import WAL

/// Brings an index to the state that a log describes.
struct Replay {
  let index: Index
  let epochs: EpochHistory
  /// The marks that disagree with the state that was replayed.
  private(set) var digestMismatches: [UInt64] = []

  init(index: Index, epochs: EpochHistory) {
    self.index = index
    self.epochs = epochs
  }

  /// Applies a frame that the log's reader has checked.
  mutating func apply(_ header: FrameHeader, _ records: RawSpan) {
    if epochs.last?.epoch != header.epoch { epochs.begin(header.epoch, at: header.firstSequence) }
    var mismatch: UInt64?
    let index = index
    records.withUnsafeBytes { bytes in
      var cursor = RecordCursor(count: header.recordCount)
      var sequence = header.firstSequence
      while let record = Self.next(&cursor, bytes.bytes) {
        switch record.type {
        case .put, .delete:
          let hash = index.hasher(UnsafeRawBufferPointer(rebasing: bytes[record.key]))
          _ = index.apply(record, in: bytes, hash, version: sequence)
        case .mark:
          let content = UnsafeRawBufferPointer(rebasing: bytes[record.value])
          if let digest = Digest(encoded: content.bytes), digest != index.digest() {
            mismatch = sequence
          }
        case .purge, .epoch, .handoff:
          _ = index.apply(record, in: bytes, KeyHash(shard: 0, slot: 0), version: sequence)
        }
        sequence += 1
      }
    }
    if let mismatch { digestMismatches.append(mismatch) }
  }

  private static func next(_ cursor: inout RecordCursor, _ records: RawSpan) -> Record? {
    do {
      return try cursor.next(in: records)
    } catch {
      preconditionFailure("the log's reader lets no such record through: \(error)")
    }
  }
}

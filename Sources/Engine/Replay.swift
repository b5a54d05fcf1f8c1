import WAL

/// Brings an index to the state that a log describes.
package struct Replay {
  package let index: Index
  package let epochs: EpochHistory
  /// Set where the log is one of a leaderless shard's: its records are merged.
  private let merged: MergedLog?
  /// The marks that disagree with the state that was replayed.
  package private(set) var digestMismatches: [UInt64] = []
  /// What the frames say that a quorum has confirmed of this history.
  package private(set) var confirmedSequence: UInt64 = 0

  /// - Parameter frameTime: the highest time of the frames that the index has already; what has
  ///   expired by then is removed from it.
  package init(
    index: Index, epochs: EpochHistory, frameTime: UInt64 = 0, merged: MergedLog? = nil
  ) {
    self.index = index
    self.epochs = epochs
    self.merged = merged
    if merged == nil { index.endFrame(time: frameTime) }
  }

  /// Applies a frame that the log's reader has checked, and then removes what has expired.
  ///
  /// - Throws: `setting` when there is a purge by a hash that this version does not know: which keys
  ///   it left cannot be said.
  package mutating func apply(_ header: FrameHeader, _ records: RawSpan) throws(WALError) {
    if epochs.last?.epoch != header.epoch { epochs.begin(header.epoch, at: header.firstSequence) }
    confirmedSequence = max(confirmedSequence, header.confirmedSequence)
    if let merged {
      try merged.state.apply(header, records, origin: merged.origin)
      return index.setApplied(header.lastSequence)
    }
    var mismatch: UInt64?
    var unknownPurge: UInt64?
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
          let change = index.apply(record, in: bytes, KeyHash(shard: 0, slot: 0), version: sequence)
          if case .unknownHash = change {
            unknownPurge = sequence
            return
          }
        }
        sequence += 1
      }
    }
    if let unknownPurge {
      throw .setting(
        "the purge with sequence number \(unknownPurge) is by a hash that this version does not "
          + "know. A newer version wrote it: use that version")
    }
    if let mismatch { digestMismatches.append(mismatch) }
    index.endFrame(time: header.timeMilliseconds)
    index.setApplied(header.lastSequence)
  }

  private static func next(_ cursor: inout RecordCursor, _ records: RawSpan) -> Record? {
    do {
      return try cursor.next(in: records)
    } catch {
      preconditionFailure("the log's reader lets no such record through: \(error)")
    }
  }
}

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
    records.withUnsafeBytes { bytes in
      var cursor = RecordCursor(count: header.recordCount)
      var sequence = header.firstSequence
      withUnsafeTemporaryAllocation(of: Prepared.self, capacity: Index.preparedChangesMax) { run in
        while true {
          let count = prepare(run, &cursor, bytes)
          guard count > 0 else { return }
          for prepared in run[..<count] {
            switch apply(prepared, in: bytes, sequence) {
            case .done: break
            case .mismatch: mismatch = sequence
            case .unknownHash:
              unknownPurge = sequence
              return
            }
            sequence += 1
          }
        }
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

  /// A record that is about to be applied. The hashes are those of its key, where it has one.
  private struct Prepared {
    var record: Record
    var hash: KeyHash
  }

  private enum Applied {
    case done
    case mismatch
    case unknownHash
  }

  /// - Returns: how many records there are, the cursor's next ones; 0 at its end.
  private func prepare(
    _ run: UnsafeMutableBufferPointer<Prepared>, _ cursor: inout RecordCursor,
    _ bytes: UnsafeRawBufferPointer
  ) -> Int {
    var count = 0
    while count < run.count, let record = Self.next(&cursor, bytes.bytes) {
      let hash =
        record.type == .put || record.type == .delete
        ? index.hasher(UnsafeRawBufferPointer(rebasing: bytes[record.key]))
        : KeyHash(shard: 0, slot: 0)
      (run.baseAddress! + count).initialize(to: Prepared(record: record, hash: hash))
      count += 1
    }
    index.prepareChanges(count) { run[$0].hash }
    return count
  }

  private func apply(
    _ prepared: Prepared, in bytes: UnsafeRawBufferPointer, _ sequence: UInt64
  ) -> Applied {
    let record = prepared.record
    if record.type == .mark {
      let content = UnsafeRawBufferPointer(rebasing: bytes[record.value])
      guard let digest = Digest(encoded: content.bytes) else { return .done }
      return digest == index.digest() ? .done : .mismatch
    }
    let change = index.apply(record, in: bytes, prepared.hash, version: sequence)
    if case .unknownHash = change { return .unknownHash }
    return .done
  }

  private static func next(_ cursor: inout RecordCursor, _ records: RawSpan) -> Record? {
    do {
      return try cursor.next(in: records)
    } catch {
      preconditionFailure("the log's reader lets no such record through: \(error)")
    }
  }
}

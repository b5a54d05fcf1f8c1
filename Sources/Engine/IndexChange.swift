import WAL

/// What applying one record did.
enum IndexChange {
  case created
  case replaced
  case removed
  case absent
  case purged(Int)
  /// The record is not about keys.
  case none
}

extension Index {
  /// Applies one record: the same, whether it was just committed, or is replayed, or was shipped.
  ///
  /// - Parameter bytes: what the record's offsets refer to.
  @inline(__always)
  func apply(
    _ record: Record, in bytes: UnsafeRawBufferPointer, _ hash: KeyHash, version: UInt64
  ) -> IndexChange {
    switch record.type {
    case .put:
      let isReplaced = put(
        UnsafeRawBufferPointer(rebasing: bytes[record.key]),
        UnsafeRawBufferPointer(rebasing: bytes[record.value]), hash, version: version,
        expiry: record.metadata.expiryMilliseconds)
      return isReplaced ? .replaced : .created
    case .delete:
      return remove(UnsafeRawBufferPointer(rebasing: bytes[record.key]), hash) ? .removed : .absent
    case .purge:
      let content = UnsafeRawBufferPointer(rebasing: bytes[record.value])
      do {
        return .purged(purge(keeping: try ShardRange(parsing: content.bytes)))
      } catch {
        preconditionFailure("the log's reader lets no such record through: \(error)")
      }
    case .epoch, .handoff, .mark:
      return .none
    }
  }
}
